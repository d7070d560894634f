"""Who serves a key, without Kafka."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.errors import CodecError
from shadowlane.processors.worker import chat
from shadowlane.processors.worker.claim import contradiction
from shadowlane.producers.sampling import Sampler
from shadowlane.rollout.routing import Reason, Route, candidate_serves, choose, unknown
from shadowlane.rollout.state import VersionRef
from shadowlane.schemas.codec import decode, encode
from shadowlane.schemas.config import Candidate, Stable
from shadowlane.schemas.config.kinds import Prompt
from shadowlane.schemas.events import Arm, MirroredRequest, RolloutState
from tests.rollout.routers import state

KEYS = [f"session-{n}" for n in range(20_000)]
shares = st.floats(0, 100)
PARAMETERS = st.sampled_from(["temperature", "top_p", "response_format"])
VALUES = st.floats(0, 1) | st.integers(0, 2) | st.dictionaries(st.text(max_size=3), st.text(max_size=3))


@given(st.text(), st.text(), shares, shares)
def test_a_larger_share_only_moves_keys_in(rollout: str, key: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if candidate_serves(rollout, key, low):
        assert candidate_serves(rollout, key, high)


@given(st.text(), st.text())
def test_nobody_at_0_and_everybody_at_100(rollout: str, key: str) -> None:
    assert not candidate_serves(rollout, key, 0)
    assert candidate_serves(rollout, key, 100)


@pytest.mark.parametrize("pct", [0.1, 5, 25, 50, 99])
def test_the_share_of_the_keys_is_the_share_of_the_traffic(pct: float) -> None:
    found = sum(candidate_serves("desk", key, pct) for key in KEYS) / len(KEYS)
    spread = (pct / 100 * (1 - pct / 100) / len(KEYS)) ** 0.5
    assert abs(found - pct / 100) < 4.5 * spread  # the keys are always the same: it passes or it does not


def test_another_rollout_draws_other_keys() -> None:
    one = {key for key in KEYS if candidate_serves("desk", key, 10)}
    other = {key for key in KEYS if candidate_serves("search", key, 10)}
    assert abs(len(one & other) / len(KEYS) - 0.01) < 0.003


def test_who_is_sampled_says_nothing_of_who_is_moved() -> None:
    for sampler in (Sampler(0.5), Sampler(0.5, "desk")):
        sampled = [key for key in KEYS if sampler.takes(key)]
        moved = sum(candidate_serves("desk", key, 50) for key in sampled)
        assert abs(moved / len(sampled) - 0.5) < 0.02


def test_the_hash_stays_what_it_is() -> None:
    """Routers of several versions run side by side: a key must not move for that."""
    served = [key for key in KEYS[:200] if candidate_serves("desk", key, 5)]
    assert served == [
        "session-13",
        "session-20",
        "session-29",
        "session-132",
        "session-140",
        "session-146",
        "session-175",
        "session-188",
    ]


@given(st.text(min_size=1), shares)
def test_a_choice_is_what_the_share_says(key: str, pct: float) -> None:
    choice = choose(state(traffic_pct=pct), key)
    assert (choice.arm == "candidate") == candidate_serves("desk", key, pct)
    assert choice.model == ("new" if choice.arm == "candidate" else "old")
    assert (choice.stage, choice.epoch, choice.traffic_pct) == ("canary", "e1", pct)
    assert choice.reason == (Reason.EVERYONE if pct in (0, 100) else Reason.SHARE)


@pytest.mark.parametrize(("pct", "arm"), [(0, "stable"), (5, "stable"), (99.9, "stable"), (100, "candidate")])
def test_without_a_key_the_stable_version_serves_until_the_candidate_has_all(pct: float, arm: str) -> None:
    choice = choose(state(traffic_pct=pct), "")
    assert choice.arm == arm
    assert choice.reason == (Reason.NO_KEY if 0 < pct < 100 else Reason.EVERYONE)


@pytest.mark.parametrize("pct", [50.0, 100.0])
def test_an_excluded_slice_is_served_by_the_stable_version(pct: float) -> None:
    route = Route(state(traffic_pct=pct, excluded=["language=de", "tier=1"]))
    for key in KEYS[:50]:
        for attributes in (
            {"language": "de"},
            {"language": "en", "tier": 1},
            {"tier": "1", "language": "de"},
        ):
            choice = route.choose(key, attributes)
            assert (choice.arm, choice.reason, choice.model) == ("stable", Reason.EXCLUDED, "old")
        expected = choose(state(traffic_pct=pct), key)
        assert route.choose(key, {"language": "den", "other": "de"}) == expected
        assert route.choose(key) == expected


def test_overrides_belong_to_the_arm_and_are_not_shared_with_the_service() -> None:
    changed = {"temperature": 0, "response_format": {"type": "text"}, "top_p": None}
    route = Route(state(traffic_pct=100.0, candidate_overrides=changed))
    asked = route.choose("k").applied_to({"model": "mine", "top_p": 0.9, "n": 1})
    assert asked == {"model": "new", "n": 1, "temperature": 0, "response_format": {"type": "text"}}
    asked["response_format"]["type"] = "json_object"
    assert route.choose("k").applied_to({})["response_format"] == {"type": "text"}


@given(
    st.sampled_from([0.0, 100.0]),
    st.sampled_from(["", "new"]),
    st.dictionaries(PARAMETERS, VALUES),
    st.dictionaries(PARAMETERS, VALUES | st.none()),
)
def test_what_is_asked_by_a_choice_is_what_the_worker_expects_of_the_arm(
    pct: float, model: str, own: dict[str, Any], overrides: dict[str, Any]
) -> None:
    decided = state(traffic_pct=pct, candidate_model=model, candidate_overrides=overrides)
    choice = choose(decided, "k")
    asked = choice.applied_to({"model": "old", "messages": [], **own})
    request = MirroredRequest(
        request_id="r", ts=1, service="s", route="r", protocol="openai.chat", model=asked["model"], body=asked
    )
    version = Stable(model=choice.model, overrides=dict(choice.overrides))
    assert contradiction(request, choice.arm, version) is None


PROMPTS = st.one_of(
    st.builds(Prompt, replace=st.sampled_from(["", "Be short."])),
    st.builds(Prompt, prepend=st.sampled_from(["", "First."]), append=st.just("Last.")),
)
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "openai": {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]},
    "openai-responses": {"instructions": "Be kind.", "input": "hi"},
    "anthropic": {"system": "Be kind.", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "bedrock": {
        "system": [{"text": "Be kind."}],
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
    },
}


@given(st.sampled_from(sorted(CONVERSATIONS)), PROMPTS)
def test_the_prompt_that_was_shadowed_is_the_one_that_serves(kind: Any, prompt: Prompt) -> None:
    version = Candidate(kind=kind, model="new", base_url="http://c:80", overrides={"seed": 7}, prompt=prompt)
    decided = decode(
        RolloutState, encode(state(traffic_pct=100.0, candidate_prompt=VersionRef.of(version).prompt))
    )
    asked = CONVERSATIONS[kind] | {"model": "old"}
    before = copy.deepcopy(asked)
    served = choose(decided, "k").applied_to(asked)
    assert asked == before
    mirrored = MirroredRequest(
        request_id="r", ts=1, service="s", route="r", protocol=version.protocol, model="old", body=asked
    )
    shadowed, _ = chat.ask(mirrored, version)
    named = {"model": "new", "stream": False, "store": False, "seed": 7}  # what else the worker says
    assert served | named == shadowed | named
    assert (
        contradiction(replace(mirrored, model="new", body=served | {"seed": 7}), Arm.CANDIDATE, version)
        is None
    )


def test_a_prompt_needs_the_conversation_and_takes_any_sequence_of_messages() -> None:
    told = {"api": "openai.chat", "replace": "Be short."}
    choice = choose(state(traffic_pct=100.0, candidate_prompt=told), "k")
    assert choice.applied_to({"model": "old"}) == {"model": "new"}
    user = {"role": "user", "content": "hi"}
    for messages in ([user], (user,), ({"role": "system", "content": "Be kind."}, user)):
        asked = choice.applied_to({"messages": messages})
        assert asked["messages"] == [{"role": "system", "content": "Be short."}, user]


@pytest.mark.parametrize(
    "told", [{"api": "of-tomorrow", "replace": "a"}, {"replace": "a"}, {"api": "openai.chat", "replace": 1}]
)
def test_a_prompt_that_is_not_understood_stops_no_decision(told: dict[str, Any]) -> None:
    choice = choose(state(traffic_pct=100.0, candidate_prompt=told), "k")
    assert (choice.arm, choice.prompt) == ("candidate", None)
    assert choice.applied_to({"messages": []}) == {"model": "new", "messages": []}


def test_of_an_unknown_rollout_the_services_own_parameters_hold() -> None:
    choice = unknown("desk")
    assert (choice.arm, choice.reason, choice.stage) == ("stable", Reason.UNKNOWN, "")
    assert choice.applied_to({"model": "mine"}) == {"model": "mine"}


@pytest.mark.parametrize("changed", [{"rollout": ""}, {"traffic_pct": -0.1}, {"traffic_pct": 100.1}])
def test_a_state_that_makes_no_sense_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(CodecError):
        Route(state(**changed))
