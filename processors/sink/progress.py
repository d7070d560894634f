"""What a sink did since it started, and how Prometheus reads it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from shadowlane import metrics
from shadowlane.processors.pressure import span
from shadowlane.processors.watch.figures import Family, Histogram, distribution, figure
from shadowlane.processors.watch.waits import Waiting

SLOW_S = 1.0
"""An insert that takes longer is waited for."""


@dataclass(slots=True)
class Progress:
    """What this sink did since it started. ``rows`` are lines of envelopes, dead letters included."""

    messages: int = 0  # read; the others count what was written
    rows: int = 0
    blocks: int = 0
    dead_letters: int = 0
    retries: int = 0
    paused: bool = False  # the store takes no inserts
    refused: str = ""  # then: how
    inserting: tuple[int, float] | None = field(default=None, repr=False)  # rows, and since when (monotonic)
    inserted_at: float = field(default=0.0, repr=False)  # Unix time
    inserts: Histogram = field(default_factory=Histogram, repr=False)

    def inserted(self, rows: int, seconds: float) -> None:
        """A block is written."""
        self.rows += rows
        self.blocks += 1
        self.inserts.add(seconds)
        self.inserted_at = time.time()

    def doing(self) -> str:
        """In a few words. From any thread."""
        last = (
            f"last insert {span(time.time() - self.inserted_at)} ago" if self.inserted_at else "no insert yet"
        )
        return f"reading waits; {last}" if self.paused else last

    def waiting(self) -> Waiting:
        """For the store, where it takes no insert, or takes long. From any thread."""
        if self.paused:
            return {"the store": f"{self.refused}; the insert is tried again"}
        rows, since = self.inserting or (0, 0.0)
        if rows and (seconds := time.monotonic() - since) > SLOW_S:
            return {"the store": f"an insert of {rows:,} rows has taken {seconds:.0f} s so far"}
        return {}

    def figures(self) -> Iterator[Family]:
        """From any thread."""
        yield figure(metrics.SINK_MESSAGES, self.messages)
        yield figure(metrics.SINK_ROWS, self.rows)
        yield figure(metrics.SINK_BLOCKS, self.blocks)
        yield distribution(metrics.SINK_INSERT, {"": self.inserts})
        yield figure(metrics.SINK_RETRIES, self.retries)
        yield figure(metrics.SINK_DEAD_LETTERS, self.dead_letters)
        yield figure(metrics.SINK_INSERTED_AT, self.inserted_at)
        yield figure(metrics.SINK_PAUSED, self.paused)
