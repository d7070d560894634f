"""Reads the records, chunk by chunk, and asks the store about each: what it does not know is kept."""

from collections.abc import Iterator

from shadowlane.processors.audit.account import Kind, Record, Request, Row
from shadowlane.processors.audit.inquiry import CHUNK, Inquiry, Unstored
from shadowlane.processors.audit.lines import Line, read_line
from shadowlane.processors.audit.logs import Message, Partition
from shadowlane.processors.audit.mirrors import CellKey
from shadowlane.schemas.codec import unpack
from shadowlane.schemas.events import Role, noise_id

CHUNK_BYTES = 32 * 2**20
PER_REQUEST = (Kind.REQUEST, Kind.SERVED, Kind.SHADOW, Kind.PAIR)


def groups(inquiry: Inquiry) -> list[list[Partition]]:
    """Partitions whose requests are in no others: one at a time, so that less has to be held."""
    topics = inquiry.topics
    mine = [*topics.copartitioned, topics.pairs]
    counts = {inquiry.partitions[topic] for topic in mine}
    if len(counts) > 1:
        return [[place for topic in mine for place in inquiry.all_of(topic)]]
    return [[(topic, n) for topic in mine] for n in range(counts.pop())]


def read_group(inquiry: Inquiry, group: list[Partition]) -> dict[str, Request]:
    """The requests of these partitions of which the store does not hold all."""
    requests: dict[str, Request] = {}
    for kind in PER_REQUEST:
        read_kind(inquiry, kind, [p for p in group if inquiry.ask.logs.kinds[p[0]] is kind], requests)
    return requests


def read_kind(
    inquiry: Inquiry,
    kind: Kind,
    partitions: list[Partition],
    requests: dict[str, Request],
    starts: dict[Partition, int] | None = None,
    *,
    only: bool = False,
) -> None:
    """Keeps ``requests``: adds what the store does not know, drops what it does.

    ``only``: of the requests that are there alone.
    """
    for chunk in _chunks(inquiry, kind, partitions, starts):
        if kind is Kind.SHADOW:
            chunk = _without_baselines(inquiry, chunk, look=not only)
            if not chunk:
                continue
        times = (min(line.ts for line in chunk), max(line.ts for line in chunk))
        ids = {line.request_id for line in chunk if line.key and line.request_id}
        rows = inquiry.ask.stored.requests(list(ids), times)
        pairs = _missing_pairs(inquiry, chunk, times, look=not only) if kind is Kind.PAIR else {}
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
                if kind is Kind.SHADOW and row is Row.NONE and not inquiry.ask.places.is_current(line):
                    continue  # it pairs with nothing: its row comes of the served half, if there is one
                owed = inquiry.ask.places.owed(line)
                request = requests[line.request_id] = Request(line.ts, line.service, line.route, owed)
            _note(inquiry, kind, line, request, row, pairs)
        _note_unread(inquiry, kind, unread)


def read_letters(
    inquiry: Inquiry, partitions: list[Partition], starts: dict[Partition, int] | None = None
) -> None:
    """Keeps the dead letters that the store has not."""
    for chunk in _chunks(inquiry, Kind.LETTER, partitions, starts):
        known = inquiry.ask.stored.letters([line.key for line in chunk if line.key])
        for line in chunk:
            record = inquiry.record(line)
            if line.key in known:
                continue
            if line.key:
                inquiry.letters[line.key] = record
            if line.request_id:
                inquiry.letters_of[line.request_id] = record
            if record.past:
                inquiry.suspects.records.append(Unstored(Kind.LETTER, record, line.key, line.request_id))


def read_noise(
    inquiry: Inquiry, partitions: list[Partition], starts: dict[Partition, int] | None = None
) -> None:
    """Keeps the noise pairs that the store should have; what Kafka has, pairing has not lost."""
    suspects = inquiry.suspects
    for chunk in _chunks(inquiry, Kind.NOISE, partitions, starts):
        there = {line.key for line in chunk if line.key}
        known = inquiry.ask.stored.noise(list(there))
        suspects.records = [
            one for one in suspects.records if one.kind is not Kind.BASELINE or one.key not in there
        ]
        for line in chunk:
            record = inquiry.record(line)
            if line.key and line.key not in known and record.past:
                suspects.records.append(Unstored(Kind.NOISE, record, line.key, line.request_id))
        _note_unread(inquiry, Kind.NOISE, [line for line in chunk if not line.key])


def read_cells(inquiry: Inquiry, partitions: list[Partition]) -> None:
    """Keeps the mirrors' counts that the store has less of."""
    for chunk in _chunks(inquiry, Kind.CELL, partitions):
        cells: dict[CellKey, tuple[int, Record]] = {}
        for line in chunk:
            key, count = _cell(line)
            record = inquiry.record(line)
            if key and record.past and count > cells.get(key, (0, record))[0]:
                cells[key] = (count, record)
        stored = inquiry.ask.stored.counts(list(cells))
        missing = {key: (n, record) for key, (n, record) in cells.items() if stored.get(key, 0) < n}
        # One of a newer version reads like any other here, and was buried all the same.
        letters = {record.place.letter_id: key for key, (_, record) in missing.items()}
        for letter_id in inquiry.ask.stored.letters(list(letters)):
            del missing[letters[letter_id]]
        inquiry.suspects.cells.update(missing)


