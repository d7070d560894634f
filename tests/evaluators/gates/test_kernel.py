"""The kernel beside a plain numpy version of its formulas, and what must hold of it whatever the data."""

import math
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.evaluators.gates.kernel import (
    AT_ONCE,
    SPREAD,
    Schedule,
    Wealth,
    bet_grid,
    log_sum_exp,
    log_sums,
    log_sums_of_counts,
)

BETS = bet_grid(-0.02, -1, 1, upward=True, least=0.06)
SCHEDULES = st.sampled_from([AT_ONCE, SPREAD, Schedule(0.25, 3)])
STREAMS = st.lists(st.lists(st.floats(-1, 1), max_size=5), max_size=12)


def folded(stream: list[list[float]], schedule: Schedule) -> Wealth:
    wealth = Wealth.start(schedule, len(BETS))
    for values in stream:
        wealth = wealth.fold(log_sums(BETS, -0.02, values))
    return wealth


def plain_e(stream: list[list[float]], schedule: Schedule) -> float:
    """E by the formula, without logs, in numpy."""
    bets = np.array(BETS)
    wealth = np.zeros(len(bets))
    put_in = 0.0
    for b, values in enumerate(stream):
        factor = np.prod(1 + bets * (np.array(values).reshape(-1, 1) + 0.02), axis=0)
        share = (
            schedule.first
            if b == 0
            else (1 - schedule.first) / schedule.horizon
            if b <= schedule.horizon
            else 0
        )
        wealth = factor * (wealth + share / len(bets))
        put_in += share
    return float(wealth.sum() + 1 - put_in)


@given(STREAMS, SCHEDULES)
def test_it_is_the_formula(stream: list[list[float]], schedule: Schedule) -> None:
    assert math.exp(folded(stream, schedule).log_e) == pytest.approx(plain_e(stream, schedule), rel=1e-9)


@given(STREAMS, SCHEDULES, st.randoms(use_true_random=False))
def test_order_within_a_bucket_is_nothing(
    stream: list[list[float]], schedule: Schedule, random: Random
) -> None:
    shuffled = [random.sample(values, len(values)) for values in stream]
    assert folded(shuffled, schedule).log_e == pytest.approx(folded(stream, schedule).log_e, abs=1e-9)


@given(st.lists(st.floats(-1, 1), max_size=20), st.integers(0, 20))
def test_a_bucket_read_in_two_batches_has_the_same_sums(values: list[float], cut: int) -> None:
    parts = zip(log_sums(BETS, -0.02, values[:cut]), log_sums(BETS, -0.02, values[cut:]), strict=True)
    assert [a + b for a, b in parts] == pytest.approx(log_sums(BETS, -0.02, values), abs=1e-9)


@given(STREAMS.filter(lambda s: any(s)), SCHEDULES, st.floats(0, 1))
def test_larger_values_are_more_evidence_of_a_larger_mean(
    stream: list[list[float]], schedule: Schedule, lift: float
) -> None:
    lifted = [[x + lift * (1 - x) for x in values] for values in stream]
    assert folded(lifted, schedule).log_e >= folded(stream, schedule).log_e - 1e-12


@given(st.integers(0, 30), st.integers(0, 30))
def test_counts_suffice_for_zeros_and_ones(zeros: int, ones: int) -> None:
    bets = bet_grid(0.02, 0, 1, upward=True, least=0.5)
    listed = log_sums(bets, 0.02, [0.0] * zeros + [1.0] * ones)
    assert log_sums_of_counts(bets, 0.02, zeros, ones) == pytest.approx(listed, abs=1e-9)


@given(
    st.floats(0.001, 0.999),
    st.booleans(),
    st.floats(0.01, 1),
    st.floats(-3, 3),
    st.floats(0.1, 4),
    st.floats(0, 1),
)
def test_no_value_in_range_ruins_a_bet(
    inside: float, upward: bool, least: float, lo: float, width: float, at: float
) -> None:
    null_mean, hi = lo + inside * width, lo + width
    bets = bet_grid(null_mean, lo, hi, upward=upward, least=least)
    assert all(1 + bet * (lo + at * width - null_mean) > 0.04 for bet in bets)
    assert all(abs(a) == 2 * abs(b) for a, b in pairwise(bets))
    assert all((bet > 0) == upward for bet in bets)
    assert abs(bets[-1]) <= least
    assert len(bets) == 1 or abs(bets[-2]) > least


def test_under_the_null_the_next_bucket_is_expected_to_bring_nothing() -> None:
    """E[E_b | past] ≤ E_{b−1}, computed exactly over two values whose mean is the null mean."""
    for schedule in (AT_ONCE, SPREAD, Schedule(0.25, 3)):
        wealth = folded([[0.1, -0.3], [0.9]], schedule)
        after = {x: math.exp(wealth.fold(log_sums(BETS, -0.02, [x])).log_e) for x in (-1.0, 1.0)}
        assert 0.51 * after[-1.0] + 0.49 * after[1.0] == pytest.approx(math.exp(wealth.log_e), rel=1e-12)


def test_the_starting_wealth_is_one_in_all() -> None:
    for schedule in (AT_ONCE, SPREAD, Schedule(0.25, 3)):
        shares = [schedule.share(b) for b in range(12_000)]
        assert math.fsum(shares) == pytest.approx(1, abs=1e-12)
        for b in (0, 1, 2, 3, 500, 10_080, 11_999):
            assert schedule.reserve(b) == pytest.approx(1 - math.fsum(shares[: b + 1]), abs=1e-9)


def test_no_data_is_no_evidence() -> None:
    for schedule in (AT_ONCE, SPREAD):
        assert Wealth.start(schedule, 4).log_e == 0
        wealth = Wealth.start(schedule, 4)
        for _ in range(50):
            wealth = wealth.fold((0.0,) * 4)
        assert wealth.log_e == pytest.approx(0, abs=1e-12)


def test_ten_million_pairs_neither_overflow_nor_underflow() -> None:
    bets = bet_grid(0.005, 0, 1, upward=False, least=0.1)
    for ones in (0, 50_000, 10_000_000):
        wealth = Wealth.start(SPREAD, len(bets))
        for _ in range(10):
            wealth = wealth.fold(log_sums_of_counts(bets, 0.005, 1_000_000 - ones // 10, ones // 10))
        assert math.isfinite(wealth.log_e)
    assert wealth.log_e == pytest.approx(math.log(SPREAD.reserve(9)), abs=1e-6)


def test_what_is_lost_does_not_come_back_as_not_a_number() -> None:
    wealth = Wealth.start(AT_ONCE, 2).fold((-math.inf, -math.inf))
    assert wealth.log_e == -math.inf
    assert wealth.fold((1.0, 1.0)).log_e == -math.inf
    assert log_sum_exp([]) == -math.inf


def test_a_bucket_of_another_test_is_refused() -> None:
    with pytest.raises(ValueError, match="3 log sums for 2 bets"):
        Wealth.start(AT_ONCE, 2).fold((0.0, 0.0, 0.0))


@pytest.mark.parametrize("null_mean", [0.0, 1.0, -0.1])
def test_a_null_mean_at_the_edge_has_no_bets(null_mean: float) -> None:
    with pytest.raises(ValueError, match="strictly between"):
        bet_grid(null_mean, 0, 1, upward=True, least=0.1)
    with pytest.raises(ValueError, match="must be positive"):
        bet_grid(0.5, 0, 1, upward=True, least=0)
