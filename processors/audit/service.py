"""The audit itself: reads the offsets, then the records, asks the store, and says what does not add up.

The order is the proof (:mod:`shadowlane.processors.audit.account`): what the mirrors say, the committed
offsets, the records, and the store after each part of them. What looks lost is looked at again after a while.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from shadowlane.processors.audit.account import (
    Judgement,
    Kind,
    Loss,
    Record,
    Request,
    Row,
    Step,
    Where,
    judge,
)
from shadowlane.processors.audit.lines import Line, read_line
from shadowlane.processors.audit.logs import Logs, Message, Partition, Reading
from shadowlane.processors.audit.mirrors import Cell, CellKey, Minute, balance
from shadowlane.processors.audit.places import MINUTE_MS, Places, Scope
from shadowlane.processors.audit.result import EXAMPLES, Audit, Example, Gap, Log, Note
from shadowlane.processors.audit.stored import Stored
from shadowlane.processors.lag import group_of
from shadowlane.schemas.codec import unpack
from shadowlane.schemas.config import Settings
from shadowlane.schemas.topics import partition_of

EVERYTHING = Scope()
CHUNK = 10_000  # records that the store is asked about at once
CHUNK_BYTES = 32 * 2**20
SETTLE_S = 3.0
UNSAID_MS = 120_000  # how old a minute must be before a mirror must have said what became of its requests

Progress = Callable[[str, int, int], None]
"""(what is read, messages read of it, messages in it)."""

READERS = {
    Kind.REQUEST: Step.WORKER,
    Kind.SERVED: Step.PAIRING,
    Kind.SHADOW: Step.PAIRING,
    Kind.PAIR: Step.SINK,
    Kind.LETTER: Step.SINK,
    Kind.CELL: Step.SINK,
}
_PER_REQUEST = (Kind.REQUEST, Kind.SERVED, Kind.SHADOW)


def audit(
    settings: Settings,
    scope: Scope = EVERYTHING,
    *,
    settle_s: float = SETTLE_S,
    progress: Progress = lambda what, done, whole: None,
) -> Audit:
    """Where every request is that Kafka holds, and whether the ledger adds up. Blocks; changes nothing.

    The system may be running meanwhile.

    Raises:
        ConfigError: the scope's rollout is not in the configuration.
        BrokerError: Kafka can't be reached, or a topic is missing.
        StoreError: ClickHouse can't be reached, or is not set up.
    """
    auditor = _Auditor(settings, scope.whole(), settle_s, progress)
    try:
        return auditor.run()
    finally:
        auditor.close()


@dataclass(slots=True)
class _Unstored:
    """A record of which the store has no row: of a pair or dead letter, or one that can't be read at all."""

    kind: Kind
    record: Record
    key: str
    request_id: str


@dataclass(slots=True)
class _Suspects:
    """What looks lost, until it is looked at again."""

    requests: dict[str, Request] = field(default_factory=dict)
    records: list[_Unstored] = field(default_factory=list)
    cells: dict[CellKey, tuple[int, Record]] = field(default_factory=dict)


