"""What the audit needs of one line of an envelope. Pure.

A line is not checked as its reader checks it: one that is refused there has a dead letter, and is found by that.
"""

import zlib
from dataclasses import dataclass
from typing import Any

import orjson

from shadowlane.processors.audit.account import Kind, Place
from shadowlane.schemas.codec import TIME_END, salvage_request_id


@dataclass(slots=True)
class Line:
    """One record. ``key`` is what it is known by further on: the id of the request, pair or dead letter.

    An empty ``key`` could not be read; ``request_id`` is what could be made out then. ``ts`` is the request's time
    (of a dead letter its own, of a ledger's cell the minute), and where there is none the message's.
    """

    topic: str
    partition: int
    offset: int
    number: int
    checksum: int
    key: str
    request_id: str
    ts: int
    service: str
    route: str
    fields: dict[str, Any]  # the few others that some kinds have

    @property
    def place(self) -> Place:
        return Place(self.topic, self.partition, self.offset, self.number, self.checksum)


_KEY = {
    Kind.REQUEST: "request_id",
    Kind.SERVED: "request_id",
    Kind.SHADOW: "request_id",
    Kind.PAIR: "pair_id",
    Kind.NOISE: "pair_id",
    Kind.LETTER: "dead_letter_id",
}
_KEPT: dict[Kind, tuple[str, ...]] = {
    Kind.REQUEST: ("attributes",),
    Kind.SERVED: ("attributes",),
    Kind.SHADOW: ("attributes", "rollout", "epoch", "role"),
    Kind.PAIR: ("attributes", "rollout", "outcome", "reason"),
    Kind.NOISE: (),
    Kind.LETTER: (),
    Kind.CELL: ("instance", "minute", "row", "reason", "count"),
}


def read_line(
    kind: Kind, topic: str, partition: int, offset: int, number: int, time: int, text: bytes
) -> Line:
    """The line's fields, as far as they are there. ``time`` is the message's, Unix milliseconds."""
    try:
        raw = orjson.loads(text)
    except orjson.JSONDecodeError:
        raw = None
    if not isinstance(raw, dict):
        raw = {}
    ts = raw.get("minute" if kind is Kind.CELL else "ts")
    if type(ts) is not int or not 0 <= ts < TIME_END:
        ts = time
    return Line(
        topic,
        partition,
        offset,
        number,
        zlib.crc32(text),
        _text(raw, _KEY[kind]) if kind in _KEY else "",
        _text(raw, "request_id") or salvage_request_id(text),
        ts,
        _text(raw, "service"),
        _text(raw, "route"),
        {name: raw.get(name) for name in _KEPT[kind]},
    )


def attributes_of(line: Line) -> dict[str, str]:
    """The attributes that rollouts match by."""
    found = line.fields.get("attributes")
    return {k: v for k, v in found.items() if type(v) is str} if isinstance(found, dict) else {}


def _text(raw: dict[str, Any], name: str) -> str:
    value = raw.get(name)
    return value if type(value) is str else ""
