"""What a callable gave, as an answer. Pure."""

from typing import Any

import orjson

from shadowlane.schemas.answers import READERS, Answer
from shadowlane.schemas.answers.answer import count, json_text, objects, string

PLAIN = frozenset({"output", "tool_calls", "finish_reason", "model", "input_tokens", "output_tokens"})


def answer_of(value: Any, protocol: str) -> Answer:
    """A text is the answer; so is an object of :data:`PLAIN` members with a text as its ``output``, or tool calls.

    Anything else is an answer of the API that was asked, as SDKs give it, where it was one of a model's; otherwise
    its JSON is the answer. ``problem`` says what is wrong.
    """
    found = Answer()
    if isinstance(value, str):
        found.output = value
    elif isinstance(value, dict) and value.keys() <= PLAIN and _plain(value):
        found.output = string(value.get("output"))
        for call in objects(value.get("tool_calls")):
            arguments = json_text(call.get("arguments"))
            found.tool_calls.append({"name": string(call.get("name")), "arguments": arguments})
        found.finish_reason, found.model = string(value.get("finish_reason")), string(value.get("model"))
        found.input_tokens, found.output_tokens = (
            count(value.get("input_tokens")),
            count(value.get("output_tokens")),
        )
        if not all(call["name"] for call in found.tool_calls):
            found.problem = "a tool call without a name"
    elif (reader := READERS.get(protocol)) is not None:
        return reader.whole(orjson.dumps(value))
    else:
        found.output = orjson.dumps(value).decode()
    found.complete = not found.problem
    return found


def _plain(value: dict[str, Any]) -> bool:
    return isinstance(value.get("output"), str) or isinstance(value.get("tool_calls"), list)