def _chunks(
    inquiry: Inquiry, kind: Kind, partitions: list[Partition], starts: dict[Partition, int] | None = None
) -> Iterator[list[Line]]:
    """The lines that the scope is about, so many at a time. ``starts``: these are read again."""
    again = starts is not None
    starts = starts or {p: inquiry.starts[p] for p in partitions}
    ends = {p: max(inquiry.spans[p].latest, starts[p]) for p in partitions}
    topic = partitions[0][0]
    whole = sum(max(0, ends[p] - starts[p]) for p in partitions)
    chunk: list[Line] = []
    size = done = 0
    for messages in inquiry.ask.logs.read(starts, ends, inquiry.reading, beyond=again):
        done += len(messages)
        inquiry.ask.progress(topic, done, whole)
        for message in messages:
            for line in _lines(kind, message):
                if not again:
                    inquiry.records[message.partition] += 1
                if inquiry.ask.places.wants(kind, line):
                    chunk.append(line)
            size += len(message.value or b"")
            if len(chunk) >= CHUNK or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
    if chunk:
        yield chunk


def _lines(kind: Kind, message: Message) -> Iterator[Line]:
    topic, partition = message.partition
    for number, text in unpack(message.value):
        yield read_line(kind, topic, partition, message.offset, number, message.time, text)


def _without_baselines(inquiry: Inquiry, chunk: list[Line], *, look: bool) -> list[Line]:
    """The candidates' responses alone. Of a baseline that pairing has committed past, there must be a noise pair.

    Whether the worker owed one is not asked: the rate may have been another then.
    """
    baselines = [line for line in chunk if line.fields["role"] == Role.BASELINE]
    if not baselines:
        return chunk
    if look:
        owed = {
            noise_id(line.request_id, line.fields["rollout"], line.fields["epoch"]): line
            for line in baselines
            if line.key and inquiry.ask.places.is_current(line)
        }
        known = inquiry.ask.stored.noise(list(owed))
        for key, line in owed.items():
            record = inquiry.record(line)
            if record.past and key not in known:
                suspect = Unstored(Kind.BASELINE, record, key, line.request_id)
                inquiry.suspects.records.append(suspect)
    return [line for line in chunk if line.fields["role"] != Role.BASELINE]


def _note(
    inquiry: Inquiry, kind: Kind, line: Line, request: Request, row: Row, missing: dict[str, Record]
) -> None:
    request.row = max(request.row, row)
    if kind is Kind.PAIR:
        if line.fields.get("reason") != "no_shadow_response":
            request.answered = True
        if line.key in missing:
            request.note(kind, missing[line.key])
    elif kind is Kind.SHADOW and not inquiry.ask.places.is_current(line):
        request.answered = True  # and it pairs with nothing
    else:
        request.note(kind, inquiry.record(line))


def _missing_pairs(
    inquiry: Inquiry, chunk: list[Line], times: tuple[int, int], *, look: bool
) -> dict[str, Record]:
    """The pairs that the store has not; those that it should have are suspects."""
    known = inquiry.ask.stored.pairs([line.key for line in chunk if line.key], times)
    missing = {line.key: inquiry.record(line) for line in chunk if line.key and line.key not in known}
    if look:
        requests = {line.key: line.request_id for line in chunk}
        for key, record in missing.items():
            if record.past:
                inquiry.suspects.records.append(Unstored(Kind.PAIR, record, key, requests[key]))
    return missing


def _note_unread(inquiry: Inquiry, kind: Kind, unread: list[Line]) -> None:
    """Lines without an id: each must have a dead letter once its reader has committed past it."""
    if not unread:
        return
    known = inquiry.ask.stored.letters([line.place.letter_id for line in unread])
    for line in unread:
        record = inquiry.record(line)
        # Where Kafka has the letter, it is the letter that must be in the store.
        if record.past and record.place.letter_id not in known | inquiry.letters.keys():
            inquiry.suspects.records.append(Unstored(kind, record, "", line.request_id))


def _cell(line: Line) -> tuple[CellKey | None, int]:
    values = line.fields
    instance, minute, row, count = (values.get(name) for name in ("instance", "minute", "row", "count"))
    if not (isinstance(instance, str) and isinstance(row, str)):
        return None, 0
    if type(minute) is not int or type(count) is not int:
        return None, 0
    reason = values.get("reason")
    return (instance, minute, line.service, line.route, row, reason if isinstance(reason, str) else ""), count
