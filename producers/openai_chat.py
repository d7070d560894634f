"""What an OpenAI-compatible chat completion says, from the bytes of its HTTP response. Pure.

Format: https://platform.openai.com/docs/api-reference/chat (object and chunk object); streams are
server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), their last ``[DONE]``.
Of several choices the first counts.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import orjson


class Completion:
    """``complete`` is False where the answer breaks off or is no chat completion; ``problem`` says how."""

    output: str = ""
    tool_calls: list[dict[str, str]]
    finish_reason: str = ""
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    first_token_chunk: int | None = None  # of streams: the index of the piece that brought the first token
    complete: bool = False
    problem: str = ""
    failed: str = ""  # the error that a stream told instead of going on

    def __init__(self) -> None:
        self.tool_calls = []


def read_completion(body: bytes) -> Completion:
    """A completion that came whole."""
    found = Completion()
    try:
        raw = orjson.loads(body)
        choice = raw["choices"][0]
        message = choice["message"]
        message.get  # noqa: B018 - an object, or it is no completion
    except (ValueError, LookupError, TypeError, AttributeError):
        found.problem = "the answer is no chat completion"
        return found
    found.output = _content(message.get("content")) or _content(message.get("refusal"))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        _merge_call(found.tool_calls, call, len(found.tool_calls))
    if isinstance(message.get("function_call"), dict):
        found.tool_calls.append(_call(message["function_call"]))
    found.finish_reason = _string(choice.get("finish_reason"))
    _envelope(found, raw)
    found.complete = True
    return found


def read_stream(chunks: list[bytes]) -> Completion:
    """A completion streamed as ``chunks``, in whatever pieces the network made."""
    found = Completion()
    body = b"".join(chunks)
    ends = list(accumulate(map(len, chunks)))
    content: list[str] = []
    refusal: list[str] = []
    done = False
    for data, end in events(body):
        if data.startswith(b"[DONE]"):
            done = True
            break
        try:
            raw = orjson.loads(data)
        except ValueError:
            found.problem = "an event of the stream is no JSON"
            break
        if not isinstance(raw, dict):
            found.problem = "an event of the stream is no object"
            break
        if raw.get("error"):
            found.failed = error_message(data) or "the stream told an error"
            break
        _envelope(found, raw)
        choice = _first_choice(raw)
        if choice is None:
            continue
        delta = choice.get("delta")
        brought = isinstance(delta, dict) and _take_delta(found, delta, content, refusal)
        if brought and found.first_token_chunk is None:
            found.first_token_chunk = min(bisect_left(ends, end), len(chunks) - 1)
        found.finish_reason = _string(choice.get("finish_reason")) or found.finish_reason
    found.output = "".join(content) or "".join(refusal)
    found.complete = not found.problem and not found.failed and (done or bool(found.finish_reason))
    if not found.complete and not found.problem:
        found.problem = "the stream ended before its answer did"
    return found


def events(body: bytes) -> Iterator[tuple[bytes, int]]:
    """(data, offset where the event ends) of each server-sent event. One that is not ended by a blank line
    is none, as the standard has it."""
    data: list[bytes] = []
    at = 0
    for line in body.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True):
        at += len(line)
        text = line.rstrip(b"\r\n")
        if text.startswith(b"data:"):
            data.append(text[5:].removeprefix(b" "))
        elif not text and line and data:
            yield b"\n".join(data), at
            data = []


def error_message(body: bytes) -> str:
    """The text of an OpenAI-style error body; else the body's beginning."""
    try:
        raw = orjson.loads(body)
    except ValueError:
        return body[:500].decode("utf-8", "replace")
    error = raw.get("error", raw) if isinstance(raw, dict) else raw
    message = error.get("message") if isinstance(error, dict) else error
    return (message if isinstance(message, str) else orjson.dumps(message).decode())[:500]


def _first_choice(raw: dict[str, Any]) -> dict[str, Any] | None:
    choices = raw.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, dict) and choice.get("index", 0) in (0, None):
            return choice
    return None


def _take_delta(found: Completion, delta: dict[str, Any], content: list[str], refusal: list[str]) -> bool:
    """Whether the delta brought a part of the answer."""
    text, refused = _content(delta.get("content")), _content(delta.get("refusal"))
    content.append(text)
    refusal.append(refused)
    calls = delta.get("tool_calls")
    calls = calls if isinstance(calls, list) else []
    for call in calls:
        _merge_call(found.tool_calls, call, max(len(found.tool_calls) - 1, 0))
    function = delta.get("function_call")
    if isinstance(function, dict):
        _merge_call(found.tool_calls, {"function": function}, 0)
    return bool(text or refused or calls or function)


def _merge_call(calls: list[dict[str, str]], call: Any, default_index: int) -> None:
    if not isinstance(call, dict):
        return
    index = call.get("index")
    if not isinstance(index, int) or not 0 <= index <= len(calls):
        index = default_index
    if index >= len(calls):
        calls.append({"name": "", "arguments": ""})
    function = call.get("function") or call.get("custom")
    if isinstance(function, dict):
        part = _call(function)
        calls[index]["name"] += part["name"]
        calls[index]["arguments"] += part["arguments"]


def _call(function: dict[str, Any]) -> dict[str, str]:
    arguments = function.get("arguments", function.get("input"))
    if arguments is not None and not isinstance(arguments, str):
        arguments = orjson.dumps(arguments).decode()  # some servers send the object itself
    return {"name": _string(function.get("name")), "arguments": arguments or ""}


def _envelope(found: Completion, raw: dict[str, Any]) -> None:
    found.model = _string(raw.get("model")) or found.model
    usage = raw.get("usage")
    if isinstance(usage, dict):
        found.input_tokens = _count(usage.get("prompt_tokens"), found.input_tokens)
        found.output_tokens = _count(usage.get("completion_tokens"), found.output_tokens)


def _content(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):  # parts
        return "".join(_string(part.get("text")) for part in value if isinstance(part, dict))
    return ""


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any, otherwise: int | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise
