"""What the broker keeps, on disk: batches of records, and small documents, by the names that it gives them.

Each batch is a file, of which only the offsets and the size are in memory. The documents are in memory, and each change
of one is a line of a journal. Nothing is synced: what was acknowledged survives the end of any process, and not a power
cut.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import orjson

from shadowlane.embedded.broker.journal import Journal
from shadowlane.embedded.broker.log import Batch, PartitionLog, Read

PAGE = 4096  # what a file takes at least
RESERVE = 256 * 2**20  # what is left free on the disk, bytes
AGAIN = 0.9
"""Of a bound: below it, those that it has had refused are served again. Without a distance they would be in and out
with each batch that is read, and each message that is given up costs its producer a new start."""
TRIMMED_AT_ONCE = 2000  # batches
LEFT = 8
"""Batches of a partition that are never freed: what its producers wrote last, see `_with_sequences`."""
ENTRANCES = (".requests", ".responses.served")
"""Topics that bring new work in. All others only go on with what is there already."""

_BATCH = re.compile(r"clusters/[^/]+/topics/([^/]+)/partitions/(\d+)/records/(\d{20})\.batch")
_RECORDS = re.compile(r"clusters/[^/]+/topics/([^/]+)/partitions/(\d+)/records/?")
_WATERMARK = re.compile(r"clusters/[^/]+/topics/([^/]+)/partitions/(\d+)/watermark\.json")
_OFFSET = re.compile(r"clusters/[^/]+/groups/consumers/([^/]+)/offsets/([^/]+)/partitions/(\d+)\.json")
_META = re.compile(r"clusters/[^/]+/meta\.json")

NOTHING = (
    bytes(8)  # base offset: the broker sets it by the name
    + (49).to_bytes(4, "big")  # bytes that follow
    + bytes(4)
    + bytes([2])  # the format
    + bytes(4 + 2)
    + (-(2**31)).to_bytes(
        4, "big", signed=True
    )  # the last offset, from the base: before any that is asked for
    + bytes(8 + 8)
    + b"\xff" * (8 + 2 + 4)  # no producer
    + bytes(4)  # records
)
"""A batch that ends before it begins, so that the broker drops it."""

HEAD = 61
"""Bytes of a record batch before its records."""

Place = tuple[str, int]
"""Topic and partition."""

Sequences = dict[tuple[str, str, str, int], int]
"""Producer, epoch, topic and partition: the number that its next record there has."""


class FullError(Exception):
    """What would be written next has no room."""


class ChangedError(Exception):
    """The document is not what the writer has seen."""


@dataclass(frozen=True, slots=True)
class Document:
    body: bytes
    tag: str
    stamp: float


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes on disk. ``unread`` is of batches that some group has yet to read; only the others can be freed."""

    used: int
    unread: int
    limit: int
    refusing: str = ""  # who is refused, and why
    since: float = 0.0  # when that began, Unix seconds

    @property
    def text(self) -> str:
        """For people."""
        refusing = f"; refuses {self.refusing}" if self.refusing else ""
        return (
            f"{_size(self.unread)} of {_size(self.limit)} wait to be read, {_size(self.used)} kept{refusing}"
        )


