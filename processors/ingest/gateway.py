"""What a gateway's mirror copies (a request), and what its access log or a filter says (what was served). Pure.

Envoy copies to a cluster with ``-shadow`` behind the host's name, NGINX to a location of its own; both leave the path
as it is, and neither sends what was served.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
import pydantic
from pydantic import Field

from shadowlane.errors import CodecError
from shadowlane.processors.ingest.completion import ChatCompletion
from shadowlane.processors.ingest.exchanges import Answer, Milliseconds, RequestId
from shadowlane.processors.ingest.ready import without_content
from shadowlane.producers.ids import valid_request_id, valid_traceparent
from shadowlane.producers.recorded import Line, parse, records
from shadowlane.schemas.answers import READERS, error_message
from shadowlane.schemas.config import Ingest
from shadowlane.schemas.events import Failure, MirroredRequest, Protocol, Response, Role

SHADOW = "-shadow"
THROTTLED = (429, 529)
_APIS = {
    "/chat/completions": Protocol.OPENAI_CHAT,
    "/responses": Protocol.OPENAI_RESPONSES,
    "/messages": Protocol.ANTHROPIC_MESSAGES,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a gateway copied it. ``service``: the host, without what Envoy puts behind it."""

    request_id: str
    ts: int
    service: str
    path: str
    body: bytes
    key: str
    traceparent: str
    host: str = ""  # with its port, without what Envoy puts behind it


class ServedCall(pydantic.BaseModel):
    """What was served to a request that a gateway copied. Other keys are left unread."""

    request_id: RequestId
    status: Annotated[int, Field(strict=True, ge=0, le=999)] = 0
    body: str | None = Field(default=None, description="as it was sent: JSON, an event stream, a text")
    content_type: str = Field(default="", description="of body; text/event-stream is read as a stream")
    response: Answer | None = Field(default=None, description="instead of body")
    latency_ms: Annotated[float, Field(strict=True, ge=0)] | None = None
    latency_s: Annotated[float, Field(strict=True, ge=0)] | None = Field(
        default=None, description="instead of latency_ms: NGINX logs seconds"
    )
    ttft_ms: Annotated[float, Field(strict=True, ge=0)] | None = None
    ts: Milliseconds | None = Field(default=None, description="when the request came")
    service: str = ""
    route: str = ""
    key: str = ""
    attributes: dict[str, str] = {}


def host_of(headers: Mapping[str, str]) -> str:
    """The host that was asked, without its port."""
    host = headers.get("Host", "")
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def asked(path: str, headers: Mapping[str, str], body: bytes, key_header: str, now_ms: int) -> Asked:
    """A copied request.

    Raises:
        CodecError: it has no id by which to find what was served.
    """
    request_id = headers.get("X-Request-Id", "")
    if not valid_request_id(request_id):
        raise CodecError("x-request-id is missing, or none: have the gateway set one, and log it")
    copied = host_of(headers)
    host = copied.removesuffix(SHADOW)
    return Asked(
        request_id,
        now_ms,
        host,
        path,
        body,
        headers.get(key_header, "") if key_header else "",
        valid_traceparent(headers.get("Traceparent", "")),
        host + headers.get("Host", "").removeprefix(copied),
    )


def read_served(part: Any) -> ServedCall:
    """Raises CodecError, which says what is wrong."""
    call = parse(part, ServedCall)
    if isinstance(call.response, dict) and "choices" in call.response:
        parse(call.response, ChatCompletion)
    if call.response is not None:  # whether it can be read is told to who sent it
        records(_line({}, call), service="-", route="-", now_ms=0)
    return call


def place_of(asked: Asked | None, served: ServedCall | None, ingest: Ingest) -> tuple[str, str]:
    """(service, route) of a request, or of the half that there is."""
    service = (served.service if served else "") or (asked.service if asked else "")
    route = (served.route if served else "") or (asked.path if asked else "")
    return service or ingest.service, route or ingest.route


def joined(asked: Asked, served: ServedCall, ingest: Ingest, now_ms: int) -> tuple[MirroredRequest, Response]:
    """Both records of a request. What has no body that can be read goes without content."""
    service, route = place_of(asked, served, ingest)
    protocol = next((api for end, api in _APIS.items() if asked.path.endswith(end)), Protocol.JSON)
    latency_ms = served.latency_ms if served.latency_ms is not None else (served.latency_s or 0.0) * 1000
    ts = asked.ts if served.ts is None else served.ts
    response = Response(
        request_id=asked.request_id,
        ts=ts,
        completed_at=max(now_ms, ts),
        service=service,
        route=route,
        role=Role.SERVED,
        status=served.status,
        latency_ms=round(latency_ms, 3),
        ttft_ms=served.ttft_ms,
        attributes=served.attributes,
        traceparent=asked.traceparent,
    )
    request = MirroredRequest(
        request_id=asked.request_id,
        ts=ts,
        service=service,
        route=route,
        protocol=protocol,
        host=asked.host,
        key=served.key or asked.key,
        attributes=served.attributes,
        traceparent=asked.traceparent,
    )
    if served.status >= 400:
        response.error = Failure.THROTTLED if served.status in THROTTLED else Failure.HTTP
    try:
        request.body = orjson.loads(asked.body)
    except orjson.JSONDecodeError:
        return without_content(request, response, "request_not_json")
    model = request.body.get("model") if isinstance(request.body, dict) else None
    request.model = response.model = model if isinstance(model, str) else ""
    if served.response is not None:
        _, read = records(_line({}, served), service=service, route=route, now_ms=now_ms)
        for name in ("output", "tool_calls", "finish_reason", "input_tokens", "output_tokens"):
            setattr(response, name, getattr(read, name))
        response.error = response.error or read.error
        response.error_message = read.error_message
    elif served.body is not None:
        _read_body(served, protocol, response)
    elif not response.error:
        return without_content(request, response, "response_not_logged")
    return request, response


def _read_body(served: ServedCall, protocol: str, response: Response) -> None:
    body = (served.body or "").encode("utf-8", "replace")
    reader = READERS.get(protocol)
    if served.status >= 400:
        response.error_message = error_message(body)
        return
    if reader is None:
        response.output = served.body or ""
        return
    is_stream = served.content_type.startswith("text/event-stream")
    found = reader.stream([body]) if is_stream else reader.whole(body)
    response.output, response.tool_calls = found.output, found.tool_calls or None
    response.finish_reason = found.finish_reason
    response.input_tokens, response.output_tokens = found.input_tokens, found.output_tokens
    if found.failed:
        response.error = Failure.THROTTLED if found.throttled else Failure.HTTP
        response.error_message = found.failed
    elif not found.complete:
        response.error, response.error_message = Failure.BAD_RESPONSE, found.problem


def _line(request: dict[str, Any], call: ServedCall) -> Line:
    assert call.response is not None
    return Line(request=request, response=call.response)
