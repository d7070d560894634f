"""What the demo shows does not hang on luck: in any order of the tickets, and with margin to spare."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from examples.support_desk import demo
from examples.support_desk.processes import DemoError
from shadowlane.evaluators.cautions import warnings
from shadowlane.evaluators.check import check, rules_of
from shadowlane.evaluators.gates.buckets import Bucket
from shadowlane.evaluators.gates.fold import Fold, fold
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.verdict import Decision, Verdict, decide
from shadowlane.evaluators.scorers import ScorerSet
from shadowlane.schemas.config import Rollout, Settings, Stage, load
from tests.evaluators.gates.building import START, Pair, bucket
from tests.examples.questions import TICKETS, response

REQUEST = {"response_format": {"type": "json_object"}}
A_BUCKET = 60  # pairs: a second of a quick machine


@pytest.fixture(scope="module")
def settings() -> Settings:
    found = load(demo.HERE / "shadowlane.yaml")
    check(found)
    return found


@dataclass(frozen=True)
class Graded(Pair):
    """A pair whose difference is over the scorers that grade both sides alone: agreement is none of them."""

    difference: float | None = None
    language: str = ""

    @property
    def quality_difference(self) -> float | None:
        return self.difference


def pairs(settings: Settings, rollout: Rollout) -> list[Graded]:
    """One pair for each ticket, scored as pairing would."""
    scorers = ScorerSet.from_rollout(rollout, settings.prices)
    found: list[Graded] = []
    for ticket in TICKETS.values():
        stable = response(rollout.stable.model, ticket)
        scored = scorers.score(REQUEST, stable, response(rollout.candidate.model, ticket))
        assert not scored.failed
        found.append(
            Graded(
                scored.candidate_quality,
                scored.stable_quality,
                difference=scored.quality_difference,
                language=ticket["language"],
            )
        )
    return found


def sliced(rules: Rules, number: int, traffic: list[Graded]) -> list[Bucket]:
    """One bucket of all traffic, and one of each language in it."""
    found = [bucket(rules, number, traffic)]
    for language in sorted({pair.language for pair in traffic}):
        part = bucket(rules, number, [pair for pair in traffic if pair.language == language])
        found.append(replace(part, slice=f"language={language}"))
    return found


def verdicts(rollout: Rollout, stage: Stage, once: list[Graded], seed: int) -> Iterator[Verdict]:
    """After each bucket of the stage, on passes of the tickets in an order of their own each."""
    rules, shuffled = rules_of(rollout, stage), random.Random(seed)
    major = {by.attribute: by.major_share for by in rollout.slices}
    waiting: list[Graded] = []
    state = Fold.start(START, sliced=True)
    for number in range(20):
        while len(waiting) < A_BUCKET:
            waiting += shuffled.sample(once, len(once))
        now = START + timedelta(minutes=number + 1)
        state = fold(rules, state, sliced(rules, number, waiting[:A_BUCKET]), now)
        waiting = waiting[A_BUCKET:]
        yield decide(rules, state, started=START, now=now, major=major)


@pytest.mark.parametrize("seed", range(5))
def test_desk_2_shows_all_that_a_stage_asks_for_with_some_hundred_pairs(
    settings: Settings, seed: int
) -> None:
    rollout = settings.rollout("desk-2")
    seen = list(verdicts(rollout, rollout.stages[0], pairs(settings, rollout), seed))
    decided = next(verdict for verdict in seen if verdict.verdict is not Decision.HOLD)
    assert decided.verdict is Decision.PROMOTE
    assert decided.pairs <= 480
    assert all(verdict.roll_back is None for verdict in seen)


def test_every_stage_of_evidence_asks_for_the_same(settings: Settings) -> None:
    rollout = settings.rollout("desk-2")
    *staged, full = [rules_of(rollout, stage) for stage in rollout.stages]
    assert len({rules.digest for rules in staged}) == 1
    assert rollout.stages[-1].traffic_pct == 100
    assert full.min_stay == timedelta(0)


@pytest.mark.parametrize("seed", range(5))
def test_desk_2_mini_is_rolled_back_before_any_customer_has_an_answer_of_it(
    settings: Settings, seed: int
) -> None:
    rollout = settings.rollout("desk-2-mini")
    assert rollout.stages[0].traffic_pct == 0
    seen = verdicts(rollout, rollout.stages[0], pairs(settings, rollout), seed)
    decided = next(verdict for verdict in seen if verdict.verdict is not Decision.HOLD)
    assert decided.verdict is Decision.ROLL_BACK
    assert decided.pairs <= 900
    assert decided.roll_back is not None
    assert decided.roll_back.leading[0].name == "quality_score < 0.985"


def test_only_the_comparison_with_the_stable_model_sees_the_fault(settings: Settings) -> None:
    """Each answer of desk-2-mini looks fine by itself: that is what makes the fault subtle."""
    rollout = settings.rollout("desk-2-mini")
    scorers = ScorerSet.from_rollout(rollout, settings.prices)
    for ticket in TICKETS.values():
        candidate = response("desk-2-mini", ticket)
        scored = scorers.score(REQUEST, response("desk-1", ticket), candidate)
        assert scored.quality_difference == 0
        assert {scored.candidate[name] for name in ("answered", "json_valid", "error")} == {1.0}


def test_the_configuration_needs_no_warning(settings: Settings) -> None:
    assert warnings(settings) == []


def test_the_configuration_gets_the_ports_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "WORK", tmp_path)
    written = load(demo.write_config(kafka=1111, store=2222, models=3333, on_call=4444))
    assert written.kafka.bootstrap_servers == "127.0.0.1:1111"
    assert written.clickhouse.port == 2222
    arms = [arm for r in written.rollouts for arm in (r.stable, r.candidate)]
    assert {arm.base_url for arm in arms} == {"http://127.0.0.1:3333/v1"}
    assert [channel.url for channel in written.alerts] == ["http://127.0.0.1:4444/"]


def test_two_demos_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "WORK", tmp_path / ".demo")
    with demo.take_work_folder():
        (tmp_path / ".demo" / "old.log").write_text("old")
        with pytest.raises(DemoError, match="another demo"):
            demo.take_work_folder()
        assert (tmp_path / ".demo" / "old.log").exists()
    with demo.take_work_folder():
        assert not (tmp_path / ".demo" / "old.log").exists()
