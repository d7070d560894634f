"""A request of OpenAI's Responses API as a conversation, and back. Pure.

Format: https://platform.openai.com/docs/api-reference/responses/create.
"""

from typing import Any

from shadowlane.schemas.requests.conversation import (
    Conversation,
    Format,
    Image,
    Message,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolNamed,
    ToolResult,
    UntranslatableError,
    text_of,
)
from shadowlane.schemas.requests.members import Members

_UNHEARD = frozenset(
    {
        *("stream", "stream_options", "user", "metadata", "safety_identifier", "store", "service_tier"),
        *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "include", "truncation"),
    }
)
_REFUSED = {
    "previous_response_id": "the conversation is kept by the provider",
    "conversation": "the conversation is kept by the provider",
    "prompt": "the prompt is kept by the provider",
    "background": "the answer comes later",
    "context_management": "the provider shortens the conversation",
}
_UNHEARD_IN_ITEMS = frozenset({"id", "status"})
_UNHEARD_IN_PARTS = frozenset({"annotations", "logprobs", "cache_control"})
_CHOICES = ("auto", "none", "required")
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
_TEXTS = ("input_text", "output_text", "text")


def read(body: Any) -> Conversation:
    """What the request asks.

    Raises:
        UntranslatableError: it asks for something that other APIs have no words for, or is no such request.
    """
    members = Members(body, "")
    members.skip(_UNHEARD)
    members.refuse(_REFUSED)
    asked = Conversation(model=members.text("model"))
    if instructions := members.text("instructions"):
        asked.messages.append(Message("system", (Text(instructions),)))
    given = members.any("input")
    if isinstance(given, str):
        asked.messages.append(Message("user", (Text(given),)))
    elif isinstance(given, list):
        for number, raw in enumerate(given):
            asked.messages += _item(raw, f"input[{number}]", asked)
    else:
        raise UntranslatableError("input is neither text nor items")
    asked.messages = _joined(asked.messages)
    asked.tools = [_tool(raw, f"tools[{number}]", asked) for number, raw in enumerate(members.items("tools"))]
    asked.tool_choice = _choice(members.any("tool_choice"))
    asked.parallel_tool_calls = members.boolean("parallel_tool_calls")
    text = members.members("text")
    asked.format = _format(text.members("format"), asked)
    asked.verbosity = text.text("verbosity")
    reasoning = members.members("reasoning")
    asked.effort = reasoning.text("effort")
    asked.leave_out(*text.rest(), *reasoning.rest())
    asked.max_tokens = members.integer("max_output_tokens")
    asked.temperature = members.number("temperature")
    asked.top_p = members.number("top_p")
    asked.leave_out(*members.rest())
    return asked


def write(asked: Conversation) -> dict[str, Any]:
    """The body of the request that asks it; what it can't say is added to ``asked.left_out``."""
    body: dict[str, Any] = {"model": asked.model, "input": [], "store": False}
    messages = asked.messages
    if messages and messages[0].role == "system" and all(isinstance(p, Text) for p in messages[0].parts):
        body["instructions"] = text_of(messages[0].parts)
        messages = messages[1:]
    for message in messages:
        body["input"] += _items(message)
    if asked.tools:
        body["tools"] = [_written_tool(tool) for tool in asked.tools]
    if isinstance(asked.tool_choice, ToolNamed):
        body["tool_choice"] = {"type": "function", "name": asked.tool_choice.name}
    elif asked.tool_choice:
        body["tool_choice"] = asked.tool_choice
    text: dict[str, Any] = {}
    if asked.format is not None:
        text["format"] = _written_format(asked.format)
    if asked.verbosity:
        text["verbosity"] = asked.verbosity
    given = {
        "text": text or None,
        "reasoning": {"effort": asked.effort} if asked.effort else None,
        "parallel_tool_calls": asked.parallel_tool_calls if asked.tools else None,
        "max_output_tokens": asked.max_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
    }
    unsaid = ("seed", "frequency_penalty", "presence_penalty", "top_k", "stop")
    asked.leave_out(*(name for name in unsaid if getattr(asked, name) not in (None, [])))
    if asked.has_failed_tools():
        asked.leave_out("tool_result.is_error")
    return body | {name: value for name, value in given.items() if value is not None}


def _item(raw: Any, where: str, asked: Conversation) -> list[Message]:
    item = Members(raw, where)
    kind = item.text("type") or "message"
    match kind:
        case "message":
            role = item.text("role")
            if role not in _ROLES:
                raise UntranslatableError(f"{where}.role is {role!r}")
            message = Message(_ROLES[role], _content(item.any("content"), f"{where}.content", asked))
        case "function_call":
            call = ToolCall(item.text("call_id"), item.text("name"), item.text("arguments") or "{}")
            message = Message("assistant", (call,))
        case "function_call_output":
            content = _content(item.any("output"), f"{where}.output", asked)
            message = Message("user", (ToolResult(item.text("call_id"), content),))
        case "reasoning":
            asked.leave_out("input.reasoning")  # of use to the model that thought it alone
            return []
        case _:
            raise UntranslatableError(f"{where} is an item of type {kind!r}")
    item.skip(_UNHEARD_IN_ITEMS)
    asked.leave_out(*item.rest("input"))
    return [message]


