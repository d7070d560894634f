"""What an answer of Amazon Bedrock's Converse API says, from the bytes of its HTTP response. Pure.

Format: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html. Reasoning is no part of the
answer. ConverseStream, which is framed in binary, is not read.
"""

from typing import Any

import orjson

from shadowlane.schemas.answers.answer import (
    FILTERED,
    LENGTH,
    STOP,
    TOOL_CALLS,
    Answer,
    as_object,
    count,
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
    "guardrail_intervened": FILTERED,
    "content_filtered": FILTERED,
}
_INPUT = ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")


def read(body: bytes) -> Answer:
    """An answer that came whole."""
    found = Answer()
    try:
        raw: Any = orjson.loads(body)
    except ValueError:
        found.problem = "the answer is no JSON"
        return found
    message = as_object(as_object(raw).get("output")).get("message")
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        found.problem = "the answer is none of Converse"
        return found
    blocks = objects(message["content"])
    found.output = "".join(string(block.get("text")) for block in blocks)
    for block in blocks:
        if isinstance(call := block.get("toolUse"), dict) and call.get("type") != "server_tool_use":
            arguments = json_text(call.get("input"))
            found.tool_calls.append({"name": string(call.get("name")), "arguments": arguments})
    reason = string(raw.get("stopReason"))
    found.finish_reason = FINISH.get(reason, reason)
    usage = as_object(raw.get("usage"))
    if count(usage.get("inputTokens")) is not None:  # what was read from a cache is counted beside it
        found.input_tokens = sum(count(usage.get(name)) or 0 for name in _INPUT)
    found.output_tokens = count(usage.get("outputTokens"))
    found.problem = "" if all(call["name"] for call in found.tool_calls) else "a tool call without a name"
    found.complete = not found.problem
    return found


def read_stream(chunks: list[bytes]) -> Answer:
    """An answer that came whole, in pieces."""
    return read(b"".join(chunks))
