"""Our own format: one line of JSON a request, as docs/replay.md has it. Pure."""

from dataclasses import fields
from datetime import datetime
from typing import Any

from shadowlane.producers import recorded
from shadowlane.producers.ids import valid_traceparent
from shadowlane.producers.logs.entry import Entry, Reply, answered, protocol_of, time_ms
from shadowlane.schemas.answers import READERS
from shadowlane.schemas.events import Protocol


class Line(recorded.Line):
    """One line of a file to replay. ``id``: what the log calls it; the same one is the same request."""

    id: str = ""


KEYS = frozenset(Line.model_fields)
_ANSWERS = ("choices", "content", "object")
"""Of these an answer of an API has at least one, and what is in our own terms has none."""


def fits(raw: dict[str, Any]) -> bool:
    return {"request", "response"} <= raw.keys() <= KEYS


def read(raw: Any) -> Entry:
    """One line.

    Raises:
        CodecError: says what is wrong in it.
    """
    line = recorded.parse(raw, Line)
    protocol = line.protocol or protocol_of(line.request, line.response) or Protocol.JSON
    reply = _served(protocol, line.response)
    model = line.request.get("model")
    asked = model if isinstance(model, str) else ""
    ts = int(line.ts.timestamp() * 1000) if isinstance(line.ts, datetime) else line.ts
    return Entry(
        protocol=protocol,
        body=line.request,
        reply=reply,
        ts=None if ts is None else time_ms(ts, "ts", "ms"),
        source_id=line.id,
        model=asked,
        service=line.service or "",
        route=line.route or "",
        key=line.key,
        attributes=line.attributes,
        traceparent=valid_traceparent(line.traceparent),
    )


def _served(protocol: str, response: dict[str, Any] | str) -> Reply:
    if isinstance(response, str):
        return Reply(output=response)
    api = Protocol.OPENAI_CHAT if "choices" in response else protocol
    if api in READERS and any(name in response for name in _ANSWERS):
        return answered(api, response)
    served = recorded.parse(response, recorded.Served)
    return Reply(**{each.name: getattr(served, each.name) for each in fields(Reply)})
