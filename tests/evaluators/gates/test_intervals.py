"""The intervals of a report: they contain the mean at every look, and shrink."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.evaluators.gates.buckets import Moments
from shadowlane.evaluators.gates.intervals import interval, rate_interval
from tests.evaluators.gates.building import moments
from tests.evaluators.gates.simulation import at_most

RUNS, MOST_MISSED = 1_000, 65  # 65 of 1,000: seen with 95% if 8% missed, passed with 98% at the goal of 5%


def test_the_bound_would_see_an_interval_that_breaks_its_goal() -> None:
    assert at_most(MOST_MISSED, RUNS, 0.08) < 0.05
    assert at_most(MOST_MISSED, RUNS, 0.05) > 0.98


@pytest.mark.parametrize("rate", [0.005, 0.3])
def test_a_rate_is_within_at_every_look(rate: float) -> None:
    rng = np.random.default_rng(5)
    ones = rng.binomial(20, rate, (RUNS, 40)).cumsum(axis=1)
    missed = 0
    for run in ones:
        bounds = [rate_interval(20 * (k + 1), int(count)) for k, count in enumerate(run)]
        missed += any(not low <= rate <= high for low, high in bounds)
    assert missed <= MOST_MISSED


@pytest.mark.parametrize(
    ("worst", "chance", "lo", "guess"),
    [(0.0, 0.05, 0.0, 1.0), (-1.0, 0.01, -1.0, 0.0)],
    ids=["quality", "difference"],
)
def test_a_mean_with_rare_catastrophes_is_within_at_every_look(
    worst: float, chance: float, lo: float, guess: float
) -> None:
    rng = np.random.default_rng(6)
    usual = 0.95 if lo == 0 else 0.01
    mean = chance * worst + (1 - chance) * usual
    missed = 0
    for counts in rng.binomial(50, chance, (RUNS, 12)):
        stream = [two_valued(50 - int(bad), usual, int(bad), worst) for bad in counts]
        bounds = [interval(stream[: k + 1], lo, 1, guess=guess) for k in range(len(stream))]
        missed += any(not low <= mean <= high for low, high in bounds)
    assert missed <= MOST_MISSED


def two_valued(n: int, x: float, m: int, y: float) -> Moments:
    return Moments(n + m, n * x + m * y, n * x * x + m * y * y)


@given(st.lists(st.lists(st.floats(-1, 1), max_size=6), max_size=6))
def test_it_lies_within_the_range_around_the_mean_seen(stream: list[list[float]]) -> None:
    listed = [moments(xs) for xs in stream]
    low, high = interval(listed, -1, 1, guess=0)
    assert -1 <= low <= high <= 1
    seen = [x for xs in stream for x in xs]
    if seen:
        assert low - 1e-9 <= sum(seen) / len(seen) <= high + 1e-9
    else:
        assert (low, high) == (-1, 1)


@given(st.integers(0, 500), st.integers(0, 500))
def test_a_rate_lies_within_0_and_1_around_the_rate_seen(zeros: int, ones: int) -> None:
    n = zeros + ones
    low, high = rate_interval(n, ones)
    assert 0 <= low <= high <= 1
    if n:
        assert low <= ones / n <= high
    assert (1 - high, 1 - low) == pytest.approx(rate_interval(n, zeros), abs=1e-9)


def test_ten_times_the_pairs_at_least_halve_it() -> None:
    for n in (100, 1_000, 10_000, 100_000):
        few, many = (interval([two_valued(k // 2, 0.8, k // 2, 1.0)], 0, 1, guess=0.9) for k in (n, 10 * n))
        assert many[1] - many[0] < (few[1] - few[0]) / 2
        few, many = rate_interval(n, n // 50), rate_interval(10 * n, n // 5)
        assert many[1] - many[0] < (few[1] - few[0]) / 2


def test_it_is_as_wide_as_the_documentation_says() -> None:
    """Beside the fixed-time normal interval, ±1.96 σ/√n, about twice as wide: the price of looking always."""
    low, high = rate_interval(2_000, 40)
    assert (low, high) == pytest.approx((0.0105, 0.0342), abs=0.002)
    stream = [two_valued(10, 0.8, 10, 1.0)] * 100
    low, high = interval(stream, 0, 1, guess=1)
    assert (high - low) / 2 == pytest.approx(2 * 1.96 * 0.1 / 2_000**0.5, rel=0.3)
