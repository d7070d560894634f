"""Envelopes and records, to bytes and back.

A Kafka message is an envelope: records as JSON lines, all of the same partition. The reason is measured:
Faust costs 200 to 300 µs a message, whatever is in it. An envelope of one record is a plain JSON message,
so that a producer in any language can take part.

Reading is by record: a line that can't be read raises :class:`~shadowlane.errors.CodecError`, and goes to
the dead letters by itself, without the envelope's other lines.
"""

import base64
import dataclasses
import operator
import re
import types
import typing
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import orjson

from shadowlane.errors import CodecError
from shadowlane.schemas.events import (
    SCHEMA_VERSION,
    BudgetEntry,
    DeadLetter,
    LedgerCell,
    MirroredRequest,
    Pair,
    Record,
    Response,
    RolloutState,
    Stop,
)

T = TypeVar("T", MirroredRequest, Response, Pair, DeadLetter, LedgerCell, RolloutState, BudgetEntry, Stop)

ENVELOPE_MAX_BYTES = 256 * 1024
DEAD_LETTER_MAX_BYTES = 128 * 1024
REASON_MAX = 1000
# An id is repeated in every record that follows, so nothing could be written of a record whose id is too long.
REQUEST_ID_MAX = 1000
# 2100-01-01, in Unix milliseconds. Beyond 2106 ClickHouse's minutes start again from 1970; a clock that counts
# microseconds is beyond it too.
TIME_END = 4_102_444_800_000
_TEXT = frozenset({str})
SHAPES_MAX = 1000  # that are remembered of each type of record, half a KB each

