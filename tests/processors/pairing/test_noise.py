"""Noise pairs: the answer that was served beside the stable version's second one, and apart from every pair."""

from typing import Any

import pytest

from shadowlane.processors.produce import RecordTooLargeError
from shadowlane.schemas.codec import decode
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import Pair, Role
from tests.processors.pairing.test_service import TOPICS, Harness, served, shadow

ROLLOUT: dict[str, Any] = {
    "name": "r",
    "match": {"service": "shop"},
    "stable": {"model": "old", "base_url": "http://s"},
    "candidate": {"base_url": "http://c", "model": "new"},
}


def of(rate: float) -> Settings:
    return Settings.model_validate({"rollouts": [ROLLOUT | {"noise": {"rate": rate}}]})


EPOCH = of(1).rollouts[0].epoch


@pytest.fixture
def harness() -> Harness:
    return Harness(of(1))


def baseline(request_id: str, **changes: Any) -> bytes:
    again = {"role": "baseline", "arm": "stable", "output": "stable again", "epoch": EPOCH}
    return shadow(request_id, **again | changes)


def candidates(request_id: str) -> bytes:
    return shadow(request_id, epoch=EPOCH)


def noise_pairs(harness: Harness) -> list[Pair]:
    return [decode(Pair, line) for topic, _, line, _ in harness.sent if topic == TOPICS.noise]


def test_the_second_answer_is_scored_beside_the_first_and_counts_as_no_pair(harness: Harness) -> None:
    harness.read(Role.SHADOW, baseline("a", fingerprint="f", served_fingerprint="f"))
    harness.read(Role.SERVED, served("a"))
    assert harness.pairs() == []
    (found,) = noise_pairs(harness)
    assert (found.pair_id, found.request_id) == (f"a:r:{EPOCH}:noise", "a")
    assert (found.outcome, found.served_arm) == ("scored", "stable")
    assert (found.stable_output, found.candidate_output) == ("stable", "stable again")
    assert (found.stable_fingerprint, found.candidate_fingerprint) == ("f", "f")
    assert harness.scorers.asked == [({"q": 1}, "stable", "stable again")]
    assert found.candidate_scores == harness.scorers.says.candidate
    progress = harness.pairing.progress()
    assert (progress["noise"], progress["paired"], progress["scored"], progress["waiting"]) == (1, 0, 0, 1)

    harness.read(Role.SHADOW, candidates("a"))
    assert [pair.pair_id for pair in harness.pairs()] == [f"a:r:{EPOCH}"]
    assert harness.acknowledged == []
    harness.answer()
    assert set(harness.acknowledged) == {(Role.SERVED, 0), (Role.SHADOW, 0), (Role.SHADOW, 1)}


def test_what_comes_again_is_one_noise_pair(harness: Harness) -> None:
    harness.read(Role.SERVED, served("a"), served("a"))
    harness.read(Role.SHADOW, baseline("a"), baseline("a"))
    harness.answer()
    harness.read(Role.SHADOW, baseline("a"))
    assert noise_pairs(harness) == []
    assert harness.pairing.progress()["noise"] == 1


@pytest.mark.parametrize(
    ("half", "reason"), [(served("a"), "no_baseline_response"), (baseline("a"), "no_served_response")]
)
def test_one_that_never_gets_its_other_half_says_so(harness: Harness, half: bytes, reason: str) -> None:
    side = Role.SERVED if reason == "no_baseline_response" else Role.SHADOW
    harness.read(side, half)
    harness.now = 10**9
    harness.pairing.expire()
    (found,) = noise_pairs(harness)
    assert (found.outcome, found.reason) == ("unpaired", reason)
    assert len(harness.pairs()) == (side is Role.SERVED)  # the candidate's never came either
    assert harness.pairing.progress()["unpaired"] == len(harness.pairs())


def test_a_failure_that_is_nobodys_abstains(harness: Harness) -> None:
    harness.read(Role.SERVED, served("a"))
    harness.read(Role.SHADOW, baseline("a", error="throttled", output=""))
    (found,) = noise_pairs(harness)
    assert (found.outcome, found.reason) == ("abstained", "throttled")
    assert harness.scorers.asked == []


@pytest.mark.parametrize(("rate", "changes"), [(0, {}), (1, {"arm": "candidate"}), (1, {"model": "new"})])
def test_nothing_waits_for_a_second_answer_that_nobody_asks_for(rate: float, changes: dict[str, str]) -> None:
    harness = Harness(of(rate))
    harness.read(Role.SERVED, served("a", **changes))
    assert harness.pairing.progress()["waiting"] == 1  # for the other arm


def test_a_baseline_that_comes_after_it_was_switched_off_waits_no_longer_than_others() -> None:
    harness = Harness(of(0))
    harness.read(Role.SERVED, served("a"))
    harness.read(Role.SHADOW, candidates("a"), baseline("a"))
    harness.now = 10**9
    harness.pairing.expire()
    assert [pair.reason for pair in noise_pairs(harness)] == ["no_served_response"]
    assert len(harness.pairs()) == 1


def test_one_of_another_epoch_pairs_with_nothing(harness: Harness) -> None:
    harness.read(Role.SHADOW, baseline("a", epoch="another"))
    assert harness.acknowledged == [(Role.SHADOW, 0)]
    assert harness.pairing.progress()["other_epoch"] == 1


def test_one_too_large_for_kafka_is_cut_and_stays_a_noise_pair(harness: Harness) -> None:
    harness.read(Role.SERVED, served("a", output="x" * 100_000))
    harness.read(Role.SHADOW, baseline("a"))
    harness.answer(RecordTooLargeError("too large"))
    (found,) = noise_pairs(harness)
    assert len(found.stable_output) < 100_000
    assert harness.pairs() == []
