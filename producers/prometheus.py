"""The mirror's counts in a service's own Prometheus registry.

::

    from shadowlane.producers.prometheus import register
    register(mirror)

This is the one module of the mirror that imports ``prometheus_client``, which the service brings along.
"""

from collections.abc import Iterator

from prometheus_client.core import REGISTRY, CollectorRegistry, CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from shadowlane import metrics
from shadowlane.producers.mirror import Mirror


class MirrorCollector(Collector):
    """Reads :meth:`Mirror.stats` at the scrape: of this process, so with several (gunicorn) each has its own."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def describe(self) -> list[Family]:
        """Nothing: to register reads nothing."""
        return []

    def collect(self) -> Iterator[Family]:
        stats, service = self._mirror.stats(), self._mirror.settings.service
        for metric, value in (
            (metrics.MIRROR_ELIGIBLE, stats["eligible"]),
            (metrics.MIRROR_SAMPLED_OUT, stats["sampled_out"]),
            (metrics.MIRROR_MIRRORED, stats["mirrored"]),
            (metrics.MIRROR_BUFFERED, stats["buffered"]),
            (metrics.MIRROR_BUFFERED_BYTES, stats["buffered_bytes"]),
            (metrics.MIRROR_CONNECTED, stats["connected"]),
        ):
            yield _family(metric, {(service,): value})
        for metric, counts in (
            (metrics.MIRROR_DROPPED, stats["dropped"]),
            (metrics.MIRROR_WITHOUT_CONTENT, stats["without_content"]),
            (metrics.MIRROR_PROBLEMS, stats["problems"]),
        ):
            yield _family(metric, {(service, reason): count for reason, count in counts.items()})


def register(mirror: Mirror, registry: CollectorRegistry = REGISTRY) -> MirrorCollector:
    """Adds the mirror's metrics to the service's registry; ``registry.unregister`` takes them out again."""
    collector = MirrorCollector(mirror)
    registry.register(collector)
    return collector


def _family(metric: metrics.Metric, values: dict[tuple[str, ...], float]) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
