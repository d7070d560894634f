"""What goes into one insert: the messages of one partition, from one offset to another. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from zlib import crc32

from shadowlane.schemas.config import Sink

Partition = tuple[str, int]
"""Topic and number."""

PROMISE_S = 60.0
"""How long a block waits for the last message that was promised, seconds: it may be gone from the log."""

BEHIND_S = 5.0
"""How long a block waits while its partition has more to read, seconds: the larger an insert, the less it costs."""


@dataclass(slots=True)
class Block:
    """Messages in the order of their offsets. ``values`` are envelopes, as Kafka has them."""

    partition: Partition
    since: float  # when the first message came
    offsets: list[int] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)  # when each came to Kafka, Unix milliseconds
    rows: int = 0
    size: int = 0  # of all values, in bytes

    @property
    def first(self) -> int:
        return self.offsets[0]

    @property
    def last(self) -> int:
        return self.offsets[-1]

    @property
    def token(self) -> str:
        """What ClickHouse knows the insert by: the same messages always have the same.

        A checksum of the messages is a part of it, because offsets come again: where a topic was made anew,
        or the embedded broker was started again, other messages have the offsets of stored ones.
        """
        topic, number = self.partition
        checksum = 0
        for value in self.values:
            checksum = crc32(b"\n", crc32(value, checksum))
        return f"{topic}:{number}:{self.first}-{self.last}:{checksum:08x}"

    @property
    def promise(self) -> str:
        """What is committed as metadata before the insert (:func:`promised_last` reads it)."""
        return f"{self.first}-{self.last}"

    def lines(self) -> bytes:
        """All records, as JSON lines."""
        return b"\n".join(self.values)


def promised_last(metadata: str | None, committed: int) -> int | None:
    """The last offset of the block that may have been inserted without its offset being committed.

    None where nothing was promised at the committed offset, or the metadata is not ours.
    """
    first, _, last = (metadata or "").partition("-")
    if not (first.isdecimal() and last.isdecimal()) or int(first) != committed or int(last) < int(first):
        return None
    return int(last)


class Blocks:
    """Gathers messages by partition, until there are enough of them or they have waited long enough.

    Time is handed in, in seconds. A block that a former owner promised ends where it said, whatever the
    limits are, so that it repeats that insert under the same token.
    """

    def __init__(self, limits: Sink) -> None:
        self._limits = limits
        self._open: dict[Partition, Block] = {}  # in the order of their age
        self._sealed: list[Block] = []
        self._promised: dict[Partition, int] = {}

    def promise(self, partition: Partition, last: int) -> None:
        """The next block of ``partition`` ends with the offset ``last``."""
        self._promised[partition] = last

    def add(self, partition: Partition, offset: int, value: bytes | None, now: float, stamp: int = 0) -> None:
        """Takes one message. ``value`` is None for a tombstone, which only moves the offset on.

        ``stamp`` is when it came to Kafka, Unix milliseconds; 0 where that is not known.
        """
        promised = self._promised.get(partition)
        if promised is not None and offset > promised:
            self._seal(partition)
        block = self._open.get(partition)
        if block is None:
            block = self._open[partition] = Block(partition, now)
        block.offsets.append(offset)
        block.values.append(value or b"")
        block.stamps.append(stamp)
        if value:
            block.rows += value.count(b"\n") + 1
            block.size += len(value)
        promised = self._promised.get(partition)
        full = block.rows >= self._limits.max_rows or block.size >= self._limits.max_bytes
        if offset == promised or (promised is None and full):
            self._seal(partition)
        self._bound()

    def due(
        self, now: float, *, more: Callable[[Partition], bool] = lambda _: False, everything: bool = False
    ) -> list[Block]:
        """The blocks to insert now, of each partition in the order of their offsets; they are no longer here.

        ``more`` says whether a partition has much more to read already: its block then waits until it is full, or
        for five seconds. ``everything`` (at a stop) takes those too that could still grow, but for a promised one
        that is not complete: the next owner repeats it.
        """
        for partition, block in list(self._open.items()):
            promised, age = partition in self._promised, now - block.since
            if promised:
                ends = age >= PROMISE_S
            else:
                old = age >= self._limits.max_wait_s and (age >= BEHIND_S or not more(partition))
                ends = old or everything
            if ends:
                self._seal(partition)
        due, self._sealed = self._sealed, []
        return due

    def wait(self, now: float) -> float | None:
        """Seconds until a block is due; None where there is none."""
        if self._sealed:
            return 0.0
        waits = (
            block.since + (PROMISE_S if block.partition in self._promised else self._limits.max_wait_s)
            for block in self._open.values()
        )
        soonest = min(waits, default=None)
        return None if soonest is None else max(0.0, soonest - now)

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forgets all of these partitions, which another owner reads now from the committed offsets."""
        gone = set(partitions)
        for partition in gone:
            self._open.pop(partition, None)
            self._promised.pop(partition, None)
        self._sealed = [block for block in self._sealed if block.partition not in gone]

    def _bound(self) -> None:
        """All open blocks together are no more than one may be, or memory would grow with the partitions."""
        own = [block for block in self._open.values() if block.partition not in self._promised]
        if sum(block.size for block in own) >= self._limits.max_bytes:
            self._seal(max(own, key=lambda block: block.size).partition)

    def _seal(self, partition: Partition) -> None:
        self._promised.pop(partition, None)
        if block := self._open.pop(partition, None):
            self._sealed.append(block)