def _joined(messages: list[Message]) -> list[Message]:
    """An assistant's words and its calls are items of their own here, and one message elsewhere; results of its
    calls likewise."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        calls = message.role == "assistant" and any(isinstance(part, ToolCall) for part in message.parts)
        results = all(isinstance(part, ToolResult) for part in message.parts) and message.parts
        if last is not None and last.role == message.role and (calls or (results and _all_results(last))):
            joined[-1] = Message(last.role, last.parts + message.parts)
        else:
            joined.append(message)
    return joined


def _all_results(message: Message) -> bool:
    return all(isinstance(part, ToolResult) for part in message.parts)


def _content(raw: Any, where: str, asked: Conversation) -> tuple[Text | Image, ...]:
    if raw is None or isinstance(raw, str):
        return (Text(raw),) if raw else ()
    if not isinstance(raw, list):
        raise UntranslatableError(f"{where} is neither text nor parts")
    found: list[Text | Image] = []
    for number, each in enumerate(raw):
        part = Members(each, f"{where}[{number}]")
        kind = part.text("type")
        if kind in _TEXTS or kind == "refusal":
            text = part.text("refusal" if kind == "refusal" else "text")
            found += [Text(text)] if text else []
        elif kind == "input_image" and (url := part.text("image_url")):
            found.append(Image(url, part.text("detail").replace("auto", "")))
        else:
            raise UntranslatableError(f"{where}[{number}] is a part of type {kind!r}")
        part.skip(_UNHEARD_IN_PARTS)
        asked.leave_out(*part.rest("input.content"))
    return tuple(found)


def _tool(raw: Any, where: str, asked: Conversation) -> Tool:
    members = Members(raw, where)
    if (kind := members.text("type")) != "function":
        raise UntranslatableError(f"{where} is a tool of type {kind!r}, which is not of all APIs")
    tool = Tool(
        members.text("name"),
        members.text("description"),
        members.object("parameters") or {},
        members.boolean("strict"),
    )
    asked.leave_out(*members.rest("tools"))
    return tool


def _choice(raw: Any) -> Any:
    if raw is None or raw in _CHOICES:
        return raw
    members = Members(raw, "tool_choice")
    if (kind := members.text("type")) != "function":
        raise UntranslatableError(f"tool_choice is of type {kind!r}")
    return ToolNamed(members.text("name"))


def _format(members: Members, asked: Conversation) -> Format | None:
    match kind := members.text("type"):
        case "" | "text":
            return None
        case "json_object":
            return Format()
        case "json_schema":
            wanted = Format(
                members.object("schema") or {},
                members.text("name") or "answer",
                members.text("description"),
                members.boolean("strict"),
            )
            asked.leave_out(*members.rest())
            return wanted
        case _:
            raise UntranslatableError(f"text.format is of type {kind!r}")


def _items(message: Message) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    open_parts: list[Text | Image] = []

    def close() -> None:
        if open_parts:
            written.append({"role": message.role, "content": _written_content(open_parts, message.role)})
            open_parts.clear()

    for part in message.parts:
        if isinstance(part, ToolCall):
            close()
            call = {
                "type": "function_call",
                "call_id": part.id,
                "name": part.name,
                "arguments": part.arguments,
            }
            written.append(call)
        elif isinstance(part, ToolResult):
            close()
            output = _written_content(list(part.content), "user") if part.content else ""
            written.append({"type": "function_call_output", "call_id": part.id, "output": output})
        else:
            open_parts.append(part)
    close()
    return written


def _written_content(parts: list[Text | Image], role: Role) -> Any:
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    kind = "output_text" if role == "assistant" else "input_text"
    return [
        {"type": kind, "text": part.text}
        if isinstance(part, Text)
        else {"type": "input_image", "image_url": part.url, "detail": part.detail or "auto"}
        for part in parts
    ]


def _written_tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description:
        written["description"] = tool.description
    # Strict is the default here, and nowhere else.
    return written | {"parameters": tool.schema, "strict": bool(tool.strict)}


def _written_format(wanted: Format) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    written: dict[str, Any] = {"type": "json_schema", "name": wanted.name, "schema": wanted.schema}
    if wanted.description:
        written["description"] = wanted.description
    if wanted.strict is not None:
        written["strict"] = wanted.strict
    return written