# (record type, version) -> how to bring a record of that version to the next one.
UPGRADES: dict[tuple[type, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}


def encode(record: Record) -> bytes:
    """One line of JSON, without the line's end.

    Fields may hold :class:`orjson.Fragment`: JSON that is already encoded is spliced in as it is.

    Raises:
        CodecError: a value that JSON has no form for (a lone surrogate, an integer over 64 bits).
    """
    try:
        return orjson.dumps(record)
    except (TypeError, ValueError) as exc:
        raise CodecError(f"can't encode {type(record).__name__}: {exc}") from exc


def pack(lines: Iterable[bytes]) -> bytes:
    """An envelope of encoded records."""
    return b"\n".join(lines)


def unpack(envelope: bytes | None) -> Iterator[tuple[int, bytes]]:
    """(line number from 0, line) of each line of an envelope that is not blank; none of a tombstone."""
    for number, line in enumerate((envelope or b"").split(b"\n")):
        if line.strip():
            yield number, line


def decode(kind: type[T], line: bytes) -> T:
    """The record in one line of JSON. Fields that this version does not know are left out.

    Raises:
        CodecError: not JSON, not an object, a newer schema version, a required field missing, a value of the
            wrong type, a time before 1970 or after 2099, an id that is empty or too long; the text says which.
    """
    try:
        raw: Any = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise CodecError(f"not JSON: {exc}") from exc
    if not isinstance(raw, dict):
        raise CodecError(f"a record is a JSON object, this is {_json_type(raw)}")
    fields: _Fields = _FIELDS[kind]
    shape = (*raw, *map(type, raw.values()))
    in_order = fields.shapes.get(shape)
    if in_order is not None and raw["schema_version"] == SCHEMA_VERSION:
        record: Any = fields.make(*(raw.values() if in_order else fields.values(raw)))
    else:
        values = _checked(kind, raw)
        record = kind(**values)
        # Where every field is there and nothing else is, what was checked is the shape and the version.
        whole = len(raw) == len(values) == len(fields.allowed) and raw.get("schema_version") == SCHEMA_VERSION
        if whole and len(fields.shapes) < SHAPES_MAX:
            fields.shapes[shape] = [*raw] == [*fields.allowed]
    if fields.has_attributes and not _TEXT.issuperset(map(type, record.attributes.values())):
        raise CodecError(f"{kind.__name__}.attributes may hold strings alone")
    if fields.has_left_out and record.left_out and not _TEXT.issuperset(map(type, record.left_out)):
        raise CodecError(f"{kind.__name__}.left_out may hold strings alone")
    if fields.has_request_id and not 0 < len(record.request_id) <= REQUEST_ID_MAX:
        if record.request_id:
            raise CodecError(f"{kind.__name__}.request_id is longer than {REQUEST_ID_MAX} characters")
        if "request_id" in fields.required:
            raise CodecError(f"{kind.__name__}.request_id is empty")
    for name in fields.times:
        time = getattr(record, name)
        if not 0 <= time < TIME_END:
            raise CodecError(f"{kind.__name__}.{name} is {time}: no time in Unix milliseconds")
    checked: T = record
    return checked


def _checked(kind: type[T], raw: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record, each of a type that it may have.

    Raises:
        CodecError: see :func:`decode`.
    """
    version = raw.get("schema_version", SCHEMA_VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CodecError(f"schema_version {str(version)[:50]!r} is no version")
    if version > SCHEMA_VERSION:
        raise CodecError(
            f"schema_version {version} is newer than this shadowlane, which reads {SCHEMA_VERSION}"
        )
    while version < SCHEMA_VERSION:
        raw = UPGRADES[kind, version](raw)
        version += 1
    fields, values = _FIELDS[kind], {}
    for name, allowed in fields.allowed.items():
        if name in raw:
            value = raw[name]
            if allowed is not None and type(value) not in allowed:
                raise CodecError(f"{kind.__name__}.{name} can't be {_json_type(value)}")
            values[name] = value
        elif name in fields.required:
            raise CodecError(f"{kind.__name__}.{name} is missing")
    values["schema_version"] = SCHEMA_VERSION
    return values


def dead_letter(
    line: bytes, reason: str, *, component: str, topic: str, partition: int, offset: int, number: int, ts: int
) -> DeadLetter:
    """The dead letter of one line: the payload as it came (cut at 128 KiB), the request's id if any.

    ``reason`` is cut at 1,000 characters: it may quote the line.
    """
    kept = line[:DEAD_LETTER_MAX_BYTES]
    try:
        payload, encoding = kept.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        payload, encoding = base64.b64encode(kept).decode("ascii"), "base64"
    return DeadLetter(
        dead_letter_id=f"{topic}:{partition}:{offset}:{number}:{zlib.crc32(line):08x}",
        ts=ts,
        component=component,
        reason=reason[:REASON_MAX],
        source_topic=topic,
        source_partition=partition,
        source_offset=offset,
        source_line=number,
        request_id=salvage_request_id(line),
        payload=payload,
        payload_encoding=encoding,
        payload_bytes=len(line),
    )


def salvage_request_id(line: bytes) -> str:
    """The request id in a line that is perhaps no JSON, or ``""``."""
    found = _REQUEST_ID.search(line)
    return found.group(1).decode("ascii") if found else ""


_REQUEST_ID = re.compile(rb'"request_id"\s*:\s*"([0-9A-Za-z_.-]{1,200})"')


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _allowed(annotation: Any) -> frozenset[type] | None:
    """The JSON types of one field; None for any."""
    if annotation is Any:
        return None
    if isinstance(annotation, types.UnionType):
        members = [_allowed(member) for member in typing.get_args(annotation)]
        return frozenset().union(*(m for m in members if m is not None))
    origin = typing.get_origin(annotation) or annotation
    return frozenset({int, float}) if origin is float else frozenset({origin})


class _Fields:
    """What is known of a record type's fields.

    ``shapes`` are those that were checked: the names of all its fields in the order of some text, then the types
    of their values; of each, whether the names are in the order of the fields. A service writes few of them, and to
    look one up is much less than checking field by field.
    """

    def __init__(self, kind: type) -> None:
        hints, fields = typing.get_type_hints(kind), dataclasses.fields(kind)
        self.allowed = {f.name: _allowed(hints[f.name]) for f in fields}
        self.required = frozenset(
            f.name
            for f in fields
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        )
        self.times = tuple(name for name in ("ts", "completed_at", "minute") if name in hints)  # all required
        self.has_attributes = "attributes" in hints
        self.has_left_out = "left_out" in hints
        self.has_request_id = "request_id" in hints
        self.shapes: dict[tuple[object, ...], bool] = {}
        self.values = operator.itemgetter(*self.allowed)
        self.make = _positional(kind)


def _positional(kind: type) -> Callable[..., Any]:
    """A record from the values of all its fields, in their order.

    Called by keyword, Python compares each of the names with each: 5 µs of 27 fields, where this takes 0.8.
    """
    names = [f.name for f in dataclasses.fields(kind)]
    scope: dict[str, Any] = {"kind": kind, "new": object.__new__}
    lines = [f"def make({', '.join(names)}):", " record = new(kind)"]
    lines += [*(f" record.{name} = {name}" for name in names), " return record"]
    exec("\n".join(lines), scope)  # noqa: S102  # of nothing but the names in schemas/events.py
    return typing.cast("Callable[..., Any]", scope["make"])


_FIELDS = {
    kind: _Fields(kind)
    for kind in (MirroredRequest, Response, Pair, DeadLetter, LedgerCell, RolloutState, BudgetEntry, Stop)
}
