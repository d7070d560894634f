"""What an answer of Anthropic's Messages API says, from the bytes of its HTTP response. Pure.

Format: https://platform.claude.com/docs/en/api/messages and …/build-with-claude/streaming. Thinking is no part of the
answer; what the provider's own tools did on their way to it neither.
"""

from typing import Any

import orjson

from shadowlane.schemas.answers.answer import (
    FILTERED,
    LENGTH,
    STOP,
    TOOL_CALLS,
    Answer,
    Stream,
    as_object,
    count,
    error_message,
    json_text,
    objects,
    string,
)

FINISH = {
    "end_turn": STOP,
    "stop_sequence": STOP,
    "max_tokens": LENGTH,
    "model_context_window_exceeded": LENGTH,
    "tool_use": TOOL_CALLS,
    "refusal": FILTERED,
}
_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def read(body: bytes) -> Answer:
    """A message that came whole."""
    found = Answer()
    try:
        raw = orjson.loads(body)
    except ValueError:
        found.problem = "the answer is no JSON"
        return found
    if not isinstance(raw, dict) or raw.get("type") != "message" or not isinstance(raw.get("content"), list):
        found.problem = "the answer is no message"
        if isinstance(raw, dict) and raw.get("error"):
            found.problem += f": {error_message(body)}"
        return found
    blocks = objects(raw["content"])
    found.output = "".join(string(block.get("text")) for block in blocks if block.get("type") == "text")
    for block in blocks:
        if block.get("type") == "tool_use":
            found.tool_calls.append(
                {"name": string(block.get("name")), "arguments": json_text(block.get("input"))}
            )
    _envelope(found, raw)
    _stopped(found, raw)
    found.problem = "" if all(call["name"] for call in found.tool_calls) else "a tool call without a name"
    found.complete = not found.problem
    return found


def read_stream(chunks: list[bytes]) -> Answer:
    """A message streamed as ``chunks``, in whatever pieces the network made."""
    found = Answer()
    stream = Stream(chunks, found)
    text: list[str] = []
    calls: dict[int, _Call] = {}  # by the index of their block
    stopped = False
    for event in stream:
        match event.get("type"):
            case "message_start":
                _envelope(found, as_object(event.get("message")))
            case "content_block_start":
                block = as_object(event.get("content_block"))
                if block.get("type") == "text" and (began := string(block.get("text"))):
                    text.append(began)
                    stream.brought()
                elif block.get("type") == "tool_use":
                    calls[_index(event)] = _Call(block)
                    stream.brought()
            case "content_block_delta":
                delta = as_object(event.get("delta"))
                if part := string(delta.get("text")):
                    text.append(part)
                    stream.brought()
                elif delta.get("type") == "input_json_delta" and (call := calls.get(_index(event))):
                    call.pieces.append(string(delta.get("partial_json")))
            case "message_delta":
                _stopped(found, as_object(event.get("delta")))
                _envelope(found, event)
            case "message_stop":
                stopped = True
    found.output = "".join(text)
    found.tool_calls = [calls[index].told() for index in sorted(calls)]
    return stream.end(complete=stopped or bool(found.finish_reason))


class _Call:
    """A tool call whose arguments come in pieces; or at once, with its block."""

    def __init__(self, block: dict[str, Any]) -> None:
        self._name = string(block.get("name"))
        self._input = block.get("input")
        self.pieces: list[str] = []

    def told(self) -> dict[str, str]:
        return {"name": self._name, "arguments": "".join(self.pieces) or json_text(self._input)}


def _envelope(found: Answer, raw: dict[str, Any]) -> None:
    """The model and the tokens; those of a stream come twice, and the last count is that of all."""
    found.model = string(raw.get("model")) or found.model
    usage = as_object(raw.get("usage"))
    if count(usage.get("input_tokens")) is not None:  # what was read from a cache is counted beside it
        found.input_tokens = sum(count(usage.get(name)) or 0 for name in _INPUT)
    found.output_tokens = count(usage.get("output_tokens"), found.output_tokens)


def _stopped(found: Answer, raw: dict[str, Any]) -> None:
    reason = string(raw.get("stop_reason"))
    found.finish_reason = FINISH.get(reason, reason) or found.finish_reason


def _index(event: dict[str, Any]) -> int:
    return count(event.get("index")) or 0
