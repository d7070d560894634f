"""What a POST brings: one exchange, an array of them, or a line each; each read by itself. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import orjson
from pydantic import BeforeValidator, Field, WithJsonSchema

from shadowlane.errors import CodecError
from shadowlane.processors.ingest.completion import ChatCompletion
from shadowlane.processors.ingest.ready import Ready, ready
from shadowlane.producers.outflow import Outflow
from shadowlane.producers.recorded import Line, parse, records
from shadowlane.schemas.codec import TIME_END
from shadowlane.schemas.config import Ingest

MOST = 1000
"""Exchanges in one POST."""

NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")

RequestId = Annotated[
    str,
    Field(
        pattern=r"^[0-9A-Za-z_.-]{1,200}$",
        description="Yours: what is posted again under it is the same request. Left out: each POST is a new one.",
    ),
]


def _number(value: Any) -> Any:
    """pydantic takes a number in quotes, and a boolean, as a number too."""
    if isinstance(value, str | bool):
        raise ValueError("is no number")
    return value


def _written(value: Any) -> Any:
    """pydantic takes a number of seconds in quotes, and a date alone, as a time too."""
    if not isinstance(value, str) or "T" not in value.upper():
        raise ValueError("is no time; write Unix milliseconds or ISO 8601")
    return value


Milliseconds = Annotated[int, Field(ge=0, lt=TIME_END), BeforeValidator(_number)]
Moment = Annotated[datetime, BeforeValidator(_written)]
Answer = Annotated[
    dict[str, Any] | str,
    WithJsonSchema(
        {
            "description": "What was served: a text, a chat.completion, or its parts by name",
            "anyOf": [
                {"type": "string"},
                {"$ref": "#/components/schemas/Served"},
                {"$ref": "#/components/schemas/ChatCompletion"},
            ],
        }
    ),
]


class Exchange(Line):
    """One request, and what was served to it."""

    response: Answer
    ts: Milliseconds | Moment | None = None
    request_id: RequestId | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """An exchange that is not taken, and why."""

    error: str
    request_id: str = ""


class BadBodyError(Exception):
    """Nothing of a body can be read; the text says why."""


def parts(body: bytes, content_type: str) -> list[Any]:
    """The JSON of each exchange in a body; a :class:`Refused` for each line of NDJSON that is none.

    Raises:
        BadBodyError: there is no exchange in it, or there are more than :data:`MOST`.
    """
    if content_type in NDJSON:
        lines = [line for line in body.split(b"\n") if line.strip()]
        _check(len(lines))
        return [_line(line) for line in lines]
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise BadBodyError(f"the body is no JSON: {exc}") from exc
    found = raw if isinstance(raw, list) else [raw]
    _check(len(found))
    return found


def read(part: Any, ingest: Ingest, outflow: Outflow, now_ms: int) -> Ready | Refused:
    """One exchange, ready to be sent. ``now_ms`` is the time of those that name none, in Unix milliseconds."""
    if isinstance(part, Refused):
        return part
    try:
        exchange = parse(part, Exchange)
        if isinstance(exchange.response, dict) and "choices" in exchange.response:
            parse(exchange.response, ChatCompletion)
        both = records(
            exchange,
            service=ingest.service,
            route=ingest.route,
            now_ms=now_ms,
            request_id=exchange.request_id or "",
        )
        return ready(outflow, *both)
    except CodecError as exc:
        return Refused(str(exc), id_of(part))


def id_of(part: Any) -> str:
    """The id that something unreadable names, or ""."""
    request_id = part.get("request_id") if isinstance(part, dict) else None
    return request_id if isinstance(request_id, str) else ""


def _line(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        return Refused(f"not JSON: {exc}")


def _check(count: int) -> None:
    if not 1 <= count <= MOST:
        raise BadBodyError(f"the body has {count} exchanges: send 1 to {MOST} at once")