class _Auditor:
    def __init__(self, settings: Settings, scope: Scope, settle_s: float, progress: Progress) -> None:
        self._places = Places(settings, scope)
        self._settings, self._scope, self._settle_s, self._progress = settings, scope, settle_s, progress
        self._logs = Logs(settings.kafka)
        self._stored = Stored(settings.clickhouse)
        self._reading = Reading()
        self._records: Counter[Partition] = Counter()
        # Dead letters that Kafka has and the store has not, by their id and by their request's.
        self._letters: dict[str, Record] = {}
        self._letters_of: dict[str, Record] = {}
        self._open: Counter[Where] = Counter()
        self._under_way: Counter[Minute] = Counter()
        self._before: Counter[str] = Counter()
        self._unproved = 0
        self._suspects = _Suspects()

    def close(self) -> None:
        self._logs.close()
        self._stored.close()

    def run(self) -> Audit:
        started = time.monotonic()
        result = Audit(
            int(time.time() * 1000), 0.0, self._scope.rollout, self._scope.since, self._scope.until
        )
        since, until = self._scope.since, self._scope.until
        cells = self._stored.mirrors(since, until)
        self._began = self._places.began(self._stored.began(), self._stored.traced())
        self._partitions = self._logs.partitions()
        self._committed = self._logs.committed(self._partitions)
        self._spans = self._logs.spans(self._partitions)
        self._earliest = {p: span.earliest for p, span in self._spans.items()}
        self._starts = dict(self._earliest)
        if since is not None:
            found = self._logs.offsets_at(self._spans, since)
            self._starts = {p: max(start, found[p]) for p, start in self._starts.items()}
        topics = self._settings.kafka.topics
        self._read_letters([(topics.dead_letters, n) for n in range(self._partitions[topics.dead_letters])])
        for group in self._groups():
            self._read_group(group)
        self._read_cells([(topics.ledger, n) for n in range(self._partitions[topics.ledger])])
        stored = self._stored.resolved(since, until)
        self._look_again()
        result.gaps += self._lost()
        self._weigh(result, cells, stored)
        self._past_end(result)
        self._describe(result)
        result.took_s = time.monotonic() - started
        return result

    def _groups(self) -> list[list[Partition]]:
        """Partitions whose requests are in no others: one at a time, so that less has to be held."""
        topics = self._settings.kafka.topics
        mine = [*topics.copartitioned, topics.pairs]
        counts = {self._partitions[topic] for topic in mine}
        if len(counts) > 1:
            return [[(topic, n) for topic in mine for n in range(self._partitions[topic])]]
        return [[(topic, n) for topic in mine] for n in range(counts.pop())]

    # Reading

    def _chunks(
        self, kind: Kind, partitions: list[Partition], starts: dict[Partition, int] | None = None
    ) -> Iterator[list[Line]]:
        """The lines that the scope is about, so many at a time."""
        again = starts is not None
        starts = starts or {p: self._starts[p] for p in partitions}
        ends = {p: max(self._spans[p].latest, starts[p]) for p in partitions}
        topic = partitions[0][0]
        whole = sum(max(0, ends[p] - starts[p]) for p in partitions)
        chunk: list[Line] = []
        size = done = 0
        for messages in self._logs.read(starts, ends, self._reading, beyond=again):
            done += len(messages)
            self._progress(topic, done, whole)
            for message in messages:
                for line in _lines(kind, message):
                    if not again:
                        self._records[message.partition] += 1
                    if self._places.wants(kind, line):
                        chunk.append(line)
                size += len(message.value or b"")
                if len(chunk) >= CHUNK or size >= CHUNK_BYTES:
                    yield chunk
                    chunk, size = [], 0
        if chunk:
            yield chunk

    def _record(self, line: Line) -> Record:
        return Record(line.place, line.offset < self._committed.get((line.topic, line.partition), 0))

    def _read_letters(self, partitions: list[Partition], starts: dict[Partition, int] | None = None) -> None:
        for chunk in self._chunks(Kind.LETTER, partitions, starts):
            known = self._stored.letters([line.key for line in chunk if line.key])
            for line in chunk:
                record = self._record(line)
                if line.key in known:
                    continue
                if line.key:
                    self._letters[line.key] = record
                if line.request_id:
                    self._letters_of[line.request_id] = record
                if record.past:
                    self._suspects.records.append(_Unstored(Kind.LETTER, record, line.key, line.request_id))

    def _read_group(self, group: list[Partition]) -> None:
        requests: dict[str, Request] = {}
        for kind in (*_PER_REQUEST, Kind.PAIR):
            self._read_kind(kind, [p for p in group if self._logs.kinds[p[0]] is kind], requests)
        self._ask_again(requests)
        for request_id, request in requests.items():
            self._count_if_open(request)
            found = self._judge(request)
            if found.losses or found.where is Where.LOST:
                self._suspects.requests[request_id] = request
            else:
                self._open[found.where] += 1

    def _count_if_open(self, request: Request) -> None:
        if (
            request.row is Row.NONE
            and not request.lettered
            and self._places.takes(request.service, request.route)
        ):
            self._under_way[request.ts - request.ts % MINUTE_MS, request.service, request.route] += 1

    def _read_kind(
        self,
        kind: Kind,
        partitions: list[Partition],
        requests: dict[str, Request],
        starts: dict[Partition, int] | None = None,
        *,
        only: bool = False,
    ) -> None:
        """``only``: of the requests that are there alone."""
        for chunk in self._chunks(kind, partitions, starts):
            times = (min(line.ts for line in chunk), max(line.ts for line in chunk))
            ids = {line.request_id for line in chunk if line.key and line.request_id}
            rows = self._stored.requests(list(ids), times)
            pairs = self._missing_pairs(chunk, times, look=not only) if kind is Kind.PAIR else {}
            unread = [] if only else [line for line in chunk if not line.key]
            for line in chunk:
                if line.request_id not in ids or not line.key:
                    continue
                row = rows.get(line.request_id, Row.NONE)
                if row is Row.SETTLED:
                    requests.pop(line.request_id, None)
                    continue
                request = requests.get(line.request_id)
                if request is None:
                    # Of a request without an answer all is known, but whether the worker had it.
                    if only or (kind is not Kind.REQUEST and row is not Row.NONE):
                        continue
                    if kind is Kind.SHADOW and row is Row.NONE and not self._places.is_current(line):
                        continue  # it pairs with nothing: its row comes of the served half, if there is one
                    owed = self._places.owed(line)
                    request = requests[line.request_id] = Request(line.ts, line.service, line.route, owed)
                self._note(kind, line, request, row, pairs)
            self._note_unread(kind, unread)

    def _note(self, kind: Kind, line: Line, request: Request, row: Row, missing: dict[str, Record]) -> None:
        request.row = max(request.row, row)
        if kind is Kind.PAIR:
            if line.fields.get("reason") != "no_shadow_response":
                request.answered = True
            if line.key in missing:
                request.note(kind, missing[line.key])
        elif kind is Kind.SHADOW and not self._places.is_current(line):
            request.answered = True  # and it pairs with nothing
        else:
            request.note(kind, self._record(line))

    def _missing_pairs(self, chunk: list[Line], times: tuple[int, int], *, look: bool) -> dict[str, Record]:
        """The pairs that the store has not; those that it should have are suspects."""
        known = self._stored.pairs([line.key for line in chunk if line.key], times)
        missing = {line.key: self._record(line) for line in chunk if line.key and line.key not in known}
        if look:
            requests = {line.key: line.request_id for line in chunk}
            for key, record in missing.items():
                if record.past:
                    self._suspects.records.append(_Unstored(Kind.PAIR, record, key, requests[key]))
        return missing

    def _note_unread(self, kind: Kind, unread: list[Line]) -> None:
        """Lines without an id: each must have a dead letter once its reader has committed past it."""
        if not unread:
            return
        known = self._stored.letters([line.place.letter_id for line in unread])
        for line in unread:
            record = self._record(line)
            # Where Kafka has the letter, it is the letter that must be in the store.
            if record.past and record.place.letter_id not in known | self._letters.keys():
                self._suspects.records.append(_Unstored(kind, record, "", line.request_id))

    def _read_cells(self, partitions: list[Partition], starts: dict[Partition, int] | None = None) -> None:
        for chunk in self._chunks(Kind.CELL, partitions, starts):
            cells: dict[CellKey, tuple[int, Record]] = {}
            for line in chunk:
                key, count = _cell(line)
                record = self._record(line)
                if key and record.past and count > cells.get(key, (0, record))[0]:
                    cells[key] = (count, record)
            stored = self._stored.counts(list(cells))
            missing = {key: (n, record) for key, (n, record) in cells.items() if stored.get(key, 0) < n}
            # One of a newer version reads like any other here, and was buried all the same.
            letters = {record.place.letter_id: key for key, (_, record) in missing.items()}
            for letter_id in self._stored.letters(list(letters)):
                del missing[letters[letter_id]]
            self._suspects.cells.update(missing)

    # Judging

    def _ask_again(self, requests: dict[str, Request]) -> None:
        """The store once more, about those that it did not know: they may have come, or have another time."""
        ids = [name for name, request in requests.items() if request.row is Row.NONE]
        for at in range(0, len(ids), CHUNK):
            part = ids[at : at + CHUNK]
            for name, row in self._stored.requests(part).items():
                requests[name].row = row
            for name in self._stored.lettered(part):
                requests[name].lettered = True
            letter_ids = {
                record.place.letter_id: name
                for name in part
                for record in requests[name].records.values()
                if record.past
            }
            for letter_id in self._stored.letters(list(letter_ids)):
                requests[letter_ids[letter_id]].lettered = True
        unanswered = [name for name, r in requests.items() if r.row is Row.UNANSWERED and not r.answered]
        for at in range(0, len(unanswered), CHUNK):
            for name in self._stored.lettered(unanswered[at : at + CHUNK]):
                requests[name].lettered = True
        for name, request in requests.items():
            mine = [self._letters_of.get(name)]
            mine += [self._letters.get(record.place.letter_id) for record in request.records.values()]
            for letter in mine:
                if letter is not None:
                    request.letter_past = letter.past and request.letter_past is not False
        for name in [n for n, r in requests.items() if r.row is Row.SETTLED]:
            del requests[name]

    def _judge(self, request: Request) -> Judgement:
        asked = request.records.get(Kind.REQUEST)
        since = 0
        if asked:
            shadow = (self._settings.kafka.topics.shadow, asked.place.partition)
            start = self._starts.get(shadow, 0)
            if start > 0 and start == self._earliest[shadow]:
                since = self._reading.began.get(shadow, 2**63)
        found = judge(request, since)
        if since and not found.losses and judge(request).losses:
            self._unproved += 1
        return found

    def _look_again(self) -> None:
        """At all that looks lost, after a while: at the logs' new ends, and in the store."""
        suspects = self._suspects
        if not (suspects.requests or suspects.records or suspects.cells):
            return
        self._progress("looking again", 0, 0)
        time.sleep(self._settle_s)
        topics = self._settings.kafka.topics
        self._spans = self._logs.spans(self._partitions)
        starts = {p: self._reading.next[p] for p in self._reading.next}
        for name, request in suspects.requests.items():
            for proper in self._strays(name, request):
                starts[proper] = self._starts[proper]
        self._read_letters(*_of(topics.dead_letters, starts))
        for topic, kind in ((topics.shadow, Kind.SHADOW), (topics.pairs, Kind.PAIR)):
            partitions, mine = _of(topic, starts)
            self._read_kind(kind, partitions, suspects.requests, mine, only=True)
        self._ask_again(suspects.requests)
        found = set[str]()
        pairs = [one.key for one in suspects.records if one.kind is Kind.PAIR and one.key]
        letters = [one.record.place.letter_id for one in suspects.records]
        letters += [one.key for one in suspects.records if one.kind is Kind.LETTER and one.key]
        for at in range(0, max(len(pairs), len(letters)), CHUNK):
            found |= self._stored.pairs(pairs[at : at + CHUNK])
            found |= self._stored.letters(letters[at : at + CHUNK])
        suspects.records = [
            one
            for one in suspects.records
            if one.key not in found
            and one.record.place.letter_id not in found
            and one.record.place.letter_id not in self._letters
        ]
        keys = list(suspects.cells)
        for at in range(0, len(keys), CHUNK):
            for key, count in self._stored.counts(keys[at : at + CHUNK]).items():
                if key in suspects.cells and count >= suspects.cells[key][0]:
                    del suspects.cells[key]

    def _strays(self, name: str, request: Request) -> list[Partition]:
        """Where to look for what became of records that are in another partition than their id's.

        They are by a producer of one's own, or from when the topics had fewer partitions.
        """
        topics = self._settings.kafka.topics
        own = [
            (topic, partition_of(name, self._partitions[topic])) for topic in (topics.shadow, topics.pairs)
        ]
        there = {record.place.partition for record in request.records.values()}
        return [place for place in own if there - {place[1]}]

    def _lost(self) -> list[Gap]:
        losses: list[tuple[Loss, str]] = []
        for name, request in self._suspects.requests.items():
            found = self._judge(request)
            began = self._began.get(request.owed.rollout, 0) or self._places.began_at(
                request.service, request.route, self._began
            )
            if found.losses and request.ts < began:
                self._before[request.owed.rollout] += 1
                continue
            if found.losses or found.where is Where.LOST or not self._strays(name, request):
                self._open[found.where] += 1  # else it is counted with its id's own partition
            losses += [(loss, name) for loss in found.losses]
        for one in self._suspects.records:
            losses.append((Loss(READERS[one.kind], one.record), one.request_id))
        for _, record in self._suspects.cells.values():
            losses.append((Loss(Step.SINK, record), ""))
        gaps: dict[tuple[Step, str], Gap] = {}
        for loss, request_id in sorted(losses, key=lambda one: _order(one[0])):
            place = loss.record.place
            gap = gaps.get((loss.step, place.topic))
            if gap is None:
                group = group_of(loss.step, self._settings.kafka)
                gap = gaps[loss.step, place.topic] = Gap("lost", loss.step, place.topic, 0, "")
                gap.text = (
                    f"the {loss.step} (group {group}) has committed past records of {place.topic} of which "
                    f"{_TRACE[loss.step]}"
                )
            gap.count += 1
            if len(gap.examples) < EXAMPLES:
                gap.examples.append(
                    Example(place.topic, place.partition, place.offset, place.line, request_id)
                )
        return list(gaps.values())

    def _weigh(self, result: Audit, cells: list[Cell], stored: Mapping[Minute, int]) -> None:
        """What the mirrors say against what came."""

        def mine(minute: int, service: str, route: str) -> bool:
            # Of the minute in which a rollout began, some requests may be from before it.
            began = self._places.began_at(service, route, self._began)
            return self._places.takes(service, route) and minute >= began

        quiet = result.at - UNSAID_MS - int(self._settings.pairing.wait_s * 1000)
        minutes = balance(
            [cell for cell in cells if mine(cell.minute, cell.service, cell.route)],
            {place: n for place, n in stored.items() if mine(*place)},
            {place: n for place, n in self._under_way.items() if mine(*place)},
            quiet,
        )
        for kind, text in _MINUTES.items():
            wrong = [one for one in minutes if getattr(one, kind)]
            count = sum(getattr(one, kind) for one in wrong)
            if kind == "uncounted" and count:
                result.notes.append(Note(kind, count, text))
            elif count:
                named = [dataclasses.asdict(one) for one in wrong[:EXAMPLES]]
                topic = self._settings.kafka.topics.ledger
                result.gaps.append(Gap(kind, "mirror", topic, count, text, minutes=named))

    def _past_end(self, result: Audit) -> None:
        for partition, committed in sorted(self._committed.items()):
            end = max(self._reading.next.get(partition, 0), self._spans[partition].latest)
            if partition in self._spans and committed > end:
                topic, number = partition
                step = READERS[self._logs.kinds[topic]]
                result.gaps.append(
                    Gap(
                        "committed_past_end",
                        step,
                        topic,
                        committed - end,
                        f"the {step} has committed offset {committed} of {topic}, partition {number}, which ends "
                        f"at {end}: Kafka has lost records, or the topic was made anew",
                    )
                )

    def _describe(self, result: Audit) -> None:
        since, until = self._scope.since, self._scope.until
        for partition, span in sorted(self._spans.items()):
            topic, number = partition
            result.logs.append(
                Log(
                    topic,
                    number,
                    span.earliest,
                    max(span.latest, self._reading.next.get(partition, 0)),
                    self._committed.get(partition),
                    self._records[partition],
                    READERS[self._logs.kinds[topic]],
                )
            )
        result.records = sum(self._records.values())
        result.open = {str(where): self._open[where] for where in Where if where is not Where.STORED}
        result.ledger = self._stored.ledger(since, until)
        result.rows, result.pairs = self._stored.copies(since, until)
        removed = sum(span.earliest for span in self._spans.values())
        if removed:
            text = "Kafka has removed these messages (retention): of them the store and the mirrors' counts alone speak"
            result.notes.append(Note("retention", removed, text))
        if result.rows > result.pairs:
            text = "rows of pairs that the store holds more than once: every view counts them once"
            result.notes.append(Note("copies", result.rows - result.pairs, text))
        for rollout, count in self._before.items():
            text = f"requests without a row from before the rollout {rollout} was there"
            result.notes.append(Note("before_rollout", count, text))
        if self._unproved:
            text = "requests whose answer would be in a part of the log that Kafka has removed"
            result.notes.append(Note("unproved", self._unproved, text))


