"""One run's buckets as the store would give them, for the real fold: what holds `engine` to it.

The sums are computed here from the units' values by the kernel's own Python, not taken from numpy.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from shadowlane.evaluators.gates.buckets import ALL, Bucket, Moments
from shadowlane.evaluators.gates.kernel import log_sums
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.rollout.simulation.kinds import Values
from shadowlane.rollout.simulation.traffic import Drawn

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""When simulated time begins."""


def buckets_of(
    rules: Rules, drawn: Drawn, run: int, start: datetime, size: timedelta, pairs_each: int = 1
) -> list[Bucket]:
    """The buckets of one run that begin at ``start``, one for each slice with pairs; all its pairs came at once.

    ``pairs_each`` is how many pairs a unit is.
    """
    units: dict[str, list[tuple[int, Values]]] = {}
    counted: dict[str, int] = {}
    for slices, count, values in drawn.units_of(run):
        for name in (ALL, *slices):
            units.setdefault(name, []).append((count, values))
            if "candidate_error" in values:  # an extra is of a pair that was counted already
                counted[name] = counted.get(name, 0) + count * pairs_each
    return [
        Bucket(
            start=start,
            pairs=counted[name],
            first=start,
            last=start + size,
            moments={o.name: _moments(_of(o.name, units[name])) for o in rules.observables},
            log_sums=_log_sums(rules, units[name]),
            slice=name,
        )
        for name in sorted(units)
    ]


def _log_sums(rules: Rules, units: Sequence[tuple[int, Values]]) -> Mapping[str, tuple[float, ...]]:
    sums = {}
    for h in rules.hypotheses:
        values = [x for count, x in _of(h.observable.name, units) for _ in range(count)]
        sums[h.name] = log_sums(h.bets, h.null_mean, values)
    return sums


def _of(observable: str, units: Iterable[tuple[int, Values]]) -> list[tuple[int, float]]:
    return [(count, values[observable]) for count, values in units if observable in values]


def _moments(seen: Iterable[tuple[int, float]]) -> Moments:
    listed = list(seen)
    return Moments(
        sum(n for n, _ in listed), sum(n * x for n, x in listed), sum(n * x * x for n, x in listed)
    )
