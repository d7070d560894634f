"""Logs of HTTP calls to OpenAI's and Anthropic's APIs: a line has the request's body and the response's. Pure.

Neither vendor writes such a log; proxies and services do, with the bodies as they are or under ``body``, beside the
method, the URL and the status. Bodies: https://platform.openai.com/docs/api-reference,
https://platform.claude.com/docs/en/api/messages.
"""

from typing import Any

from shadowlane.errors import CodecError
from shadowlane.producers.logs.entry import (
    Entry,
    Reply,
    an_object,
    answered,
    error_text,
    failed,
    number,
    protocol_of,
    string,
    time_ms,
)
from shadowlane.schemas.events import Protocol

OPENAI = (Protocol.OPENAI_CHAT, Protocol.OPENAI_RESPONSES)
ANTHROPIC = (Protocol.ANTHROPIC_MESSAGES,)
_REQUEST, _RESPONSE = ("request", "request_body"), ("response", "response_body")
_STATUS = ("status_code", "status")
_URL = ("url", "path", "endpoint")
_TIME = ("ts", "timestamp", "time", "created_at", "start_time")
_KEY = ("key", "session_id", "user_id")
_LATENCY = ("latency_ms", "duration_ms")


def fits(raw: dict[str, Any], protocols: tuple[Protocol, ...]) -> bool:
    """Whether it is a log's line of one of these APIs, and none of ours."""
    request, response = _first(raw, _REQUEST), _first(raw, _RESPONSE)
    if not isinstance(request, dict) or response is None:
        return False
    body, url = _unwrapped(request), _url(raw, request)
    said = _unwrapped(response) if isinstance(response, dict) else response
    return isinstance(body, dict) and protocol_of(body, said, url) in protocols


def read(raw: Any, protocols: tuple[Protocol, ...]) -> Entry:
    """One line.

    Raises:
        CodecError: says what is wrong in it.
    """
    line = an_object(raw, "line")
    wrapped = an_object(_first(line, _REQUEST), "request")
    body = an_object(_unwrapped(wrapped), "request.body")
    response = _first(line, _RESPONSE)
    said = _unwrapped(response) if isinstance(response, dict) else response
    protocol = protocol_of(body, said, _url(line, wrapped))
    if protocol is None or protocol not in protocols:
        asked = " or ".join(protocols)
        raise CodecError(f"request: is none of {asked}" + (f", but {protocol}" if protocol else ""))
    status = _status(response) or _status(line)
    reply = _reply(protocol, line, said, status)
    reply.status = reply.status or status
    reply.latency_ms = number(_first(line, _LATENCY)) or 0.0
    reply.ttft_ms = number(line.get("ttft_ms"))
    answer = said if isinstance(said, dict) else {}
    return Entry(
        protocol=protocol,
        body=body,
        reply=reply,
        ts=_when(line, answer),
        source_id=string(_first(line, ("id", "request_id"))) or string(answer.get("id")),
        model=string(body.get("model")),
        service=string(line.get("service")),
        route=string(line.get("route")),
        key=string(_first(line, _KEY)),
    )


def reply_of(protocol: str, said: Any, status: int) -> Reply:
    """What the body of a response with this status says; 0: none was told, and an error says so itself.

    Raises:
        CodecError: it is no answer of that API.
    """
    if status >= 400:
        return failed(status, error_text(said))
    if isinstance(said, dict) and said.get("error") and said.get("object") != "response":
        return failed(_HTTP.get(_kind(said["error"]), 0), error_text(said))
    reply = answered(protocol, said)
    reply.status = reply.status or status
    return reply


def _reply(protocol: str, line: dict[str, Any], said: Any, status: int) -> Reply:
    if said is None:
        error = line.get("error")
        if not error and status < 400:
            raise CodecError("response: is missing, and there is no error")
        return failed(status or _HTTP.get(_kind(error), 0), error_text(error or f"status {status}"))
    return reply_of(protocol, said, status)


# https://platform.claude.com/docs/en/api/errors; of OpenAI's the code says it.
_HTTP = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def _kind(error: Any) -> str:
    return string(error.get("type")) or string(error.get("code")) if isinstance(error, dict) else ""


def _when(line: dict[str, Any], answer: dict[str, Any]) -> int | None:
    for name in _TIME:
        if line.get(name) is not None:
            return time_ms(line[name], name)
    for name in ("created", "created_at"):  # of a completion, of a response: Unix seconds
        if isinstance(answer.get(name), (int, float)):
            return time_ms(answer[name], f"response.{name}", "s")
    return None


def _first(raw: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((raw[name] for name in names if raw.get(name) is not None), None)


def _unwrapped(message: dict[str, Any]) -> Any:
    """The body of a request or a response, which may stand there alone or beside its status, URL and headers."""
    return message["body"] if "body" in message else None if _STATUS[0] in message else message


def _url(line: dict[str, Any], request: dict[str, Any]) -> str:
    return string(_first(line, _URL)) or string(_first(request, _URL) if "body" in request else None)


def _status(message: Any) -> int:
    found = _first(message, _STATUS) if isinstance(message, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and 100 <= found < 600 else 0
