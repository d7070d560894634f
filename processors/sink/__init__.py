"""From Kafka into ClickHouse: pairs, ledger cells and dead letters, in large blocks, each row once."""

from shadowlane.processors.sink.progress import Progress
from shadowlane.processors.sink.service import Sink, run

__all__ = ["Progress", "Sink", "run"]
