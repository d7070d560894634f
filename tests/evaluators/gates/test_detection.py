"""How fast a roll back comes: at once, after a good week, on a total outage. And the simulation beside `decide`."""

from datetime import timedelta

import numpy as np
import pytest

from shadowlane.evaluators.gates.kernel import SPREAD
from shadowlane.evaluators.gates.verdict import Decision, decide
from tests.evaluators.gates.building import FAILED, START, Pair, buckets, folded, usual_rules
from tests.evaluators.gates.simulation import Stages, Traffic

RULES = usual_rules()
HOUR = timedelta(hours=1)
PER_BUCKET = 20

STABLE_FAILED = Pair(0.85, 0.0, "", "timeout")


def traffic(better: float, worse: float, failing: float = 0.003) -> Traffic:
    """The stable version's quality is 0.85, the candidate's one of two, as often. Stable fails in 0.3%."""
    half = (1 - 0.003 - failing) / 2
    kinds = ((half, Pair(better, 0.85)), (half, Pair(worse, 0.85)), (0.003, STABLE_FAILED), (failing, FAILED))
    return Traffic(kinds, PER_BUCKET)


# The difference has a standard deviation of 0.15 throughout.
GOOD = traffic(1.0, 0.7)
FIVE_POINTS = traffic(0.95, 0.65)
TEN_POINTS = traffic(0.9, 0.6)
FAILING = traffic(1.0, 0.7, failing=0.05)


def buckets_to_roll_back(good_buckets: int, bad: Traffic, runs: int = 400, at_most: int = 400) -> float:
    """The median number of buckets from the change to the roll back, among runs not rolled back before."""
    rng = np.random.default_rng(good_buckets)
    stages = Stages(RULES.watched, SPREAD, runs)
    early = np.zeros(runs, dtype=bool)
    factors, edges = stages.factors(GOOD), GOOD.edges()
    for _ in range(good_buckets):
        evidence = stages.fold(factors, np.searchsorted(edges, rng.random(runs), side="right"))
        early |= evidence.mean(axis=1) >= 1 / RULES.alpha_roll_back
    assert early.mean() <= 0.01
    factors, edges = stages.factors(bad), bad.edges()
    delay = np.full(runs, np.inf)
    for k in range(1, at_most + 1):
        evidence = stages.fold(factors, np.searchsorted(edges, rng.random(runs), side="right"))
        latched = (evidence.mean(axis=1) >= 1 / RULES.alpha_roll_back) & np.isinf(delay)
        delay[latched] = k
        if not np.isinf(delay[~early]).any():
            break
    return float(np.median(delay[~early]))


@pytest.mark.parametrize(
    "bad", [FIVE_POINTS, TEN_POINTS, FAILING], ids=["-5 points", "-10 points", "errors 5%"]
)
def test_a_late_change_takes_at_most_twice_as_long_as_an_immediate_one(bad: Traffic) -> None:
    immediate, late = buckets_to_roll_back(0, bad), buckets_to_roll_back(1_500, bad)
    assert immediate < late <= 2 * immediate


@pytest.mark.parametrize("good_minutes", [0, 1, 200])
def test_a_total_outage_rolls_back_in_its_first_closed_bucket(good_minutes: int) -> None:
    stage = buckets(RULES, [*[[Pair()] * 20] * good_minutes, [FAILED] * 20])
    verdict = decide(RULES, folded(RULES, stage), started=START, now=START + HOUR)
    assert verdict.verdict is Decision.ROLL_BACK
    assert verdict.roll_back is not None
    assert verdict.roll_back.since == stage[-1].start


def test_a_total_outage_takes_three_pairs_where_nothing_else_was_seen() -> None:
    """Two, if its share of the error budget were all of it."""
    needed = next(
        n
        for n in range(1, 20)
        if decide(RULES, folded(RULES, buckets(RULES, [[FAILED] * n])), started=START, now=START).verdict
        is Decision.ROLL_BACK
    )
    assert needed == 3


@pytest.mark.parametrize("per_failure", [100, 400])
def test_seventeen_failures_against_none_roll_back_however_many_pairs_there_are(per_failure: int) -> None:
    minute = [FAILED] + [Pair()] * (per_failure - 1)
    sixteen, seventeen = (
        decide(RULES, folded(RULES, buckets(RULES, [minute] * n)), started=START, now=START) for n in (16, 17)
    )
    assert sixteen.verdict is Decision.HOLD
    assert seventeen.verdict is Decision.ROLL_BACK
    assert seventeen.roll_back is not None
    assert seventeen.roll_back.leading[0].name == "errors_worse"


def test_an_error_rate_below_half_a_percent_takes_930_pairs_without_an_error() -> None:
    def shown(pairs: int) -> bool:
        verdict = decide(RULES, folded(RULES, buckets(RULES, [[Pair()] * pairs])), started=START, now=START)
        return {e.name: e.reached for e in verdict.promote}["error_rate < 0.5%"]

    assert shown(935)
    assert not shown(925)


def test_the_simulation_latches_where_decide_does() -> None:
    rng = np.random.default_rng(7)
    runs, minutes = 5, 60
    small = Traffic(TEN_POINTS.kinds, 4)
    outcomes = small.outcomes()
    stages = Stages(RULES.watched, SPREAD, runs)
    factors, edges = stages.factors(small), small.edges()
    drawn = [np.searchsorted(edges, rng.random(runs), side="right") for _ in range(minutes)]
    together = np.array([stages.fold(factors, outcome).mean(axis=1) for outcome in drawn])
    latched = (together >= 100).argmax(axis=0)
    assert (together.max(axis=0) >= 100).all()
    for run in range(runs):
        stage = buckets(RULES, [[small.kinds[kind][1] for kind in outcomes[o[run]]] for o in drawn])
        latch = decide(RULES, folded(RULES, stage), started=START, now=START + HOUR).roll_back
        assert latch is not None
        assert latch.since == stage[latched[run]].start
        assert latch.e == pytest.approx(together[latched[run], run], rel=1e-9)
