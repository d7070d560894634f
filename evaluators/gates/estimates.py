"""What a report shows of the numbers that a verdict rests on: each metric's means, with intervals, slice by slice.

Apart from the verdict: that rests on none of it, and a controller that asks each few seconds need not compute it.
"""

from dataclasses import dataclass

from shadowlane.evaluators.gates.fold import Fold
from shadowlane.evaluators.gates.intervals import interval_of, rate_interval
from shadowlane.evaluators.gates.observables import Observable
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.slices import SliceFold


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over ``n`` units (pairs, or sessions), and its 95% interval, which holds at every moment at once."""

    n: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MetricReport:
    """One metric of both arms, and of the difference candidate − stable on the same requests.

    None where no pair has it. ``unit`` is `shadowlane.evaluators.gates.observables.Metric.unit`.
    """

    name: str
    stable: Estimate | None
    candidate: Estimate | None
    difference: Estimate | None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class SliceReport:
    """One slice: its pairs, what share of all pairs they are, and its metrics."""

    name: str
    pairs: int
    share: float
    metrics: tuple[MetricReport, ...]


def slice_reports(rules: Rules, fold: Fold) -> tuple[SliceReport, ...]:
    """Each slice that is followed, in order of appearance."""
    return tuple(
        SliceReport(state.name, state.pairs, state.pairs / fold.pairs, metric_reports(rules, state))
        for state in list(fold.slices.values())[1:]
    )


def metric_reports(rules: Rules, state: SliceFold) -> tuple[MetricReport, ...]:
    """Each of ``rules.metrics``, of one slice or of all traffic (`Fold.whole`)."""
    return tuple(
        MetricReport(
            metric.name,
            _estimate(metric.stable, state),
            _estimate(metric.candidate, state),
            _estimate(metric.difference, state),
            metric.unit,
        )
        for metric in rules.metrics
    )


def _estimate(observable: Observable | None, state: SliceFold) -> Estimate | None:
    if observable is None:
        return None
    seen = state.seen[observable.name]
    total = seen.moments
    if total.mean is None:
        return None
    if observable.binary and total.counts:
        low, high = rate_interval(total.n, round(total.total))
    else:
        low, high = interval_of(seen, observable.lo, observable.hi)
    return Estimate(total.n, total.mean, low, high)
