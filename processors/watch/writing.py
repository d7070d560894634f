"""The figures of a component's producer."""

from collections.abc import Iterator

from shadowlane import metrics
from shadowlane.processors.produce import EnvelopeProducer
from shadowlane.processors.watch.figures import Family, figure


def producer_figures(producer: EnvelopeProducer) -> Iterator[Family]:
    """From any thread."""
    yield figure(metrics.PRODUCER_QUEUED, producer.queued_bytes)
    yield figure(metrics.PRODUCER_WRITTEN, producer.written)
    yield figure(metrics.PRODUCER_FAILED, producer.failed)
