"""What an OpenAI-compatible chat completion says, from the bytes of its HTTP response. Pure.

Format: https://platform.openai.com/docs/api-reference/chat (object and chunk object); streams are
server-sent events, their last ``[DONE]``. Of several choices the first counts.
"""

from types import NoneType
from typing import Any

import orjson

from shadowlane.schemas.answers.answer import Answer, Stream, count, error_message, json_text, objects, string


def read(body: bytes) -> Answer:
    """A completion that came whole."""
    found = Answer()
    try:
        raw = orjson.loads(body)
    except ValueError:
        found.problem = "the answer is no JSON"
        return found
    choices = objects(raw.get("choices")) if isinstance(raw, dict) else []
    if not choices or not isinstance(choices[0].get("message"), dict):
        found.problem = "the answer is no chat completion"
        if isinstance(raw, dict) and raw.get("error"):
            found.problem += f": {error_message(body)}"
        return found
    message = choices[0]["message"]
    found.output = _content(message.get("content")) or _content(message.get("refusal"))
    for call in objects(message.get("tool_calls")):
        _merge_call(found.tool_calls, call, len(found.tool_calls))
    if isinstance(message.get("function_call"), dict):  # the form before tool_calls
        found.tool_calls.append(_call(message["function_call"]))
    found.finish_reason = string(choices[0].get("finish_reason"))
    _envelope(found, raw)
    found.problem = _wrong(message, found)
    found.complete = not found.problem
    return found


def read_stream(chunks: list[bytes]) -> Answer:
    """A completion streamed as ``chunks``, in whatever pieces the network made."""
    found = Answer()
    stream = Stream(chunks, found)
    content: list[str] = []
    refusal: list[str] = []
    for event in stream:
        text = _text_alone(event)
        if text is not None:
            content.append(text)
            if text and found.first_token_chunk is None:
                stream.brought()
            if event.get("model") != found.model:
                found.model = string(event.get("model")) or found.model
            continue
        _envelope(found, event)
        choice = _first_choice(event)
        if choice is None:
            continue
        delta = choice.get("delta")
        if isinstance(delta, dict) and _take_delta(found, delta, content, refusal):
            stream.brought()
        found.finish_reason = string(choice.get("finish_reason")) or found.finish_reason
    found.output = "".join(content) or "".join(refusal)
    return stream.end(complete=stream.done or bool(found.finish_reason))


def _text_alone(event: dict[str, Any]) -> str | None:
    """The text, where an event brings a piece of text and nothing else, as nearly all of a stream do."""
    try:
        (choice,) = event["choices"]
        delta = choice["delta"]
        text = delta["content"]
        alone = len(delta) == 1 and choice["index"] == 0 and choice.get("finish_reason") is None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return text if alone and isinstance(text, str) and event.get("usage") is None else None


def _wrong(message: dict[str, Any], found: Answer) -> str:
    """What of a message is not as the API has it; ``""`` where nothing is."""
    if not isinstance(message.get("content"), (str, list, NoneType)):
        return "the message's content is no text"
    if not isinstance(message.get("tool_calls"), (list, NoneType)):
        return "tool_calls is no list"
    if found.tool_calls and not all(call["name"] for call in found.tool_calls):
        return "a tool call without a name"
    return ""


def _first_choice(raw: dict[str, Any]) -> dict[str, Any] | None:
    return next(
        (choice for choice in objects(raw.get("choices")) if choice.get("index", 0) in (0, None)), None
    )


def _take_delta(found: Answer, delta: dict[str, Any], content: list[str], refusal: list[str]) -> bool:
    """Whether the delta brought a part of the answer."""
    text, refused = _content(delta.get("content")), _content(delta.get("refusal"))
    content.append(text)
    refusal.append(refused)
    calls = objects(delta.get("tool_calls"))
    for call in calls:
        _merge_call(found.tool_calls, call, max(len(found.tool_calls) - 1, 0))
    function = delta.get("function_call")
    if isinstance(function, dict):
        _merge_call(found.tool_calls, {"function": function}, 0)
    return bool(text or refused or calls or function)


def _merge_call(calls: list[dict[str, str]], call: dict[str, Any], default_index: int) -> None:
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
    arguments = json_text(function.get("arguments", function.get("input")))
    return {"name": string(function.get("name")), "arguments": arguments}


def _envelope(found: Answer, raw: dict[str, Any]) -> None:
    found.model = string(raw.get("model")) or found.model
    usage = raw.get("usage")
    if isinstance(usage, dict):
        found.input_tokens = count(usage.get("prompt_tokens"), found.input_tokens)
        found.output_tokens = count(usage.get("completion_tokens"), found.output_tokens)


def _content(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):  # parts
        return "".join(string(part.get("text")) for part in objects(value))
    return ""
