"""How often the verdict is wrong, simulated with every true mean exactly on the boundary of its null.

Each simulation runs 3,000 stages of 10,080 one-minute buckets (the horizon of the roll back's schedule), looked
at after every bucket, rare failures included. The traffic is exact, so a count above the bound can only be chance
or a fault of the kernel. The bounds: of 3,000 stages at most 46 rolled back, at most 186 promoted. A kernel that
was wrong in 2% of stages instead of 1% would exceed the first with a probability above 95%, one that promoted
falsely in 7% instead of 5% the second; a kernel exactly at its goal passes with more than 99% (the first test).
"""

import numpy as np
import pytest

from shadowlane.evaluators.gates.kernel import AT_ONCE, SPREAD
from shadowlane.evaluators.gates.rules import Rules
from tests.evaluators.gates.building import Pair, usual_rules
from tests.evaluators.gates.simulation import Stages, Traffic, at_most

RUNS = 3_000
BUCKETS = 10_080
MOST_ROLLED_BACK = 46
MOST_PROMOTED = 186


def test_the_bounds_would_see_a_kernel_that_breaks_its_goal() -> None:
    assert at_most(MOST_ROLLED_BACK, RUNS, 0.02) < 0.05
    assert at_most(MOST_ROLLED_BACK, RUNS, 0.01) > 0.99
    assert at_most(MOST_PROMOTED, RUNS, 0.07) < 0.05
    assert at_most(MOST_PROMOTED, RUNS, 0.05) > 0.99


def boundary(
    failing: float, stable_failing: float, quality: float, worse_by: float, *, rare: float
) -> Traffic:
    """Traffic with exactly these means: the candidate's error rate, the stable one's, quality, difference.

    A candidate that failed has quality 0, and ``rare`` of all pairs are answers that are worthless (quality 0)
    without an error: what is left is good enough to make the means come out.
    """
    both = failing * stable_failing
    only_candidate, only_stable = failing - both, stable_failing - both
    fine = 1 - failing - only_stable - rare
    good = quality / (fine + only_stable)
    stable = (quality + worse_by) / (fine + only_candidate + rare)
    assert good <= 1
    assert stable <= 1
    return Traffic(
        (
            (both, Pair(0.0, 0.0, "x", "x")),
            (only_candidate, Pair(0.0, stable, "x", "")),
            (only_stable, Pair(good, 0.0, "", "x")),
            (rare, Pair(0.0, stable)),
            (fine, Pair(good, stable)),
        ),
        per_bucket=5,
    )


def odds(rate: float, ratio: float) -> float:
    """The error rate whose odds are ``ratio`` times smaller."""
    smaller = rate / (1 - rate) / ratio
    return smaller / (1 + smaller)


@pytest.mark.parametrize("rare", [0.002, 0.05, 0.17])
def test_false_roll_backs(rare: float) -> None:
    """Errors exactly at 2% and at odds of 1.5, quality exactly at 0.80 and 0.02 below the stable version's."""
    rules = usual_rules()
    traffic = boundary(0.02, odds(0.02, 1.5), 0.80, 0.02, rare=rare)
    for hypothesis in rules.watched:
        assert traffic.mean(hypothesis) == pytest.approx(hypothesis.null_mean, abs=1e-12)
    reached = highest(rules, traffic, seed=int(rare * 1000))
    threshold = 1 / rules.alpha_roll_back
    assert (reached["together"] >= threshold).sum() <= MOST_ROLLED_BACK
    for hypothesis in rules.watched:  # each as if it had the whole error budget
        assert (reached[hypothesis.name] >= threshold).sum() <= MOST_ROLLED_BACK, hypothesis.name


def highest(rules: Rules, traffic: Traffic, seed: int) -> dict[str, np.ndarray]:
    """The highest evidence to roll back that each run ever has: of each test, and of all causes together."""
    rng = np.random.default_rng(seed)
    stages = Stages(rules.watched, SPREAD, RUNS)
    factors, edges = stages.factors(traffic), traffic.edges()
    single = np.zeros((RUNS, len(rules.watched)))
    together = np.zeros(RUNS)
    for _ in range(BUCKETS):
        evidence = stages.fold(factors, np.searchsorted(edges, rng.random(RUNS), side="right"))
        np.maximum(single, evidence, out=single)
        np.maximum(together, evidence.mean(axis=1), out=together)
    assert rules.weight == 1 / len(rules.watched)
    return {"together": together} | {h.name: single[:, i] for i, h in enumerate(rules.watched)}


@pytest.mark.parametrize("rare", [0.002, 0.05])
def test_false_promotions(rare: float) -> None:
    """Errors exactly at 0.5%, quality exactly at 0.90 and exactly 0.02 below: nothing of it may be promoted.

    Each required test alone keeps to 5%, so that a candidate at fault in one thing alone is promoted in no
    more than 5% of stages, whatever the others say.
    """
    rules = usual_rules()
    traffic = boundary(0.005, 0.005, 0.90, 0.02, rare=rare)
    rng = np.random.default_rng(int(rare * 1000))
    stages = Stages(rules.required, AT_ONCE, RUNS)
    factors, edges = stages.factors(traffic), traffic.edges()
    for hypothesis in rules.required:
        assert traffic.mean(hypothesis) == pytest.approx(hypothesis.null_mean, abs=1e-12)
    single = np.zeros((RUNS, len(rules.required)))
    all_at_once = np.zeros(RUNS)
    for _ in range(BUCKETS):
        evidence = stages.fold(factors, np.searchsorted(edges, rng.random(RUNS), side="right"))
        np.maximum(single, evidence, out=single)
        np.maximum(all_at_once, evidence.min(axis=1), out=all_at_once)
    threshold = 1 / rules.alpha_promote
    for i, hypothesis in enumerate(rules.required):
        assert (single[:, i] >= threshold).sum() <= MOST_PROMOTED, hypothesis.name
    assert (all_at_once >= threshold).sum() <= MOST_PROMOTED
