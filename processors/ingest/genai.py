"""A GenAI span as a request and what was served: the one place that knows OpenTelemetry's names. Pure.

Source: open-telemetry/semantic-conventions-genai, spans of inference, still in development. What is asked becomes the
body of a chat completion, whatever provider it went to: the parts of messages have no other common form.
"""

from typing import Any

import orjson

from shadowlane.processors.ingest.otlp import Span
from shadowlane.processors.ingest.ready import without_content
from shadowlane.schemas.config import Ingest
from shadowlane.schemas.events import Failure, MirroredRequest, Protocol, Response, Role

OPERATIONS = ("chat", "generate_content", "text_completion")
"""Values of gen_ai.operation.name that ask a model for an answer: embeddings, agents and tools do not."""

NO_CONTENT, OLDER, OTHER_PART = "otel_no_content", "otel_older_content", "otel_other_part"
"""Why a span goes out without content: it has none; in events or attributes of before; a part that has no chat form."""

_PARAMETERS = {
    "gen_ai.request.temperature": "temperature",
    "gen_ai.request.top_p": "top_p",
    "gen_ai.request.max_tokens": "max_tokens",
    "gen_ai.request.frequency_penalty": "frequency_penalty",
    "gen_ai.request.presence_penalty": "presence_penalty",
    "gen_ai.request.stop_sequences": "stop",
    "gen_ai.request.seed": "seed",
}
_ATTRIBUTES = ("server.address", "gen_ai.provider.name", "gen_ai.system")
_FINISHED = {"tool_call": "tool_calls"}


def exchange(span: Span, ingest: Ingest) -> tuple[MirroredRequest, Response] | None:
    """Both records of a span; None of a span that asked no model. Ids, so that it counts once, are the span's own."""
    said = span.attributes
    operation = said.get("gen_ai.operation.name")
    if operation not in OPERATIONS:
        return None
    ts = span.start_ns // 1_000_000
    service, model = span.service or ingest.service, _text(said.get("gen_ai.request.model"))
    attributes = {name: _text(said[name]) for name in _ATTRIBUTES if said.get(name)}
    request = MirroredRequest(
        request_id=f"{span.trace_id}-{span.span_id}",
        ts=ts,
        service=service,
        route=operation,
        protocol=Protocol.OPENAI_CHAT,
        key=_text(said.get("gen_ai.conversation.id")),
        model=model,
        attributes=attributes,
        traceparent=f"00-{span.trace_id}-{span.span_id}-01",
    )
    response = Response(
        request_id=request.request_id,
        ts=ts,
        completed_at=span.end_ns // 1_000_000,
        service=service,
        route=operation,
        role=Role.SERVED,
        model=model,
        attributes=attributes,
        traceparent=request.traceparent,
        latency_ms=round((span.end_ns - span.start_ns) / 1e6, 3),
        input_tokens=_count(said.get("gen_ai.usage.input_tokens")),
        output_tokens=_count(said.get("gen_ai.usage.output_tokens")),
        finish_reason=_finished(said.get("gen_ai.response.finish_reasons")),
    )
    if span.failed or said.get("error.type"):
        response.error, response.status = _failure(_text(said.get("error.type")))
        response.error_message = span.message or _text(said.get("error.type"))
    try:
        _read(said, request, response)
    except _BareError as exc:
        older = exc.reason == NO_CONTENT and _has_older(span)
        return without_content(request, response, OLDER if older else exc.reason)
    except (AttributeError, TypeError):  # an object where the convention has a list, and the like
        return without_content(request, response, OTHER_PART)
    return request, response


class _BareError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _read(said: dict[str, Any], request: MirroredRequest, response: Response) -> None:
    """What was asked and answered. Raises _BareError where that can't be told."""
    asked, answered = _parsed(said, "gen_ai.input.messages"), _parsed(said, "gen_ai.output.messages")
    if asked is None or (answered is None and not response.error):
        raise _BareError(NO_CONTENT)
    messages: list[dict[str, Any]] = []
    if system := _parsed(said, "gen_ai.system_instructions"):
        messages.append({"role": "system", "content": _joined(system)})
    for message in asked:
        messages += _messages(message)
    body: dict[str, Any] = {"model": request.model, "messages": messages}
    body |= {name: said[key] for key, name in _PARAMETERS.items() if said.get(key) is not None}
    if tools := _parsed(said, "gen_ai.tool.definitions"):
        body["tools"] = [_tool(tool) for tool in tools]
    request.body = body
    if answered:
        (first, *_) = _messages(answered[0])
        response.output = first.get("content") or ""
        calls = first.get("tool_calls", ())
        response.tool_calls = [call["function"] for call in calls] or None
        response.finish_reason = response.finish_reason or _finished([answered[0].get("finish_reason")])


def _messages(message: dict[str, Any]) -> list[dict[str, Any]]:
    """One message of the convention as one of a chat; each tool's result is a message of its own."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for part in message.get("parts", ()):
        kind = part.get("type")
        if kind == "text":
            texts.append(_text(part.get("content")))
        elif kind == "tool_call":
            function = {"name": _text(part.get("name")), "arguments": _json_text(part.get("arguments"))}
            calls.append({"id": _text(part.get("id")), "type": "function", "function": function})
        elif kind == "tool_call_response":
            result = part.get("response", part.get("result"))
            results.append(
                {"role": "tool", "tool_call_id": _text(part.get("id")), "content": _json_text(result)}
            )
        elif kind != "reasoning":  # the model's own, and not asked of another one
            raise _BareError(OTHER_PART)
    if results and not texts and not calls:
        return results
    made: dict[str, Any] = {"role": _text(message.get("role")), "content": "".join(texts)}
    return [made | ({"tool_calls": calls} if calls else {}), *results]


def _joined(parts: list[dict[str, Any]]) -> str:
    if any(part.get("type") != "text" for part in parts):
        raise _BareError(OTHER_PART)
    return "\n".join(_text(part.get("content")) for part in parts)


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if "function" in tool:
        return tool
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _parsed(said: dict[str, Any], name: str) -> list[dict[str, Any]] | None:
    """A list of objects: as a structure, or as its JSON. None where it is missing."""
    value = said.get(name)
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise _BareError(NO_CONTENT) from None
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise _BareError(NO_CONTENT)
    return value


def _has_older(span: Span) -> bool:
    """Whether it has content as it was recorded before: in events, or in attributes by number."""
    names = (*span.events, *span.attributes)
    older = ("gen_ai.prompt", "gen_ai.completion", "gen_ai.content.")
    return any(name.startswith(older) or name.endswith((".message", "gen_ai.choice")) for name in names)


def _failure(kind: str) -> tuple[Failure, int]:
    """(what it is here, HTTP status) of an error.type: a status, or a class's name."""
    status = int(kind) if kind.isdecimal() and len(kind) == 3 else 0
    if status in (429, 529) or "RateLimit" in kind:
        return Failure.THROTTLED, status
    if "timeout" in kind.lower():
        return Failure.TIMEOUT, status
    return (Failure.HTTP, status) if status else (Failure.EXCEPTION, 0)


def _finished(reasons: Any) -> str:
    first = reasons[0] if isinstance(reasons, list) and reasons else ""
    return _FINISHED.get(first, first) if isinstance(first, str) else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode() if value is not None else ""


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
