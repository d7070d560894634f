"""The figures of a component's producer, and whether it is waited for."""

from collections.abc import Iterator

from shadowlane import metrics
from shadowlane.processors.produce import EnvelopeProducer
from shadowlane.processors.watch.figures import Family, figure
from shadowlane.processors.watch.waits import Waiting

UNHEARD_S = 3.0
"""How long an acknowledgement may take before it is waited for."""


def producer_figures(producer: EnvelopeProducer) -> Iterator[Family]:
    """From any thread."""
    yield figure(metrics.PRODUCER_QUEUED, producer.queued_bytes)
    yield figure(metrics.PRODUCER_WRITTEN, producer.written)
    yield figure(metrics.PRODUCER_FAILED, producer.failed)


def producer_waiting(producer: EnvelopeProducer) -> Waiting:
    """For Kafka to take what is written. From any thread."""
    oldest_s = producer.oldest_s
    if oldest_s < UNHEARD_S:
        return {}
    size = f"{producer.queued_bytes / 2**20:,.1f} MiB"
    return {"Kafka": f"it has not taken {size} that are written, the oldest for {oldest_s:.0f} s"}