class Objects:
    """One directory. Not thread-safe. ``limit`` is what batches that are yet to be read may take, in bytes.

    A batch that every group of its topic has read is kept until half of the limit is used, for those that read
    again, and is then the first to go.
    """

    def __init__(self, data: Path, limit: int) -> None:
        self.limit = limit
        self._root = data / "batches"
        self._root.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(data / "documents.jsonl")
        self._documents: dict[str, Document] = {}
        self._logs: dict[Place, PartitionLog] = {}
        self._prefix: dict[Place, str] = {}  # of the names of its batches
        self._committed: dict[Place, dict[str, int]] = {}
        self._last_stamp = 0.0
        self._zero = time.time() - time.monotonic()
        self._tags = 0
        self._boot = f"{time.time_ns():x}"
        self._usage = Usage(0, 0, limit)
        self._load()

    def now(self) -> float:
        """Seconds since 1970 as they were at the start, and since then by a clock that nobody sets: readers that were
        seen an hour from now would count as seen until then, and the range of what is shown would only grow."""
        return self._zero + time.monotonic()

    def get(self, name: str, now: float) -> Document | None:
        """A document, or a batch. None where there is none, or where it may not be read yet."""
        if match := _BATCH.fullmatch(name):
            log = self._logs.get((match[1], int(match[2])))
            batch = log.find(int(match[3])) if log else None
            what = log.read(batch.base, now) if log and batch else Read.REFUSED
            if batch is None or what == Read.REFUSED:
                return None
            if what == Read.NOTHING:
                return Document(NOTHING, "0", batch.stamp)
            return Document(self._path(name).read_bytes(), f"{batch.stamp}", batch.stamp)
        return self._documents.get(name)

    def put(self, name: str, body: bytes, *, only_new: bool = False, tag: str | None = None) -> str:
        """Writes it; gives its new tag.

        Raises:
            ChangedError: it is there and ``only_new``, or is not the one with this ``tag``.
            FullError: it would bring in more than there is room for.
            OSError: the disk is full, or fails. Nothing was written.
        """
        if match := _BATCH.fullmatch(name):
            return self._put_batch((match[1], int(match[2])), int(match[3]), name, body)
        there = self._documents.get(name)
        if (only_new and there) or (tag is not None and (there is None or there.tag != tag)):
            raise ChangedError
        if self._usage.refusing and there and _META.fullmatch(name):
            self._check_room(there.body, body)
        self._journal.write(name, body)
        self._keep(name, body)
        if match := _OFFSET.fullmatch(name):
            self._learn(match[1], (match[2], int(match[3])), body)
        return self._documents[name].tag

    def delete(self, name: str) -> None:
        if match := _BATCH.fullmatch(name):
            place = (match[1], int(match[2]))
            if log := self._logs.get(place):
                log.remove(int(match[3]))
                if not log.batches:
                    del self._logs[place]
            self._path(name).unlink(missing_ok=True)
        else:
            self._journal.write(name, None)
            self._documents.pop(name, None)
            if match := _OFFSET.fullmatch(name):
                self._committed.get((match[2], int(match[3])), {}).pop(match[1], None)

    def names(self, prefix: str, now: float) -> Iterator[tuple[str, int, float]]:
        """Name, size and time of what begins so, in the order of the names.

        Of the batches of one partition it is what :class:`PartitionLog` shows.
        """
        if match := _RECORDS.fullmatch(prefix):
            place = (match[1], int(match[2]))
            for batch in self._logs[place].listing(now) if place in self._logs else ():
                yield f"{self._prefix[place]}{batch.base:020}.batch", batch.size, batch.stamp
            return
        found = [(n, len(d.body), d.stamp) for n, d in self._documents.items() if n.startswith(prefix)]
        for place, log in self._logs.items():
            first = self._prefix[place]
            if first.startswith(prefix) or prefix.startswith(first):
                named = ((f"{first}{batch.base:020}.batch", batch) for batch in log.batches)
                found += [(n, batch.size, batch.stamp) for n, batch in named if n.startswith(prefix)]
        yield from sorted(found)

    def tidy(self) -> Usage:
        """Frees what may be freed and is in the way. Call it every second or so."""
        self._journal.compact((name, document.body) for name, document in self._documents.items())
        freeable: list[tuple[float, Place, int]] = []
        used = read = 0
        for place, log in self._logs.items():
            used += _taken(len(log.batches), log.bytes)
            offsets = self._committed.get(place)
            done = log.done(min(offsets.values())) if offsets else 0
            read += _taken(done, log.size_of(done))
            if len(log.batches) > LEFT and done:
                freeable.append((log.batches[0].stamp, place, min(done, len(log.batches) - LEFT)))
        over = used - self.limit // 2
        unread = used - read
        for _, place, count in sorted(freeable):
            if over <= 0:
                break
            gone = self._free(place, min(count, TRIMMED_AT_ONCE), over)
            used, over = used - gone, over - gone
        self._usage = Usage(used, unread, self.limit, self._refusing(unread))
        return self._usage

    def _refusing(self, unread: int) -> str:
        free = shutil.disk_usage(self._root).free
        if free < RESERVE:
            return f"all producers: the disk has {free >> 20} MiB left"
        return self._over(unread)

    def _over(self, unread: int) -> str:
        before = self._usage.refusing
        if unread >= 2 * self.limit * (AGAIN if before.startswith("all") else 1):
            return "all producers: what is unread takes twice the limit"
        full = unread >= self.limit * (AGAIN if before else 1)
        return "the mirrors: what is unread takes more than the limit" if full else ""

    def _check_room(self, before: bytes, after: bytes) -> None:
        """Refuses a batch before it leaves a trace: here the broker notes its number in the producer's sequence.

        A refusal later than that would have the batch, sent again, taken for one that is there already.
        """
        everyone = self._usage.refusing.startswith("all")
        for topic in _advanced(before, after):
            if everyone or topic.endswith(ENTRANCES):
                raise FullError(self._usage.refusing)

    def _put_batch(self, place: Place, base: int, name: str, body: bytes) -> str:
        log = self._logs.setdefault(place, PartitionLog())
        if log.find(base):
            raise ChangedError
        path = self._path(name)
        if place not in self._prefix:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._prefix[place] = name[: -len(f"{base:020}.batch")]
        try:
            path.write_bytes(body)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        batch = Batch(base, base + _last_offset_delta(body) + 1, len(body), self._stamp())
        log.add(batch)
        size = _taken(1, len(body))
        used, unread = self._usage.used + size, self._usage.unread + size
        refusing = self._over(unread) or self._usage.refusing  # only `tidy` lets them in again
        self._usage = Usage(used, unread, self.limit, refusing)
        return "0"

    def _free(self, place: Place, count: int, enough: int) -> int:
        log = self._logs[place]
        size = chosen = 0
        while chosen < count and size < enough:
            size += max(PAGE, log.batches[chosen].size)
            chosen += 1
        gone = log.trim(chosen)
        for batch in gone:
            self._path(f"{self._prefix[place]}{batch.base:020}.batch").unlink(missing_ok=True)
        name = f"{self._prefix[place].removesuffix('records/')}watermark.json"
        if there := self._documents.get(name):
            mark = orjson.loads(there.body)
            self.put(name, orjson.dumps(mark | {"low": log.low if log.batches else mark["high"]}))
        return size

    def _keep(self, name: str, body: bytes) -> None:
        self._tags += 1
        self._documents[name] = Document(body, f"{self._boot}-{self._tags}", self._stamp())

    def _load(self) -> None:
        sequences: Sequences = {}
        for folder, _, files in os.walk(self._root):
            for file in files:
                path = Path(folder) / file
                name = "/".join(unquote(part) for part in path.relative_to(self._root).parts)
                if match := _BATCH.fullmatch(name):
                    self._load_batch((match[1], int(match[2])), int(match[3]), name, path, sequences)
        # None may be later than what is written next, whatever was done to the clock while no broker ran.
        self._zero = max(time.time(), self._last_stamp) - time.monotonic()
        for name, body in self._journal.read().items():
            self._keep(name, body)
        for log in self._logs.values():
            log.batches.sort()
            log.begins = log.batches[0].base
        for name, document in list(self._documents.items()):
            if match := _OFFSET.fullmatch(name):
                self._learn(match[1], (match[2], int(match[3])), document.body)
            elif match := _WATERMARK.fullmatch(name):
                there = self._logs.get((match[1], int(match[2])))
                if there is not None and there.batches:
                    # A batch that was announced and not written before a kill has no acknowledgement either.
                    mark = orjson.loads(document.body)
                    self.put(name, orjson.dumps(mark | {"low": there.low, "high": there.high}))
            elif _META.fullmatch(name):
                self.put(name, _with_sequences(document.body, sequences))

    def _load_batch(self, place: Place, base: int, name: str, path: Path, sequences: Sequences) -> None:
        with path.open("rb") as file:
            head = file.read(HEAD)
            status = os.fstat(file.fileno())
        length = int.from_bytes(head[8:12], "big") + 12 if len(head) == HEAD else -1
        if status.st_size != length:
            path.unlink()  # a kill while it was written: it was not acknowledged
            return
        log = self._logs.setdefault(place, PartitionLog())
        self._prefix[place] = name[: -len(f"{base:020}.batch")]
        log.batches.append(Batch(base, base + _last_offset_delta(head) + 1, length, status.st_mtime))
        self._last_stamp = max(self._last_stamp, status.st_mtime)
        producer, epoch = (int.from_bytes(head[a:b], "big", signed=True) for a, b in ((43, 51), (51, 53)))
        after = int.from_bytes(head[53:57], "big", signed=True) + _last_offset_delta(head) + 1
        key = (str(producer), str(epoch), *place)
        sequences[key] = max(after, sequences.get(key, 0))
        log.bytes += length

    def _learn(self, group: str, place: Place, body: bytes) -> None:
        offset = orjson.loads(body).get("offset")
        if isinstance(offset, int):
            self._committed.setdefault(place, {})[group] = offset

    def _stamp(self) -> float:
        """Now, and later than anything before: the broker takes the latest batch for the last."""
        self._last_stamp = max(self.now(), self._last_stamp + 1e-5)
        return self._last_stamp

    def _path(self, name: str) -> Path:
        # Group names may be anything; a part is never empty, hidden, or a way out.
        return self._root.joinpath(*(quote(part, safe="").replace(".", "%2E", 1) for part in name.split("/")))


