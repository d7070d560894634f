"""What an answer of OpenAI's Responses API says, from the bytes of its HTTP response. Pure.

Format: https://platform.openai.com/docs/api-reference/responses and …/responses-streaming. Reasoning is no part of the
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
    fail,
    json_text,
    objects,
    string,
)

_CALLS = ("function_call", "custom_tool_call")
# Tools of the service's that have no name but their type, and what is asked of them.
_TYPED = {
    "computer_call": "computer",
    "local_shell_call": "local_shell",
    "shell_call": "shell",
    "apply_patch_call": "apply_patch",
}
_ASKED = ("action", "actions", "operation")
_CUT = {"max_output_tokens": LENGTH, "content_filter": FILTERED}


def read(body: bytes) -> Answer:
    """A response that came whole."""
    found = Answer()
    try:
        raw = orjson.loads(body)
    except ValueError:
        found.problem = "the answer is no JSON"
        return found
    if not isinstance(raw, dict) or not isinstance(raw.get("output"), list):
        found.problem = "the answer is no response"
        if isinstance(raw, dict) and raw.get("error"):
            found.problem += f": {error_message(body)}"
        return found
    _take(found, raw)
    found.complete = not found.problem and not found.failed
    return found


def read_stream(chunks: list[bytes]) -> Answer:
    """A response streamed as ``chunks``, in whatever pieces the network made.

    Its last event holds all of it; the pieces count for the time to the first token, and where it breaks off.
    """
    found = Answer()
    stream = Stream(chunks, found)
    text: list[str] = []
    calls: dict[str, dict[str, str]] = {}  # by the id of their item
    for event in stream:
        kind = string(event.get("type"))
        if kind in ("response.output_text.delta", "response.refusal.delta"):
            text.append(string(event.get("delta")))
            stream.brought()
        elif kind == "response.output_item.added" and as_object(event.get("item")).get("type") in _CALLS:
            item = as_object(event.get("item"))
            calls[string(item.get("id"))] = _call(item)
            stream.brought()
        elif kind in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
            call = calls.setdefault(string(event.get("item_id")), {"name": "", "arguments": ""})
            call["arguments"] += string(event.get("delta"))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            _take(found, as_object(event.get("response")))
            return stream.end(complete=not found.problem)
        elif kind == "response.created":
            found.model = string(as_object(event.get("response")).get("model"))
    found.output = "".join(text)
    found.tool_calls = [call for call in calls.values() if call["name"]]
    return stream.end(complete=False)


def _take(found: Answer, response: dict[str, Any]) -> None:
    output: list[str] = []
    for item in objects(response.get("output")):
        if item.get("type") == "message":
            parts = objects(item.get("content"))
            output += [string(part.get("text")) or string(part.get("refusal")) for part in parts]
        elif item.get("type") in _CALLS:
            found.tool_calls.append(_call(item))
        elif (name := _TYPED.get(string(item.get("type")))) is not None:
            asked = {key: item[key] for key in _ASKED if key in item}
            found.tool_calls.append({"name": name, "arguments": json_text(asked)})
    found.output = "".join(output)
    found.model = string(response.get("model")) or found.model
    usage = as_object(response.get("usage"))
    found.input_tokens = count(usage.get("input_tokens"))
    found.output_tokens = count(usage.get("output_tokens"))
    found.finish_reason = TOOL_CALLS if found.tool_calls else STOP
    status = response.get("status")
    if status == "incomplete":
        reason = string(as_object(response.get("incomplete_details")).get("reason"))
        found.finish_reason = _CUT.get(reason, reason)
    elif status == "failed":
        found.finish_reason = ""
        fail(found, response.get("error"))
    elif status in ("queued", "in_progress", "cancelled"):
        found.finish_reason = ""
        found.problem = f"the response is {status}: what runs in the background has no answer yet"
    elif not all(call["name"] for call in found.tool_calls):
        found.problem = "a tool call without a name"


def _call(item: dict[str, Any]) -> dict[str, str]:
    arguments = item.get("arguments") if item.get("type") == "function_call" else item.get("input")
    return {"name": string(item.get("name")), "arguments": json_text(arguments)}
