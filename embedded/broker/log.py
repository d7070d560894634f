"""Which batches a partition has, which of them a list shows, and which may be thrown away. Pure.

At each fetch the broker asks for the list of a partition's batches, reads those from the fetch's offset on, in order,
and the one before them where none begins there; and it gives up when the fetch's own wait is over, some 20 ms. So a
list of all is of no use once there are some thousands: nobody would be given anything any more. What is shown instead
is one range without gaps, from a little before the readers to a little after them, as they were seen reading.

- A reader after the range is shown nothing new; the broker then reads the last batch of the range, which moves it on.
- A reader before the range would skip what is not shown. The first batch that it would be given is the first one of
  the range, and that one may not be read: it is refused, and the range begins at the first batch again for a while.
  A reader within the range never reads that one.
- Where a partition ends is read from the list too, so the last batch is shown after the range. Who reads it gets
  nothing from it, and the range grows. A range never has a batch that was shown so a moment ago.
"""

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

AHEAD = 128
"""Batches shown after the last one that was read."""
BEHIND = 16
"""And before the first one."""
SEEN_S = 1.0
"""How long a reader counts as being where it was seen."""
UNSAFE_S = 1.0
"""How long a fetch may go by a list: twice the longest wait that librdkafka asks for unless it is told to."""
HOLE_S = 10.0
"""A batch may be written before an earlier one, which then still comes. Longer than this it does not."""


class Batch(NamedTuple):
    """One object: offsets from ``base`` to ``end`` (without it)."""

    base: int
    end: int
    size: int  # in bytes
    stamp: float  # when it was written, in seconds since 1970; each is later than the one before it


class Read(Enum):
    """What a reader of a batch gets."""

    BATCH = auto()
    NOTHING = auto()  # and it reads on
    REFUSED = auto()  # and it asks for a list again


@dataclass(slots=True)
class PartitionLog:
    """The batches of one partition, in the order of their offsets. Time is handed in, in seconds."""

    batches: list[Batch] = field(default_factory=list)
    bytes: int = 0
    begins: int = 0
    """The offset that the first batch has, once it is there: of several producers' first ones any may come first."""
    _until: float = 0.0  # the time at which `_now` becomes `_before`
    _now: tuple[int, int] | None = None  # the first and the last offset that were read in this SEEN_S
    _before: tuple[int, int] | None = None  # and in the one before it
    _first: int | None = None  # the first offset of the last SEEN_S in which one was read
    _last: int = -1  # the last one of all, where none was read since
    _rewound: float = 0.0  # until then the range begins at the first batch
    _starts: dict[int, float] = field(default_factory=dict)  # base: when a range last began with it
    _ends: dict[int, float] = field(default_factory=dict)  # base: when it was last shown after the range

    @property
    def low(self) -> int | None:
        return self.batches[0].base if self.batches else None

    @property
    def high(self) -> int | None:
        return self.batches[-1].end if self.batches else None

    def add(self, batch: Batch) -> None:
        insort(self.batches, batch)
        self.bytes += batch.size

    def find(self, base: int) -> Batch | None:
        at = bisect_left(self.batches, (base,))
        found = self.batches[at] if at < len(self.batches) else None
        return found if found is not None and found.base == base else None

    def remove(self, base: int) -> None:
        """Forgets one batch, wherever it is."""
        if found := self.find(base):
            self.batches.remove(found)
            self.bytes -= found.size

    def done(self, committed: int) -> int:
        """How many batches, from the first on, end at or before the offset ``committed``."""
        return self._at(committed)

    def size_of(self, count: int) -> int:
        """Bytes of the first ``count`` batches, from whichever side there are fewer to add up: hundreds of thousands
        that all have read may be kept."""
        if 2 * count < len(self.batches):
            return sum(batch.size for batch in self.batches[:count])
        return self.bytes - sum(batch.size for batch in self.batches[count:])

    def trim(self, count: int) -> list[Batch]:
        """Forgets the first ``count`` batches, and gives them."""
        gone, self.batches = self.batches[:count], self.batches[count:]
        if gone:
            self.begins = self.batches[0].base if self.batches else gone[-1].end
        self.bytes -= sum(batch.size for batch in gone)
        return gone

    def listing(self, now: float) -> list[Batch]:
        """The batches that a list shows now, in the order of their offsets."""
        self._turn(now)
        seen = [span for span in (self._now, self._before) if span]
        if seen:
            self._first = min(first for first, _ in seen)
        start = 0
        # Also where none was seen just now: on a machine so busy that a second passes without a read, a list from the
        # first batch on would take longer than a fetch waits, and none would ever be read again.
        if self._first is not None and now >= self._rewound:
            start = max(0, self._at(self._first) - BEHIND)
        end = self._contiguous(now)
        stop = self._at(max((last for _, last in seen), default=self._last)) + AHEAD
        safe = min(map(self._at, self._ends), default=end)
        shown = self.batches[start : min(stop, safe, end)]
        if start and shown:
            self._starts[shown[0].base] = now
        if stop < end:
            shown.append(self.batches[end - 1])
            self._ends[shown[-1].base] = now
        return shown

    def read(self, base: int, now: float) -> Read:
        """Whether the batch may be given out. To be asked before each read, which moves the range."""
        self._turn(now)
        if base in self._starts:
            self._rewound = now + 5 * SEEN_S
            return Read.REFUSED
        first, last = self._now or (base, base)
        if base in self._ends:
            last = max(last, self._last)
            further = min(self._at(last) + AHEAD, len(self.batches) - 1)
            self._now = (first, self.batches[further].base) if self._now else None
            self._last = self.batches[further].base
            return Read.NOTHING
        self._now = (min(first, base), max(last, base))
        self._last = self._now[1]
        return Read.BATCH

    def _turn(self, now: float) -> None:
        self._starts = {base: at for base, at in self._starts.items() if now - at < UNSAFE_S}
        self._ends = {base: at for base, at in self._ends.items() if now - at < UNSAFE_S}
        if now >= self._until:
            self._before = self._now if now < self._until + SEEN_S else None
            self._now, self._until = None, now + SEEN_S

    def _at(self, offset: int) -> int:
        """The index of the batch that has the offset, or of the first after it."""
        return bisect_right(self.batches, offset, key=lambda batch: batch.end)

    def _contiguous(self, now: float) -> int:
        """How many batches, from the first on, have no hole before them that may yet be filled."""
        end = len(self.batches)
        for at in range(end - 1, -1, -1):
            batch, before = self.batches[at], self.batches[at - 1].end if at else self.begins
            if now - batch.stamp >= HOLE_S:
                break
            if batch.base > before:
                end = at
        return end
