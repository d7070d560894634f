"""What other routers are given, read by flagd's own evaluator where there is one in Python."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from shadowlane.errors import ConfigError
from shadowlane.rollout.exports import flagd, gateway_api, litellm, weights
from shadowlane.schemas.config import Rollout
from shadowlane.schemas.config.kinds import Prompt
from shadowlane.schemas.events import RolloutState
from tests.rollout.routers import state
from tests.rollout.test_routing import KEYS

ROLLOUT = Rollout.model_validate(
    {
        "name": "desk",
        "stable": {"model": "old", "base_url": "http://old:8000/v1", "overrides": {"top_p": None}},
        "candidate": {"model": "new", "base_url": "http://new:8000/v1"},
    }
)


@given(st.floats(0, 100))
def test_weights_are_whole_and_in_proportion(pct: float) -> None:
    stable, candidate = weights(pct)
    total = stable + candidate
    assert total in (100, 100_000)
    assert abs(candidate / total - pct / 100) <= 1e-5
    assert (candidate == 0) == (pct == 0)
    assert (stable == 0) == (pct == 100)


@pytest.mark.parametrize(
    ("pct", "expected"), [(0, (100, 0)), (5, (95, 5)), (2.5, (97_500, 2_500)), (100, (0, 100))]
)
def test_weights_of_usual_shares(pct: float, expected: tuple[int, int]) -> None:
    assert weights(pct) == expected


def test_flagd_moves_the_share_and_only_moves_keys_in() -> None:
    before: set[str] = set()
    for pct in (0.0, 2.5, 5.0, 25.0, 75.0, 100.0):
        moved = {key for key in KEYS[:4000] if flag(state(traffic_pct=pct), key) == "new"}
        assert before <= moved
        assert abs(len(moved) / 4000 - pct / 100) < 0.03
        before = moved


@pytest.mark.parametrize("pct", [50.0, 100.0])
def test_flagd_keeps_an_excluded_slice_with_the_stable_version(pct: float) -> None:
    taken_out = state(traffic_pct=pct, excluded=["language=de", "tier=1"])
    for key in KEYS[:50]:
        assert flag(taken_out, key, language="de") == "old"
        assert flag(taken_out, key, language="en", tier=1) == "old"
        assert flag(taken_out, key, language="en") == flag(state(traffic_pct=pct), key)


@pytest.mark.parametrize(("pct", "value"), [(0.0, "old"), (50.0, "old"), (100.0, "new")])
def test_flagd_without_a_key_is_as_the_router(pct: float, value: str) -> None:
    assert flag(state(traffic_pct=pct), None) == value


def test_flagd_has_the_arms_name_where_there_is_no_model() -> None:
    document = flagd([state(stable_model="", candidate_model=""), state(rollout="search")])
    assert document["flags"]["desk"]["variants"] == {"stable": "stable", "candidate": "candidate"}
    assert set(document["flags"]) == {"desk", "search"}
    assert document["flags"]["search"]["metadata"] == {"epoch": "e1", "stage": "canary", "seq": 1}


@pytest.mark.parametrize("slice_name", ["a.b=c", "$flagd=x"])
def test_a_slice_that_flagd_would_not_find_is_refused(slice_name: str) -> None:
    with pytest.raises(ConfigError, match="can't look up"):
        flagd([state(excluded=[slice_name])])


def test_a_route_splits_between_two_services() -> None:
    document = gateway_api(
        state(rollout="Help_Desk.v2", traffic_pct=2.5), gateway="edge", stable="old:80", candidate="new:8080"
    )
    assert (document["apiVersion"], document["kind"]) == ("gateway.networking.k8s.io/v1", "HTTPRoute")
    assert document["metadata"]["name"] == "help-desk-v2"
    assert document["spec"] == {
        "parentRefs": [{"name": "edge"}],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [
                    {"name": "old", "port": 80, "weight": 97_500},
                    {"name": "new", "port": 8080, "weight": 2_500},
                ],
            }
        ],
    }


@pytest.mark.parametrize("address", ["old", "old:", ":80", "old:http", "old:0", "old:65536", "old:²"])
def test_a_backend_without_a_port_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="SERVICE:PORT"):
        gateway_api(state(), gateway="edge", stable=address, candidate="new:80")


def test_litellm_can_not_be_told_of_a_prompt() -> None:
    candidate = ROLLOUT.candidate.model_copy(update={"prompt": Prompt(replace="Be short.")})
    with pytest.raises(ConfigError, match=r"candidate\.prompt can't be said"):
        litellm(state(), ROLLOUT.model_copy(update={"candidate": candidate}))


def test_litellm_gets_a_deployment_for_each_arm_that_serves() -> None:
    document = litellm(
        state(stable_overrides={"top_p": None}, candidate_overrides={"temperature": 0}),
        ROLLOUT,
        model_name="chat",
    )
    assert document["router_settings"] == {"routing_strategy": "simple-shuffle"}
    assert document["model_list"] == [
        {
            "model_name": "chat",
            "litellm_params": {"model": "openai/old", "api_base": "http://old:8000/v1", "weight": 95},
            "model_info": {"id": "desk-stable"},
        },
        {
            "model_name": "chat",
            "litellm_params": {
                "model": "openai/new",
                "api_base": "http://new:8000/v1",
                "temperature": 0,
                "weight": 5,
            },
            "model_info": {"id": "desk-candidate"},
        },
    ]


@pytest.mark.parametrize(("pct", "models"), [(0.0, ["openai/old"]), (100.0, ["openai/new"])])
def test_litellm_is_not_told_of_who_serves_nobody(pct: float, models: list[str]) -> None:
    document = litellm(state(traffic_pct=pct), ROLLOUT)
    assert [d["litellm_params"]["model"] for d in document["model_list"]] == models
    assert {d["model_name"] for d in document["model_list"]} == {"desk"}


def test_litellm_needs_the_models_names() -> None:
    with pytest.raises(ConfigError, match=r"stable\.model"):
        litellm(state(stable_model=""), ROLLOUT)


def test_litellm_is_not_given_one_models_name_with_anothers_address() -> None:
    with pytest.raises(ConfigError, match="'newer', and the configuration names 'new'"):
        litellm(state(candidate_model="newer"), ROLLOUT)


def test_weights_know_no_slices() -> None:
    taken_out = state(excluded=["language=de"])
    with pytest.raises(ConfigError, match="language=de"):
        gateway_api(taken_out, gateway="edge", stable="old:80", candidate="new:80")
    with pytest.raises(ConfigError, match="language=de"):
        litellm(taken_out, ROLLOUT)
    litellm(state(excluded=["language=de"], traffic_pct=0.0), ROLLOUT)  # all of it is the stable version's


def flag(of: RolloutState, key: str | None, **attributes: Any) -> str:
    """What flagd's evaluator makes of the export."""
    core = FlagdCore()
    core.set_flags(orjson.dumps(flagd([of])).decode())
    return core.resolve_string_value(of.rollout, "", EvaluationContext(key, attributes)).value
