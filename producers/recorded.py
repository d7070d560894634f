"""Requests with the responses served to them, in our own JSON: a line to replay, a call that is posted. Pure."""

from datetime import datetime
from typing import Any, TypeVar

import orjson
import pydantic
from pydantic_core import ErrorDetails

from shadowlane.errors import CodecError
from shadowlane.producers.ids import new_request_id, valid_traceparent
from shadowlane.schemas.answers import openai_chat
from shadowlane.schemas.codec import TIME_END
from shadowlane.schemas.events import Failure, MirroredRequest, Protocol, Response, Role


class Served(pydantic.BaseModel):
    """What was served, in our own terms."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    output: str = ""
    tool_calls: list[dict[str, str]] | None = None
    finish_reason: str = ""
    model: str = ""
    error: Failure | str = ""
    error_message: str = ""
    status: int = 0
    latency_ms: float = 0.0
    ttft_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class Line(pydantic.BaseModel):
    """One line of a file to replay."""

    model_config = pydantic.ConfigDict(extra="forbid")

    request: dict[str, Any]
    response: dict[str, Any] | str
    protocol: Protocol | None = None
    service: str | None = None
    route: str | None = None
    key: str = ""
    attributes: dict[str, str] = {}
    ts: int | datetime | None = None
    traceparent: str = ""


L = TypeVar("L", bound=pydantic.BaseModel)


def parse(raw: Any, kind: type[L]) -> L:
    """What is of that kind, of its JSON.

    Raises:
        CodecError: says what is wrong in it, and where.
    """
    try:
        return kind.model_validate(raw)
    except pydantic.ValidationError as exc:
        raise CodecError(told(exc)) from exc


def told(error: pydantic.ValidationError) -> str:
    """What is wrong, each fault once."""
    return "; ".join(dict.fromkeys(map(_said, error.errors())))


def records(
    read: Line, *, service: str, route: str, now_ms: int, request_id: str = ""
) -> tuple[MirroredRequest, Response]:
    """The request and the response of a line, under ``request_id``, or a new id where that is "".

    Raises:
        CodecError: the response can't be read, or the time is none.
    """
    try:
        served = _served(read.response)
    except pydantic.ValidationError as exc:
        raise CodecError(told(exc)) from exc
    ts = (
        int(read.ts.timestamp() * 1000)
        if isinstance(read.ts, datetime)
        else now_ms
        if read.ts is None
        else read.ts
    )
    if not 0 <= ts < TIME_END:
        raise CodecError(f"ts: {ts} is no time before 2100; write Unix milliseconds or ISO 8601")
    model = read.request.get("model")
    asked = model if isinstance(model, str) else ""
    protocol = read.protocol or (Protocol.OPENAI_CHAT if "messages" in read.request else Protocol.JSON)
    request = MirroredRequest(
        request_id=request_id or new_request_id(ts),
        ts=ts,
        service=read.service or service,
        route=read.route or route,
        protocol=protocol,
        key=read.key,
        model=asked,
        body=read.request,
        attributes=read.attributes,
        traceparent=valid_traceparent(read.traceparent),
    )
    response = Response(
        request_id=request.request_id,
        ts=ts,
        completed_at=max(now_ms, ts),
        service=request.service,
        route=request.route,
        role=Role.SERVED,
        attributes=read.attributes,
        traceparent=request.traceparent,
        **served.model_dump(exclude={"model"}),
        model=asked or served.model,
    )
    return request, response


def _served(response: dict[str, Any] | str) -> Served:
    if isinstance(response, str):
        return Served(output=response)
    if "choices" not in response:
        return Served.model_validate(response)
    completion = openai_chat.read(orjson.dumps(response))
    if not completion.complete:
        raise CodecError(f"response: {completion.problem}")
    return Served(
        output=completion.output,
        tool_calls=completion.tool_calls or None,
        finish_reason=completion.finish_reason,
        model=completion.model,
        input_tokens=completion.input_tokens,
        output_tokens=completion.output_tokens,
    )


def _said(error: ErrorDetails) -> str:
    """One fault: where, and what; a value may be one of several forms, so some faults say the same."""
    place, kind = _place(error["loc"]), error["type"]
    if kind == "missing":
        return f"{place}: is missing"
    if kind == "extra_forbidden":
        return f"{place}: no such key"
    if place.partition(".")[0] == "ts":
        return "ts: is no time; write Unix milliseconds or ISO 8601"
    if place == "response":
        return "response: is neither a text nor an object"
    if place == "line":
        return "line: is no JSON object"
    return f"{place}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _place(location: tuple[str | int, ...]) -> str:
    # Of `response: dict | str`, the union's own branch names say nothing to a user.
    return (
        ".".join(str(part) for part in location if part not in ("dict[str,any]", "str", "int", "datetime"))
        or "line"
    )
