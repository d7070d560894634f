"""The whole engine, all causes in all slices, with every true mean on the boundary: how often it is wrong.

Shorter runs of what `benchmarks.engine` does at length. Of 1,500 stages at most 25 may be rolled back falsely: an
engine exactly at its goal of 1% passes with a probability above 99%, one that was wrong in 2.4% of stages fails
with one above 95%. Of 1,500 at most 95 may be promoted falsely: at the goal of 5% that passes with more than 98%, at
8% it fails with more than 98% (the first test).

In each, two stages go through the real fold too and have the same evidence, also after it was kept and read again.
"""

import numpy as np
import pytest

from benchmarks.engine import AGREES, CRITERIA, FEARED, at_the_boundary, good, slices
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.rollout.simulation.bounds import Bound, bound
from shadowlane.rollout.simulation.engine import Layout
from shadowlane.rollout.simulation.kinds import Errors, Mix, Quality, pair_kinds
from shadowlane.rollout.simulation.traffic import Sessions, Traffic
from tests.evaluators.gates.simulation import at_most

RUNS = 1_500
MOST_ROLLED_BACK = 25
MOST_PROMOTED = 95
NONE = Errors(0.0, 0.0, 0.0)


def test_the_bounds_would_see_an_engine_that_breaks_its_goal() -> None:
    assert at_most(MOST_ROLLED_BACK, RUNS, 0.01) > 0.99
    assert at_most(MOST_ROLLED_BACK, RUNS, 0.024) < 0.05
    assert at_most(MOST_PROMOTED, RUNS, 0.05) > 0.98
    assert at_most(MOST_PROMOTED, RUNS, 0.08) < 0.02


def agreeing(found: Bound) -> Bound:
    """The real fold has the same evidence, also after a restart."""
    assert found.apart < AGREES
    assert found.restarted
    return found


def test_the_traffic_is_exactly_on_the_boundary() -> None:
    mix = at_the_boundary(rare=0.002)
    for hypothesis in FEARED.watched:
        assert mix.mean(hypothesis.observable.name) == pytest.approx(hypothesis.null_mean, abs=1e-12)


def test_false_roll_backs_over_all_metrics_and_slices() -> None:
    traffic = Traffic(Layout(FEARED.hypotheses), 20, at_the_boundary(rare=0.002), cells=slices(4))
    found = agreeing(bound(FEARED, traffic, RUNS, 400, np.random.default_rng(1)))
    assert (found.rolled_back > 0).sum() <= MOST_ROLLED_BACK


def test_sessions_are_units_because_their_pairs_are_not() -> None:
    def rolled_back(*, units: bool) -> int:
        traffic = Traffic(
            Layout(FEARED.hypotheses), 12, at_the_boundary(), sessions=Sessions(6, 0.3, units=units)
        )
        found = agreeing(bound(FEARED, traffic, RUNS, 250, np.random.default_rng(2)))
        return int((found.rolled_back > 0).sum())

    assert rolled_back(units=True) <= MOST_ROLLED_BACK
    assert rolled_back(units=False) > RUNS / 10


def test_an_outage_that_both_arms_share_is_no_regression() -> None:
    outage = Mix(pair_kinds(Errors(0.65, 0.65, 0.6), Quality(0.85, 0.85, 0.106, 0.15)))

    def rolled_back(rules: Rules) -> int:
        traffic = Traffic(Layout(rules.hypotheses), 20, good(), outage, cells=slices(3))
        found = bound(rules, traffic, 500, 100, np.random.default_rng(3), changed=lambda n: 20 <= n < 80)
        return int((agreeing(found).rolled_back > 0).sum())

    assert rolled_back(Rules()) <= 12  # of 500: above 99% at the goal of 1%
    # A trigger on the candidate's own error rate asks for just that.
    assert rolled_back(FEARED) == 500


@pytest.mark.parametrize(
    ("errors", "quality"),
    [
        (Errors.sharing(0.005, 0.005, 0.0), Quality(0.96, 0.96, 0.05, 0.05)),
        (NONE, Quality(0.95, 0.97, 0.05, 0.05, worthless=0.002)),
        (NONE, Quality(0.90, 0.90, 0.1, 0.1, 0.002, 0.002)),
    ],
    ids=["errors at 0.5%", "quality 0.02 below stable's", "quality at 0.90"],
)
def test_false_promotions_at_fault_in_one_thing_alone(errors: Errors, quality: Quality) -> None:
    rules = Rules(CRITERIA)
    traffic = Traffic(Layout(rules.hypotheses), 20, Mix(pair_kinds(errors, quality)))
    found = agreeing(bound(rules, traffic, RUNS, 400, np.random.default_rng(4), promotions=True))
    assert (found.shown > 0).sum() <= MOST_PROMOTED


@pytest.mark.parametrize("good_buckets", [0, 300])
def test_a_total_outage_rolls_back_with_the_first_bucket_whatever_came_before(good_buckets: int) -> None:
    traffic = Traffic(Layout(FEARED.hypotheses), 20, good(), good(to_errors=1.0), cells=slices(5))
    found = agreeing(
        bound(
            FEARED,
            traffic,
            200,
            good_buckets + 1,
            np.random.default_rng(5),
            changed=lambda n: n >= good_buckets,
        )
    )
    after = found.rolled_back[(found.rolled_back == 0) | (found.rolled_back > good_buckets)]
    assert (after == good_buckets + 1).all()


def test_a_slice_that_is_worse_is_named() -> None:
    traffic = Traffic(Layout(FEARED.hypotheses), 20, good(), good(to_quality=0.65), cells=slices(5), hit=[3])
    found = agreeing(bound(FEARED, traffic, 200, 60, np.random.default_rng(6), changed=lambda _: True))
    assert (found.rolled_back > 0).all()
    named = [traffic.slices[number] for number in found.alone if number]
    assert set(named) == {"tenant=03"}
    assert len(named) > 150
