"""Figures as Prometheus reads them: made at the scrape, of counters that the components keep anyway."""

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family

from shadowlane.metrics import Metric

Labels = TypeVar("Labels", str, tuple[()], tuple[str, str], tuple[str, str, str])

__all__ = ["Family", "Histogram", "distribution", "figure", "figures"]


class Histogram:
    """Counts of values by upper bound. For one writer; a reader may find the newest value in the sum alone."""

    BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(self.BOUNDS) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.BOUNDS, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """(upper bound, how many are not above it), as Prometheus counts."""
        bounds = [*(f"{bound:g}" for bound in self.BOUNDS), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True))


def figure(metric: Metric, value: float) -> Family:
    """A metric without labels."""
    return figures(metric, {(): value})


def figures(metric: Metric, values: Mapping[Labels, float]) -> Family:
    """A metric with a value for each combination of labels, in the order of ``metric.labels``."""
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(_tuple(labels), value)
    return family


def distribution(metric: Metric, histograms: Mapping[Labels, Histogram]) -> Family:
    """A histogram for each combination of labels."""
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, histogram in histograms.items():
        family.add_metric(_tuple(labels) if metric.labels else (), histogram.buckets(), histogram.total)
    return family


def _tuple(labels: str | tuple[str, ...]) -> tuple[str, ...]:
    return (labels,) if isinstance(labels, str) else labels
