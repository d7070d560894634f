"""What the store did not know at first: asked once more, and what looks lost once more after a while."""

import time

from shadowlane.processors.audit.account import Kind, Request, Row, Where
from shadowlane.processors.audit.inquiry import CHUNK, Inquiry
from shadowlane.processors.audit.logs import Partition
from shadowlane.processors.audit.places import MINUTE_MS
from shadowlane.processors.audit.walk import read_kind, read_letters, read_noise


def ask_again(inquiry: Inquiry, requests: dict[str, Request]) -> None:
    """The store once more, about those that it did not know: they may have come, or have another time."""
    stored = inquiry.ask.stored
    ids = [name for name, request in requests.items() if request.row is Row.NONE]
    for at in range(0, len(ids), CHUNK):
        part = ids[at : at + CHUNK]
        for name, row in stored.requests(part).items():
            requests[name].row = row
        for name in stored.lettered(part):
            requests[name].lettered = True
        letter_ids = {
            record.place.letter_id: name
            for name in part
            for record in requests[name].records.values()
            if record.past
        }
        for letter_id in stored.letters(list(letter_ids)):
            requests[letter_ids[letter_id]].lettered = True
    unanswered = [name for name, r in requests.items() if r.row is Row.UNANSWERED and not r.answered]
    for at in range(0, len(unanswered), CHUNK):
        for name in stored.lettered(unanswered[at : at + CHUNK]):
            requests[name].lettered = True
    for name, request in requests.items():
        mine = [inquiry.letters_of.get(name)]
        mine += [inquiry.letters.get(record.place.letter_id) for record in request.records.values()]
        for letter in mine:
            if letter is not None:
                request.letter_past = letter.past and request.letter_past is not False
    for name in [n for n, r in requests.items() if r.row is Row.SETTLED]:
        del requests[name]


def sort_out(inquiry: Inquiry, requests: dict[str, Request]) -> None:
    """Counts those that are on their way, and keeps those that look lost."""
    for request_id, request in requests.items():
        place = (request.ts - request.ts % MINUTE_MS, request.service, request.route)
        if request.row is Row.NONE and not request.lettered and inquiry.ask.places.takes(*place[1:]):
            inquiry.under_way[place] += 1
        found = inquiry.judge(request)
        if found.losses or found.where is Where.LOST:
            inquiry.suspects.requests[request_id] = request
        else:
            inquiry.count(found)


def look_again(inquiry: Inquiry, settle_s: float) -> None:
    """At all that looks lost, after ``settle_s`` seconds: at the logs' new ends, and in the store."""
    suspects = inquiry.suspects
    if not (suspects.requests or suspects.records or suspects.cells):
        return
    inquiry.ask.progress("looking again", 0, 0)
    time.sleep(settle_s)
    inquiry.spans = inquiry.ask.logs.spans(inquiry.partitions)
    starts = dict(inquiry.reading.next)
    for name, request in suspects.requests.items():
        for proper in inquiry.strays(name, request):
            starts[proper] = inquiry.starts[proper]
    topics = inquiry.topics
    read_letters(inquiry, *_of(topics.dead_letters, starts))
    for topic, kind in ((topics.shadow, Kind.SHADOW), (topics.pairs, Kind.PAIR)):
        partitions, mine = _of(topic, starts)
        read_kind(inquiry, kind, partitions, suspects.requests, mine, only=True)
    read_noise(inquiry, *_of(topics.noise, starts))
    ask_again(inquiry, suspects.requests)
    _acquit_records(inquiry)
    _acquit_cells(inquiry)


def _acquit_records(inquiry: Inquiry) -> None:
    suspects, stored = inquiry.suspects, inquiry.ask.stored
    pairs = [one.key for one in suspects.records if one.kind is Kind.PAIR and one.key]
    noise = [one.key for one in suspects.records if one.kind in (Kind.NOISE, Kind.BASELINE)]
    letters = [one.record.place.letter_id for one in suspects.records]
    letters += [one.key for one in suspects.records if one.kind is Kind.LETTER and one.key]
    found = set[str]()
    for at in range(0, max(len(pairs), len(noise), len(letters)), CHUNK):
        found |= stored.pairs(pairs[at : at + CHUNK])
        found |= stored.noise(noise[at : at + CHUNK])
        found |= stored.letters(letters[at : at + CHUNK])
    suspects.records = [
        one
        for one in suspects.records
        if one.key not in found
        and one.record.place.letter_id not in found
        and one.record.place.letter_id not in inquiry.letters
    ]


def _acquit_cells(inquiry: Inquiry) -> None:
    cells = inquiry.suspects.cells
    keys = list(cells)
    for at in range(0, len(keys), CHUNK):
        for key, count in inquiry.ask.stored.counts(keys[at : at + CHUNK]).items():
            if key in cells and count >= cells[key][0]:
                del cells[key]


def _of(topic: str, starts: dict[Partition, int]) -> tuple[list[Partition], dict[Partition, int]]:
    mine = {p: start for p, start in starts.items() if p[0] == topic}
    return list(mine), mine
