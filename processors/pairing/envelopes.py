"""When an envelope may be acknowledged: once all its records are resolved, in the order of the offsets.

The log is the state: what is not acknowledged is read again after a crash, so that nothing that waits in
memory has to be kept anywhere else (docs/decisions/0003-the-log-is-the-state.md).
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from shadowlane.schemas.events import Role

ENVELOPE_BYTES = 1024
"""What an envelope that is not acknowledged yet takes in memory without its records (measured: 750)."""


Source = tuple[Role, int]
"""One partition of the topic of one side: the unit that is read, acknowledged, paused and taken away."""


@dataclass(slots=True, eq=False)
class Envelope:
    """One Kafka message that was read. ``open`` counts its records that are not resolved, and its reader."""

    side: Role
    partition: int
    offset: int
    acknowledge: Callable[[], object]
    open: int = 1
    source: Source = field(init=False)

    def __post_init__(self) -> None:
        self.source = (self.side, self.partition)


class Unacknowledged:
    """The envelopes of every partition that were read and not acknowledged, in the order of their offsets."""

    def __init__(self) -> None:
        self._partitions: dict[Source, deque[Envelope]] = {}

    def add(self, envelope: Envelope) -> None:
        self._partitions.setdefault(envelope.source, deque()).append(envelope)

    def resolved(self, source: Source) -> list[Envelope]:
        """The envelopes at the head of a partition that are resolved; they are no longer here.

        An envelope behind one that still waits stays: a committed offset says that everything before it
        is done.
        """
        envelopes = self._partitions.get(source)
        ready: list[Envelope] = []
        while envelopes and envelopes[0].open == 0:
            ready.append(envelopes.popleft())
        return ready

    def drop(self, partitions: set[int]) -> None:
        """Forgets partitions that were taken away: whoever has them now reads them again."""
        for source in [s for s in self._partitions if s[1] in partitions]:
            del self._partitions[source]

    def heads(self) -> dict[Source, int]:
        """The offset of the first envelope of each partition that has any. From any thread."""
        heads = {}
        for source, envelopes in list(self._partitions.items()):
            with suppress(IndexError):  # acknowledged just now
                heads[source] = envelopes[0].offset
        return heads

    def bytes_of(self, source: Source) -> int:
        """An estimate of the memory they take, without their records."""
        return len(self._partitions.get(source, ())) * ENVELOPE_BYTES

    def __len__(self) -> int:
        return sum(map(len, list(self._partitions.values())))
