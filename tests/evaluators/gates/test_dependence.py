"""What must not cause false roll backs: sessions whose requests are alike, many slices of the same traffic.

Each simulation runs 3,000 stages with every true mean exactly on the boundary of its null, looked at after every
bucket, and allows as many roll backs as test_error_bounds.py does: a procedure that was wrong in 2% of stages instead
of 1% would exceed it with a probability above 95%.
"""

import numpy as np
import numpy.typing as npt
import pytest

from shadowlane.evaluators.gates.hypotheses import Hypothesis, errors_worse, quality_worse
from shadowlane.evaluators.gates.kernel import SPREAD
from shadowlane.evaluators.gates.slices import budget_share
from tests.evaluators.gates.building import usual_rules
from tests.evaluators.gates.test_error_bounds import MOST_ROLLED_BACK, RUNS

Floats = npt.NDArray[np.float64]
TURNS = 6
THRESHOLD = 1 / usual_rules().alpha_roll_back


def highest(hypothesis: Hypothesis, buckets: int, draw: "Draw") -> Floats:
    """The highest E that each run ever has. NaN is a unit that hasn't the number."""
    bets = np.array(hypothesis.bets)
    wealth, most = np.zeros((RUNS, len(bets))), np.zeros(RUNS)
    for number in range(buckets):
        wealth += SPREAD.share(number) / len(bets)
        for x in draw().T:
            wealth *= np.where(np.isnan(x), 1, 1 + np.multiply.outer(bets, x - hypothesis.null_mean)).T
        np.maximum(most, wealth.sum(axis=1) + SPREAD.reserve(number), out=most)
    return most


class Draw:
    """The units of one bucket of each run: two sessions of `TURNS` pairs each, by session or one by one."""

    def __init__(self, hypothesis: Hypothesis, by_session: bool, seed: int) -> None:
        self._errors = hypothesis.observable.binary
        self._null = hypothesis.null_mean
        self._by_session = by_session
        self._rng = np.random.default_rng(seed)

    def __call__(self) -> Floats:
        sessions = self._rng.random((RUNS, 2, 1))
        turns = self._rng.random((RUNS, 2, TURNS))
        if self._errors:
            # A session that fails, fails in every turn; of its turns half have failures on one side alone.
            x = np.where(turns < 0.5, np.where(sessions < self._null, 1.0, 0.0), np.nan)
        else:
            # A session that goes wrong is worse throughout, by 0.5 more or less; a turn by 0.1 more or less.
            x = self._null + np.where(sessions < 0.5, 0.5, -0.5) + np.where(turns < 0.5, 0.1, -0.1)
        if not self._by_session:
            return x.reshape(RUNS, -1)
        seen = ~np.isnan(x)
        total: Floats = np.where(seen, x, 0).sum(axis=2)
        return np.where(seen.any(axis=2), total / np.maximum(seen.sum(axis=2), 1), np.nan)


@pytest.mark.parametrize("hypothesis", [quality_worse(0.02), errors_worse(1.5)], ids=["quality", "errors"])
def test_sessions_as_units_keep_the_error_budget_and_their_pairs_one_by_one_would_not(
    hypothesis: Hypothesis,
) -> None:
    by_session = highest(hypothesis, 500, Draw(hypothesis, True, seed=1))
    assert (by_session >= THRESHOLD).sum() <= MOST_ROLLED_BACK
    pair_by_pair = highest(hypothesis, 500, Draw(hypothesis, False, seed=1))
    assert (pair_by_pair >= THRESHOLD).mean() > 0.5


@pytest.mark.parametrize("alike", [True, False], ids=["slices that go wrong together", "slices apart"])
def test_twenty_slices_and_two_causes_share_one_error_budget(alike: bool) -> None:
    """Twenty slices, each of one pair a bucket; ``alike``: the same thing happens to all of them."""
    rng = np.random.default_rng(2)
    slices, buckets, tests = 20, 200, (quality_worse(0.02), errors_worse(1.5))
    shares = np.array([budget_share(place, sliced=True) for place in range(slices + 1)])
    wealths = [np.zeros((RUNS, slices + 1, len(h.bets))) for h in tests]
    together, strongest = np.zeros(RUNS), np.zeros(RUNS)
    for number in range(buckets):
        weighed = np.zeros(RUNS)
        for hypothesis, wealth in zip(tests, wealths, strict=True):
            null = hypothesis.null_mean
            luck = rng.random((RUNS, 1 if alike else slices))
            # Whether the candidate was the one that failed; or a quality that is rarely a total loss.
            errors, quality = np.where(luck < null, 1.0, 0.0), null + np.where(luck < 0.02, -0.98, 0.02)
            x = errors if hypothesis.observable.binary else quality
            wealth += SPREAD.share(number) / len(hypothesis.bets)
            factors = 1 + (x - null)[:, :, None] * np.array(hypothesis.bets)
            wealth[:, 1:] *= factors
            wealth[:, 0] *= factors.prod(axis=1)  # all traffic
            evidence = wealth.sum(axis=2) + SPREAD.reserve(number)
            weighed += evidence @ shares / len(tests)
            np.maximum(strongest, evidence.max(axis=1), out=strongest)
        np.maximum(together, weighed, out=together)
    assert (together >= THRESHOLD).sum() <= MOST_ROLLED_BACK
    assert alike or (strongest >= THRESHOLD).sum() > MOST_ROLLED_BACK, "without shares it would be too many"