def _last_offset_delta(batch: bytes) -> int:
    """Of a record batch of Kafka's format 2 (KIP-98): its last offset, from its first."""
    return int.from_bytes(batch[23:27], "big")


def _with_sequences(meta: bytes, sequences: Sequences) -> bytes:
    """The cluster's document, with each producer's sequence as the batches say.

    A kill between the two leaves a number in it of a batch that is not there: that one, when it is sent again, would
    be taken for a duplicate, and be lost.
    """
    document = orjson.loads(meta)
    for (producer, epoch, topic, partition), after in sequences.items():
        known = (
            document.get("producers", {}).get(producer, {}).get("sequences", {}).get(epoch, {}).get(topic, {})
        )
        if str(partition) in known:
            known[str(partition)] = after
    return orjson.dumps(document)


def _size(number: int) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.1f} MiB"


def _taken(batches: int, size: int) -> int:
    return size + batches * PAGE // 2


def _advanced(before: bytes, after: bytes) -> set[str]:
    """The topics whose producers' sequences differ between two versions of the cluster's document."""
    old = orjson.loads(before).get("producers", {})
    changed = set()
    for producer, detail in orjson.loads(after).get("producers", {}).items():
        epochs = old.get(producer, {}).get("sequences", {})
        for epoch, topics in detail.get("sequences", {}).items():
            known = epochs.get(epoch, {})
            changed |= {topic for topic, at in topics.items() if known.get(topic) != at}
    return changed
