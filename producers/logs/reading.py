"""The calls of log files: in the order of the files, or of their times."""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from shadowlane.errors import CodecError, ConfigError
from shadowlane.producers.logs import FORMATS, Entry, Mapping, Reader, recognised
from shadowlane.producers.logs.files import Source, Value, values

BATCHES = ("openai-batch", "anthropic-batch")


@dataclass(frozen=True, slots=True)
class Call:
    """A call, and where it is. ``seed`` tells it from every other one, and is the same each time that it is read."""

    source: str
    number: int
    entry: Entry
    seed: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """What can't be read, and why. ``number`` is 0 where it is no line's fault alone."""

    source: str
    number: int
    reason: str


Item = Call | Refused


class Reading:
    """Reads every source once.

    Args:
        sources: read in this order.
        form: a name of FORMATS; "" has each file's first line say it.
        mapping: reads all lines, in place of a format.
        by_time: in the order of the calls' times, over all sources; within one of them the order stays.
    """

    def __init__(self, sources: list[Source], form: str, mapping: Mapping | None, *, by_time: bool) -> None:
        self._sources = sources
        self._form = form
        self._mapping = mapping
        self._by_time = by_time
        self._readers: dict[str, Reader] = {}
        self.skipped: Counter[str] = Counter()
        """What is no call to a language model, by format."""

    def __iter__(self) -> Iterator[Item]:
        """Raises ConfigError: a file can't be read, or its format can't be told."""
        if self._by_time:
            yield from self._merged()
        else:
            for source in self._sources:
                yield from self._calls(source)
        for name, reader in self._readers.items():
            for reason in reader.rest():
                yield Refused(name, 0, reason)

    def _calls(self, source: Source) -> Iterator[Item]:
        reader: Reader | None = None
        name = self._form
        for found in values(source):
            if not isinstance(found, Value):
                yield Refused(source.name, found[0], str(found[1]))
                continue
            try:
                if reader is None:
                    name, reader = self._reader(source, found)
                entry = reader.read(found.json)
            except CodecError as exc:
                yield Refused(source.name, found.number, str(exc))
                continue
            if entry is not None:
                yield Call(source.name, found.number, entry, _seed(source, found, entry))
            elif name not in BATCHES:
                self.skipped[name] += 1

    def _reader(self, source: Source, first: Value) -> tuple[str, Reader]:
        if self._mapping is not None:
            return "mapping", Reader(self._mapping.read)
        try:
            name = self._form or recognised(first.json)
        except ConfigError as exc:
            raise ConfigError(f"{source.path}, line {first.number}: {exc}") from exc
        if self._by_time and name in BATCHES:
            raise ConfigError(
                f"{source.path}: a batch's files do not say when its requests came: leave out --speed"
            )
        if name not in self._readers:
            self._readers[name] = FORMATS[name].reader()
        return name, self._readers[name]

    def _merged(self) -> Iterator[Item]:
        """A file is opened when its first call is due: there may be more of them than may be open at once."""
        heap: list[tuple[int, int, bool]] = []
        for index, source in enumerate(self._sources):
            heapq.heappush(heap, (self._begin(source), index, False))
        open_: dict[int, tuple[Iterator[Item], Item]] = {}
        while heap:
            at, index, is_open = heapq.heappop(heap)
            if is_open:
                calls, item = open_.pop(index)
                yield item
            else:
                calls = self._calls(self._sources[index])
            if (following := next(calls, None)) is not None:
                open_[index] = calls, following
                heapq.heappush(heap, (max(at, _time(following) or at), index, True))

    def _begin(self, source: Source) -> int:
        before = self.skipped.copy()
        times = (_time(item) for item in self._calls(source))
        found = next((at for at in times if at is not None), 0)
        self.skipped.clear()
        self.skipped.update(before)
        return found


def _time(item: Item) -> int | None:
    return item.entry.ts if isinstance(item, Call) else None


def _seed(source: Source, found: Value, entry: Entry) -> bytes:
    if entry.source_id:
        return b"id\0" + entry.source_id.encode("utf-8", "surrogatepass")
    return b"\0".join(
        (b"at", source.name.encode("utf-8", "surrogateescape"), b"%d" % found.number, found.raw)
    )
