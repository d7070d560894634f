"""What an interval of candidate − again says, and how sure that is."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.evaluators.gates.expressions import Comparison, Operator
from shadowlane.evaluators.gates.measures import Unit
from shadowlane.evaluators.noise import AgainstNoise, Reading, against_noise, unmet

unit_scores = st.lists(
    st.tuples(st.floats(0, 1, allow_subnormal=False), st.floats(0, 1, allow_subnormal=False)),
    min_size=1,
    max_size=60,
)


def of(pairs: list[tuple[float, float]], unit: str = "score", margin: float = 0.02) -> AgainstNoise:
    squares = sum((c - n) ** 2 for c, n in pairs)
    found = against_noise(
        unit, len(pairs), sum(c for c, _ in pairs), sum(n for _, n in pairs), squares, margin
    )
    assert found is not None
    return found


def draws(n: int, worse: float, seed: int, spread: float = 0.1) -> list[tuple[float, float]]:
    """Pairs of a candidate's score and the stable version's own, around what the request makes likely."""
    rng = random.Random(seed)

    def one() -> tuple[float, float]:
        mean = rng.uniform(0.3, 0.9)
        return tuple(min(1.0, max(0.0, rng.gauss(mean - by, spread))) for by in (worse, 0.0))  # type: ignore[return-value]  # two of them

    return [one() for _ in range(n)]


def test_a_criterion_that_the_stable_version_does_not_meet_itself_is_told() -> None:
    scores = {"fuzzy": of([(0.9, 0.6)] * 9), "latency": of([(5.0, 9.0)] * 9, "ms")}
    criteria = [
        Comparison("fuzzy", operator, number, unit)
        for operator in (Operator.MORE, Operator.LESS)
        for number, unit in ((0.5, Unit.NONE), (70, Unit.PERCENT), (2, Unit.TIMES))
    ]
    criteria += [Comparison("latency", Operator.LESS, 6, Unit.MS), Comparison("exact", Operator.MORE, 0.5)]
    assert unmet(criteria, scores) == ("fuzzy > 70%", "fuzzy < 0.5")


def test_no_pair_says_nothing() -> None:
    assert against_noise("score", 0, 0.0, 0.0, 0.0, 0.02) is None


@given(unit_scores)
def test_the_difference_is_within_its_interval_and_turns_with_the_sides(
    pairs: list[tuple[float, float]],
) -> None:
    found, turned = of(pairs), of([(n, c) for c, n in pairs])
    assert found.interval is not None
    assert turned.interval is not None
    low, high = found.interval
    assert -1 <= low <= found.difference + 1e-9
    assert found.difference - 1e-9 <= high <= 1
    assert turned.interval == pytest.approx((-high, -low), abs=1e-6)
    swapped = {Reading.ABOVE: Reading.BELOW, Reading.BELOW: Reading.ABOVE}
    assert turned.reading is swapped.get(found.reading, found.reading)


@given(unit_scores, st.floats(0.001, 0.5))
def test_a_reading_is_what_the_interval_and_the_margin_say(
    pairs: list[tuple[float, float]], margin: float
) -> None:
    found = of(pairs, margin=margin)
    assert found.interval is not None
    low, high = found.interval
    match found.reading:
        case Reading.WITHIN:
            assert -margin <= low <= high <= margin
        case Reading.BELOW:
            assert high < 0
        case Reading.ABOVE:
            assert low > 0
        case Reading.OPEN:
            assert low <= 0 <= high
            assert max(-low, high) > margin
    assert (found.pairs_needed is None) or found.reading is Reading.OPEN


def test_few_pairs_are_never_within_noise() -> None:
    """No data is no pass: two identical answers say next to nothing."""
    found = of([(0.7, 0.7)] * 2)
    assert found.reading is Reading.OPEN
    assert found.pairs_needed is not None
    assert of([(0.7, 0.7)] * (2 + found.pairs_needed)).reading is Reading.WITHIN


def test_what_is_the_same_is_seldom_told_apart_and_what_is_worse_is() -> None:
    same = [of(draws(600, 0.0, seed)).reading for seed in range(40)]
    worse = [of(draws(600, 0.06, seed)).reading for seed in range(40)]
    assert same.count(Reading.BELOW) + same.count(Reading.ABOVE) == 0  # 5% at the most, ever
    assert same.count(Reading.WITHIN) + same.count(Reading.OPEN) == 40
    assert worse.count(Reading.BELOW) == 40
    assert of(draws(6000, 0.0, 1)).reading is Reading.WITHIN


def test_the_pairs_that_it_needs_are_about_enough() -> None:
    few = of(draws(300, 0.0, 3))
    assert few.reading is Reading.OPEN
    assert few.pairs_needed is not None
    assert of(draws(2 * (300 + few.pairs_needed), 0.0, 4)).reading is not Reading.OPEN


def test_a_latency_has_a_margin_of_the_stable_versions_own() -> None:
    found = of([(101.0, 100.0), (100.5, 100.0), (99.5, 100.0)], unit="ms", margin=0.02)
    assert (found.margin, found.reading) == (2.0, Reading.WITHIN)
    slower = of([(151.0, 100.0), (150.0, 100.0), (149.5, 100.0)], unit="ms")
    assert slower.reading is Reading.ABOVE
    assert of([(101.0, 100.0)], unit="ms").interval is None
