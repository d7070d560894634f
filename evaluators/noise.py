"""What scores say against the noise baseline: the stable version's second answer, scored in the candidate's place.

On a request that the stable version answered twice, a scorer gives the candidate's answer c and the stable version's
second answer n, each beside the one that was served. Over such requests x = c − n has the mean by which the candidate
differs from what the stable version differs by itself. Both are of the same request, asked by the same worker, so
what is hard to agree on counts on both sides.

The interval of that mean is the one of every difference in the report (:mod:`shadowlane.evaluators.gates.intervals`):
right at every moment, so that it may be looked at as often as one likes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

from shadowlane.evaluators.gates.buckets import Moments
from shadowlane.evaluators.gates.expressions import Comparison
from shadowlane.evaluators.gates.intervals import interval
from shadowlane.evaluators.gates.measures import Unit

MOST_PAIRS = 10_000_000
"""More than that are not asked for: the difference is the margin, as far as can be seen."""


class Reading(StrEnum):
    """What an interval of c − n says, the margin being what counts as no difference."""

    WITHIN = "within"  # all of it is no further from 0 than the margin
    BELOW = (
        "below"  # all of it is below 0: the candidate scores less than the stable version does against itself
    )
    ABOVE = "above"
    OPEN = "open"  # it still allows for no difference and for one beyond the margin


@dataclass(frozen=True, slots=True)
class AgainstNoise:
    """One scorer over the requests that the stable version answered twice, and that it graded on both.

    ``candidate`` and ``again`` are means; ``interval`` (95%) is of ``difference``, the mean of candidate − again; None
    of a single value that has no range. ``margin`` is in the scorer's unit. ``pairs_needed`` is how many more it would
    take to tell, about, where that is open.
    """

    unit: str
    pairs: int
    candidate: float
    again: float
    difference: float
    interval: tuple[float, float] | None
    margin: float
    reading: Reading
    pairs_needed: int | None = None


def against_noise(
    unit: str, pairs: int, candidate: float, again: float, squares: float, margin: float
) -> AgainstNoise | None:
    """From sums over ``pairs`` requests: of c, of n, and of (c − n)². None of no pair.

    ``margin`` is a share: of the range of a score, and else of the stable version's own mean, as a score in [0, 1] has
    a range and a latency has none.
    """
    if not pairs:
        return None
    difference = Moments(pairs, candidate - again, squares)
    mean = again / pairs
    width = margin if unit == "score" else margin * abs(mean)
    bounds = _interval(unit, difference)
    reading = _reading(bounds, width)
    needed = None
    if reading is Reading.OPEN:
        needed = _needed(unit, difference, width)
    assert difference.mean is not None  # there are pairs
    return AgainstNoise(unit, pairs, candidate / pairs, mean, difference.mean, bounds, width, reading, needed)


def unmet(criteria: Iterable[Comparison], scores: Mapping[str, AgainstNoise]) -> tuple[str, ...]:
    """Of criteria on a score those that the stable version itself, in the mean of its second answers, does not meet: a
    candidate that is as good would not either."""
    return tuple(
        str(criterion)
        for criterion in criteria
        if (against := scores.get(criterion.metric)) is not None
        and against.unit == "score"
        and criterion.unit is not Unit.TIMES
        and not _on_its_side(criterion, against.again)
    )


def _on_its_side(criterion: Comparison, number: float) -> bool:
    return number >= criterion.value if criterion.operator.upward else number <= criterion.value


def _interval(unit: str, difference: Moments) -> tuple[float, float] | None:
    if unit == "score":
        return interval([difference], -1.0, 1.0, guess=0.0)
    assert difference.mean is not None  # there are pairs
    if difference.n < 2:
        return None
    half = 1.96 * sqrt(difference.variance / (difference.n - 1))
    return difference.mean - half, difference.mean + half


def _reading(bounds: tuple[float, float] | None, margin: float) -> Reading:
    if bounds is None:
        return Reading.OPEN
    low, high = bounds
    if -margin <= low and high <= margin:
        return Reading.WITHIN
    if high < 0:
        return Reading.BELOW
    return Reading.ABOVE if low > 0 else Reading.OPEN


def _needed(unit: str, difference: Moments, margin: float) -> int | None:
    """How many pairs more, of the same mean and spread, it takes to tell; None where no number would do."""
    at_least = at_most = difference.n
    while _reading(_interval(unit, _grown(difference, at_most)), margin) is Reading.OPEN:
        at_least, at_most = at_most, 2 * at_most
        if at_most > MOST_PAIRS:
            return None
    while at_most - at_least > max(1, at_least // 50):
        middle = (at_least + at_most) // 2
        if _reading(_interval(unit, _grown(difference, middle)), margin) is Reading.OPEN:
            at_least = middle
        else:
            at_most = middle
    return at_most - difference.n


def _grown(moments: Moments, n: int) -> Moments:
    share = n / moments.n
    return Moments(n, moments.total * share, moments.squares * share)
