"""One call to a model as a log has it, whatever the log's format; and what the readers of the formats share. Pure."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from shadowlane.errors import CodecError
from shadowlane.schemas.answers import READERS, Answer, error_message
from shadowlane.schemas.answers.answer import SHOWN
from shadowlane.schemas.codec import TIME_END
from shadowlane.schemas.events import Failure, Protocol

THROTTLED = (429, 529)
_ENDPOINTS = {
    "/chat/completions": Protocol.OPENAI_CHAT,
    "/responses": Protocol.OPENAI_RESPONSES,
    "/messages": Protocol.ANTHROPIC_MESSAGES,
}


@dataclass(slots=True)
class Reply:
    """What was served. Latencies in milliseconds; what the log does not hold is as it is here."""

    output: str = ""
    tool_calls: list[dict[str, str]] | None = None  # {"name": str, "arguments": JSON text}
    finish_reason: str = ""
    model: str = ""
    error: str = ""  # a Failure, or "" where there is an answer
    error_message: str = ""
    status: int = 0
    latency_ms: float = 0.0
    ttft_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(slots=True)
class Entry:
    """A request, and what was served. ``source_id`` is the log's own name of the call, ``""`` where it has none."""

    protocol: str
    body: Any
    reply: Reply
    ts: int | None = None  # Unix milliseconds; None where the log does not say
    source_id: str = ""
    model: str = ""
    service: str = ""
    route: str = ""
    key: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    traceparent: str = ""


def answered(protocol: str, body: Any, *, place: str = "response") -> Reply:
    """What an API's answer says. A text that begins as server-sent events do is a stream.

    Raises:
        CodecError: it is no answer of that API, or it breaks off.
    """
    reader = READERS[protocol]
    if isinstance(body, str):
        if not body.lstrip().startswith(("data:", "event:", ":")):
            raise CodecError(f"{place}: a text that is no stream of server-sent events")
        found = reader.stream([body.encode("utf-8", "replace")])
    else:
        found = reader.whole(orjson.dumps(body))
    if found.failed:
        return failed(429 if found.throttled else 0, found.failed)
    if not found.complete:
        raise CodecError(f"{place}: {found.problem}")
    return of_answer(found)


def of_answer(found: Answer) -> Reply:
    return Reply(
        output=found.output,
        tool_calls=found.tool_calls or None,
        finish_reason=found.finish_reason,
        model=found.model,
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
    )


def failed(status: int, message: str, failure: Failure | None = None) -> Reply:
    """A call that failed, as the mirror would have it. ``status`` is 0 where there was none."""
    kind = Failure.THROTTLED if status in THROTTLED else failure or Failure.HTTP
    return Reply(error=kind, error_message=message[:SHOWN], status=status)


def error_text(body: Any) -> str:
    """The message of an error's body, of any API."""
    return body[:SHOWN] if isinstance(body, str) else error_message(orjson.dumps(body))


def protocol_of(body: dict[str, Any], response: Any = None, url: str = "") -> Protocol | None:
    """The API of a request: by its URL, else by its answer, else by its members; None where nothing tells."""
    path = url.split("?", 1)[0].rstrip("/")
    for end, protocol in _ENDPOINTS.items():
        if path.endswith(end):
            return protocol
    if isinstance(response, dict):
        if response.get("type") == "message":
            return Protocol.ANTHROPIC_MESSAGES
        if response.get("object") == "response":
            return Protocol.OPENAI_RESPONSES
        if "choices" in response:
            return Protocol.OPENAI_CHAT
    if "messages" in body:
        anthropic = "anthropic_version" in body or "system" in body or "stop_sequences" in body
        return Protocol.ANTHROPIC_MESSAGES if anthropic else Protocol.OPENAI_CHAT
    return Protocol.OPENAI_RESPONSES if "input" in body and "model" in body else None


def time_ms(value: Any, place: str, unit: str = "") -> int:
    """A time as Unix milliseconds. ``unit``: ``s``, ``ms``, ``iso8601``; "" takes ISO 8601 and, by their size, both
    of the others. A time of day without a zone is UTC.

    Raises:
        CodecError: it is no time, or none before 2100.
    """
    ms = _ms(value, unit)
    if ms is None or not 0 <= ms < TIME_END:
        raise CodecError(f"{place}: {_shown(value)} is no time before 2100; write {_FORMS[unit]}")
    return int(ms)


_FORMS = {
    "": "Unix seconds, Unix milliseconds or ISO 8601",
    "s": "Unix seconds",
    "ms": "Unix milliseconds",
    "iso8601": "ISO 8601",
}
_SECONDS_END = 100_000_000_000  # as seconds the year 5138, as milliseconds March 1973


def _ms(value: Any, unit: str) -> float | None:
    if isinstance(value, str) and unit in ("", "iso8601"):
        try:
            at = datetime.fromisoformat(value.strip())
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000
        except (ValueError, OverflowError):
            return None
    if isinstance(value, str) and re.fullmatch(r"\d{1,16}(\.\d{1,9})?", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or unit == "iso8601" or value != value:
        return None
    seconds = unit == "s" or (not unit and abs(value) < _SECONDS_END)
    if abs(value) > 1e16:
        return None
    return round(value * 1000) if seconds else value


def span_ms(begin: int | None, end: int | None) -> float:
    """From one time to another; 0.0 where one is missing, or the clock went back."""
    return float(max(0, end - begin)) if begin is not None and end is not None else 0.0


def texts(raw: dict[str, Any]) -> dict[str, str]:
    """Attributes: what is a text, a number or a truth value, as texts; what is empty is left out."""
    found = {name: _text(value) for name, value in raw.items()}
    return {name: value for name, value in found.items() if value}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (str, int, float)) else ""


def an_object(value: Any, place: str) -> dict[str, Any]:
    """``value``, which has to be a JSON object.

    Raises:
        CodecError: it is none.
    """
    if not isinstance(value, dict):
        raise CodecError(f"{place}: {'is missing' if value is None else 'is no JSON object'}")
    return value


def string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """A duration or the like: a number of at least 0."""
    fine = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e15
    return float(value) if fine else None


def _shown(value: Any) -> str:
    return repr(value)[:60]
