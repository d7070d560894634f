"""What an arm is asked, and what its answer says. Pure: JSON in, JSON out, no HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from shadowlane.schemas.config import Version
from shadowlane.schemas.events import Failure, MirroredRequest, Protocol

OPENAI_CHAT = (
    Protocol.OPENAI_CHAT
)  # by a name of its own: an Enum's attributes take Python five times as long


class BadAnswerError(ValueError):
    """A 200 that is not what the protocol says."""


@dataclass(slots=True)
class Answer:
    """The part of an answer that a response keeps."""

    output: str
    tool_calls: list[dict[str, str]] | None = None
    finish_reason: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None


def without_question(request: MirroredRequest) -> tuple[Failure, str] | None:
    """Why there is nothing to ask anyone; None where there is."""
    if request.body is None:
        return Failure.NO_CONTENT, "the request was mirrored without its body"
    if request.protocol == OPENAI_CHAT and not isinstance(request.body, dict):
        return Failure.UNSUPPORTED, "the body of a chat completion is a JSON object, and this is none"
    return None


def why_not(request: MirroredRequest, version: Version) -> tuple[Failure, str] | None:
    """Why a version of this kind can't be asked that request; None where it can."""
    if version.kind == "openai" and request.protocol != OPENAI_CHAT:
        return Failure.UNSUPPORTED, f"a version of kind openai can't answer {request.protocol!r}"
    return None


def ask(request: MirroredRequest, version: Version) -> Any:
    """The JSON body that a version is sent: the request's own, with the version's changes.

    Streaming is switched off: nobody reads along.
    """
    if request.protocol != OPENAI_CHAT:
        return request.body
    body = changed(request.body, version)
    body.pop("stream_options", None)
    body["stream"] = False
    return body


def changed(body: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """A copy of a chat completion's body with the version's model and overrides; of kind http, as it is."""
    body = dict(body)
    if version.kind == "openai":
        if version.model:
            body["model"] = version.model
        for key, value in version.overrides.items():
            if value is None:
                body.pop(key, None)
            else:
                body[key] = value
    return body


def read(protocol: str, payload: bytes) -> Answer:
    """The answer in the body of a successful response.

    Raises:
        BadAnswerError: no JSON, or no chat completion where that is the protocol.
    """
    if protocol != OPENAI_CHAT and not payload.strip():
        return Answer("")
    try:
        raw = orjson.loads(payload)
    except orjson.JSONDecodeError as exc:
        raise BadAnswerError(f"not JSON: {exc}") from exc
    if protocol != OPENAI_CHAT:
        return Answer(payload.decode("utf-8").strip())
    return _completion(raw)


def error_in(payload: bytes) -> Any:
    """The ``error`` of a failed response: an object, a text, or None."""
    try:
        raw = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    return raw.get("error") if isinstance(raw, dict) else None


def error_text(error: Any, payload: bytes) -> str:
    """What a failed response says of itself, for people."""
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return str(error["message"])
    return error if isinstance(error, str) else payload[:4096].decode("utf-8", "replace")


def _completion(raw: Any) -> Answer:
    choices = raw.get("choices") if isinstance(raw, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        said = raw.get("error") if isinstance(raw, dict) else None
        raise BadAnswerError("no choices" + (f": {error_text(said, b'')}" if said else ""))
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise BadAnswerError("the first choice has no message")
    usage = raw.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    finish_reason = choices[0].get("finish_reason")
    return Answer(
        output=_text(message),
        tool_calls=_tool_calls(message),
        finish_reason=finish_reason if isinstance(finish_reason, str) else "",
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
    )


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):  # parts, as some servers answer
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    if content is None:
        content = message.get("refusal")
    if content is None:
        return ""
    if not isinstance(content, str):
        raise BadAnswerError("the message's content is no text")
    return content


def _tool_calls(message: dict[str, Any]) -> list[dict[str, str]] | None:
    calls = message.get("tool_calls") or []
    if not calls and "function_call" not in message:
        return None
    if not isinstance(calls, list):
        raise BadAnswerError("tool_calls is no list")
    functions = [call.get("function") or call.get("custom") for call in calls if isinstance(call, dict)]
    if isinstance(message.get("function_call"), dict):  # the form before tool_calls
        functions.append(message["function_call"])
    found = []
    for function in functions:
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadAnswerError("a tool call without a name")
        arguments = function.get("arguments", function.get("input", ""))
        if not isinstance(arguments, str):  # some servers give the object instead of its text
            arguments = orjson.dumps(arguments).decode("utf-8")
        found.append({"name": function["name"], "arguments": arguments})
    return found or None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
