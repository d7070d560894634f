"""A pair's versions are held against what was asked: whatever the request, the two fingerprints say the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.worker.chat import ask, changed
from shadowlane.processors.worker.claim import contradiction, served_fingerprint
from shadowlane.schemas.config import Stable
from shadowlane.schemas.events import Arm, MirroredRequest
from shadowlane.schemas.fingerprint import fingerprint

values = (
    st.none()
    | st.booleans()
    | st.integers(0, 2)
    | st.sampled_from([0.0, 0.5, 1.0])
    | st.lists(st.integers(0, 1))
)
parameters = st.dictionaries(st.sampled_from(["temperature", "max_tokens", "stop", "stream", "user"]), values)
models = st.sampled_from(["", "old", "new"])
bodies = st.builds(
    lambda body, model: body | ({"model": model} if model else {}), parameters | st.just({}), models
)


def request(body: Any, model: str = "", protocol: str = "openai.chat") -> MirroredRequest:
    return MirroredRequest(
        request_id="a", ts=1, service="s", route="/", protocol=protocol, body=body, model=model
    )


@given(bodies, models, parameters)
def test_a_claim_holds_if_and_only_if_the_version_changes_nothing(
    body: dict[str, Any], model: str, overrides: dict[str, Any]
) -> None:
    version = Stable(model=model, overrides=overrides)
    asked = request(body, body.get("model", ""))
    holds = fingerprint(changed(body, version)) == fingerprint(body)
    assert (contradiction(asked, Arm.STABLE, version) is None) == holds


@given(bodies, models, parameters)
def test_what_a_version_is_asked_is_what_it_claims_when_it_serves(
    body: dict[str, Any], model: str, overrides: dict[str, Any]
) -> None:
    version = Stable(model=model, overrides=overrides)
    shadowed = ask(request(body), version)[0]
    served = request(shadowed, shadowed.get("model", ""))
    assert contradiction(served, Arm.STABLE, version) is None
    assert served_fingerprint(served) == fingerprint(shadowed)


def test_a_model_that_the_record_alone_names_counts_as_the_bodys() -> None:
    version = Stable(model="old")
    assert contradiction(request({"n": 1}, "old"), Arm.STABLE, version) is None
    assert served_fingerprint(request({"n": 1}, "old")) == fingerprint({"n": 1, "model": "old"})


@pytest.mark.parametrize(("model", "error"), [("", None), ("v1", None), ("v2", "other_model")])
def test_of_other_protocols_the_model_alone_is_compared(model: str, error: str | None) -> None:
    asked = request({"temperature": 1}, model, "json")
    found = contradiction(asked, Arm.CANDIDATE, Stable(model="v1", overrides={"temperature": 0}))
    assert (found[0] if found else None) == error
    assert served_fingerprint(asked) == ""


def test_the_message_says_each_difference_in_short() -> None:
    version = Stable(overrides={"temperature": 0, "stop": None, "seed": 1})
    found = contradiction(request({"stop": ["x" * 100], "seed": 1.0}), Arm.STABLE, version)
    assert found is not None
    assert found[0] == "other_parameters"
    assert found[1] == (
        "served by the stable version, which is asked otherwise: "
        'stop is ["' + "x" * 38 + "…, not absent, temperature is absent, not 0"
    )
