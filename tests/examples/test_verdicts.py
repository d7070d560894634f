"""What the demo shows does not hang on luck: in any order of the tickets, and with margin to spare."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from examples.support_desk import demo
from shadowlane.evaluators.check import check, rules_of
from shadowlane.evaluators.gates.verdict import Decision, Verdict, decide
from shadowlane.evaluators.scorers import ScorerSet
from shadowlane.schemas.config import Rollout, Settings, load
from tests.evaluators.gates.building import START, Pair, buckets, folded
from tests.examples.questions import TICKETS, response

REQUEST = {"response_format": {"type": "json_object"}}


@pytest.fixture(scope="module")
def settings() -> Settings:
    found = load(demo.HERE / "shadowlane.yaml")
    check(found)
    return found


@dataclass(frozen=True)
class Graded(Pair):
    """A pair whose difference is over the scorers that grade both sides alone: agreement is none of them."""

    difference: float | None = None

    @property
    def quality_difference(self) -> float | None:
        return self.difference


def pairs(settings: Settings, rollout: Rollout) -> list[Pair]:
    """One pair for each ticket, scored as pairing would."""
    scorers = ScorerSet.from_rollout(rollout, settings.prices)
    found: list[Pair] = []
    for ticket in TICKETS.values():
        stable = response(rollout.stable.model, ticket)
        scored = scorers.score(REQUEST, stable, response(rollout.candidate.model, ticket))
        assert not scored.failed
        found.append(
            Graded(scored.candidate_quality, scored.stable_quality, difference=scored.quality_difference)
        )
    return found


def verdict(rollout: Rollout, traffic: list[Pair], minutes: int) -> Verdict:
    """On ``traffic``, spread over so many minutes."""
    rules = rules_of(rollout)
    split = [traffic[minute::minutes] for minute in range(minutes)]
    found = buckets(rules, split)
    return decide(rules, folded(rules, found), started=START, now=found[-1].last)


@pytest.mark.parametrize("rollout", demo.WANTED)
@pytest.mark.parametrize("minutes", [1, 2, 3])
def test_the_verdict_is_the_right_one_in_any_order(settings: Settings, rollout: str, minutes: int) -> None:
    declared = settings.rollout(rollout)
    traffic = pairs(settings, declared) * demo.PASSES
    for seed in range(5):
        random.Random(seed).shuffle(traffic)
        assert verdict(declared, traffic, minutes).verdict == Decision(demo.WANTED[rollout])


def test_each_verdict_has_evidence_to_spare(settings: Settings) -> None:
    good, faulty = settings.rollout("desk-2"), settings.rollout("desk-2-mini")
    promoted = verdict(good, pairs(settings, good) * demo.PASSES, 2)
    assert all(evidence.e > 5 * evidence.threshold for evidence in promoted.promote)
    rolled_back = verdict(faulty, pairs(settings, faulty) * (demo.PASSES - 3), 1)
    assert rolled_back.roll_back is not None
    assert [cause.name for cause in rolled_back.roll_back.leading] == ["quality_score < 0.985"]


def test_only_the_comparison_with_the_stable_model_sees_the_fault(settings: Settings) -> None:
    """Each answer of desk-2-mini looks fine by itself: that is what makes the fault subtle."""
    rollout = settings.rollout("desk-2-mini")
    scorers = ScorerSet.from_rollout(rollout, settings.prices)
    for ticket in TICKETS.values():
        candidate = response("desk-2-mini", ticket)
        scored = scorers.score(REQUEST, response("desk-1", ticket), candidate)
        assert scored.quality_difference == 0
        assert {scored.candidate[name] for name in ("answered", "json_valid", "error")} == {1.0}


def test_the_configuration_gets_the_ports_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "WORK", tmp_path)
    written = load(demo.write_config(kafka=1111, store=2222, models=3333))
    assert written.kafka.bootstrap_servers == "127.0.0.1:1111"
    assert written.clickhouse.port == 2222
    assert {r.candidate.base_url for r in written.rollouts} == {"http://127.0.0.1:3333/v1"}


def test_the_demo_is_not_content_with_less() -> None:
    ledger = {"eligible": 9, "in_flight": 0, "adds_up": True}
    good: dict[str, Any] = {
        rollout: {"verdict": wanted, "ledger": dict(ledger)} for rollout, wanted in demo.WANTED.items()
    }
    assert demo.faults(good, sent=9) == []
    for rollout in demo.WANTED:
        for change in ({"verdict": "hold"}, *({"ledger": ledger | odd} for odd in ODD_LEDGERS)):
            (fault,) = demo.faults(good | {rollout: good[rollout] | change}, sent=9)
            assert fault.startswith(f"{rollout}: ")


ODD_LEDGERS: list[dict[str, Any]] = [{"eligible": 8}, {"in_flight": 1}, {"adds_up": False}]


def test_two_demos_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "WORK", tmp_path / ".demo")
    with demo.take_work_folder():
        (tmp_path / ".demo" / "old.log").write_text("old")
        with pytest.raises(demo.DemoError, match="another demo"):
            demo.take_work_folder()
        assert (tmp_path / ".demo" / "old.log").exists()
    with demo.take_work_folder():
        assert not (tmp_path / ".demo" / "old.log").exists()