_TRACE = {
    Step.WORKER: "there is no answer and no dead letter",
    Step.PAIRING: "there is no pair and no dead letter",
    Step.SINK: "there is no row in the store",
}
_MINUTES = {
    "gone": "a mirror says that Kafka has taken these requests, and neither Kafka nor the store has them",
    "undecided": (
        "a mirror has counted these requests and never said what became of them, and they are not in Kafka: "
        "its process was killed, or its last counts did not reach Kafka"
    ),
    "uncounted": (
        "requests that came and that no mirror has counted: its process was killed before it could, or a producer "
        "of your own keeps no ledger"
    ),
}


def _lines(kind: Kind, message: Message) -> Iterator[Line]:
    topic, partition = message.partition
    for number, text in unpack(message.value):
        yield read_line(kind, topic, partition, message.offset, number, message.time, text)


def _cell(line: Line) -> tuple[CellKey | None, int]:
    values = line.fields
    instance, minute, row, count = (values.get(name) for name in ("instance", "minute", "row", "count"))
    if not (isinstance(instance, str) and isinstance(row, str)):
        return None, 0
    if type(minute) is not int or type(count) is not int:
        return None, 0
    reason = values.get("reason")
    return (instance, minute, line.service, line.route, row, reason if isinstance(reason, str) else ""), count


def _of(topic: str, starts: dict[Partition, int]) -> tuple[list[Partition], dict[Partition, int]]:
    mine = {p: start for p, start in starts.items() if p[0] == topic}
    return list(mine), mine


def _order(loss: Loss) -> tuple[str, str, int, int, int]:
    place = loss.record.place
    return (loss.step, place.topic, place.partition, place.offset, place.line)
