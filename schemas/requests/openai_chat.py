"""A chat completion's request as a conversation, and back. Pure.

Format: https://platform.openai.com/docs/api-reference/chat/create.
"""

from typing import Any

from shadowlane.schemas.requests.conversation import (
    Conversation,
    Format,
    Image,
    Message,
    Part,
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
        *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "prediction"),
    }
)
"""What the model itself never sees: how the answer is delivered, billed and kept, and who asks."""

_REFUSED = {
    "audio": "an answer in sound",
    "web_search_options": "the provider searches the web for it",
}
_UNHEARD_IN_MESSAGES = frozenset({"annotations", "id", "reasoning_content", "reasoning"})
_UNHEARD_IN_PARTS = frozenset({"cache_control", "annotations", "logprobs"})
_CHOICES = ("auto", "none", "required")


def read(body: Any) -> Conversation:
    """What the request asks.

    Raises:
        UntranslatableError: it asks for something that other APIs have no words for, or is no chat completion.
    """
    members = Members(body, "")
    members.skip(_UNHEARD)
    if members.any("modalities") not in (None, ["text"]):
        raise UntranslatableError("modalities: an answer in sound")
    members.refuse(_REFUSED)
    asked = Conversation(model=members.text("model"))
    for number, raw in enumerate(members.items("messages")):
        asked.messages.append(_message(raw, f"messages[{number}]", asked))
    asked.tools = [_tool(raw, f"tools[{number}]", asked) for number, raw in enumerate(members.items("tools"))]
    asked.tools += [_function(Members(raw, "functions"), asked) for raw in members.items("functions")]
    asked.tool_choice = _choice(members.any("tool_choice") or members.any("function_call"))
    asked.parallel_tool_calls = members.boolean("parallel_tool_calls")
    asked.format = _format(members.members("response_format"), asked)
    older, newer = members.integer("max_tokens"), members.integer("max_completion_tokens")
    asked.max_tokens = older if newer is None else newer
    asked.temperature = members.number("temperature")
    asked.top_p = members.number("top_p")
    asked.top_k = members.integer("top_k")  # vLLM's and others'
    asked.stop = members.texts("stop")
    asked.seed = members.integer("seed")
    asked.frequency_penalty = members.number("frequency_penalty") or None  # 0 is the default
    asked.presence_penalty = members.number("presence_penalty") or None
    asked.effort = members.text("reasoning_effort")
    asked.verbosity = members.text("verbosity")
    if members.any("n") not in (None, 1):
        asked.leave_out("n")  # of several choices the first counts
    asked.leave_out(*members.rest())
    return asked


def write(asked: Conversation) -> dict[str, Any]:
    """The body of the request that asks it; what it can't say is added to ``asked.left_out``.

    Raises:
        UntranslatableError: the conversation can't be said without a part of it.
    """
    body: dict[str, Any] = {"model": asked.model, "messages": []}
    for message in asked.messages:
        body["messages"] += _messages(message)
    if asked.tools:
        body["tools"] = [_written_tool(tool) for tool in asked.tools]
    if isinstance(asked.tool_choice, ToolNamed):
        body["tool_choice"] = {"type": "function", "function": {"name": asked.tool_choice.name}}
    elif asked.tool_choice:
        body["tool_choice"] = asked.tool_choice
    if asked.format is not None:
        body["response_format"] = _written_format(asked.format)
    given = {
        "parallel_tool_calls": asked.parallel_tool_calls if asked.tools else None,
        "max_completion_tokens": asked.max_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "stop": asked.stop or None,
        "seed": asked.seed,
        "frequency_penalty": asked.frequency_penalty,
        "presence_penalty": asked.presence_penalty,
        "reasoning_effort": asked.effort or None,
        "verbosity": asked.verbosity or None,
    }
    if asked.top_k is not None:
        asked.leave_out("top_k")
    if asked.has_failed_tools():
        asked.leave_out("tool_result.is_error")
    return body | {name: value for name, value in given.items() if value is not None}


def _message(raw: Any, where: str, asked: Conversation) -> Message:
    members = Members(raw, where)
    members.refuse({"audio": "an answer in sound"})
    role = members.text("role")
    content = _content(members.any("content"), f"{where}.content", asked)
    message: Message
    match role:
        case "system" | "developer":
            message = Message("system", content)
        case "user":
            message = Message("user", content)
        case "assistant":
            refusal = members.text("refusal")
            parts: list[Part] = [*content, *([Text(refusal)] if refusal else [])]
            parts += [
                _call(call, f"{where}.tool_calls[{number}]", asked)
                for number, call in enumerate(members.items("tool_calls"))
            ]
            if (function := members.object("function_call")) is not None:  # the form before tool_calls
                parts.append(
                    _function_call(function, str(function.get("name", "")), f"{where}.function_call", asked)
                )
            message = Message("assistant", tuple(parts))
        case "tool":
            message = Message("user", (ToolResult(members.text("tool_call_id"), content),))
        case "function":
            message = Message("user", (ToolResult(members.text("name"), content),))
        case _:
            raise UntranslatableError(f"{where}.role is {role!r}")
    members.skip(_UNHEARD_IN_MESSAGES)
    asked.leave_out(*members.rest("messages"))
    return message


def _content(raw: Any, where: str, asked: Conversation) -> tuple[Text | Image, ...]:
    if raw is None:
        return ()
    if isinstance(raw, str):
        return (Text(raw),) if raw else ()
    if not isinstance(raw, list):
        raise UntranslatableError(f"{where} is neither text nor parts")
    found: list[Text | Image] = []
    for number, each in enumerate(raw):
        part = Members(each, f"{where}[{number}]")
        kind = part.text("type")
        if kind in ("text", "refusal"):
            text = part.text(kind)
            found += [Text(text)] if text else []
        elif kind == "image_url":
            image = part.members("image_url")
            found.append(Image(image.text("url"), image.text("detail").replace("auto", "")))
            asked.leave_out(*image.rest("messages.content.image_url"))
        else:
            raise UntranslatableError(f"{where}[{number}] is a part of type {kind!r}")
        part.skip(_UNHEARD_IN_PARTS)
        asked.leave_out(*part.rest("messages.content"))
    return tuple(found)


def _call(raw: Any, where: str, asked: Conversation) -> ToolCall:
    members = Members(raw, where)
    if (kind := members.text("type")) not in ("", "function"):
        raise UntranslatableError(f"{where} is the call of a tool of type {kind!r}")
    function, call_id = members.object("function") or {}, members.text("id")
    members.skip(frozenset({"index"}))
    asked.leave_out(*members.rest("messages.tool_calls"))
    return _function_call(function, call_id, f"{where}.function", asked)


def _function_call(raw: dict[str, Any], call_id: str, where: str, asked: Conversation) -> ToolCall:
    members = Members(raw, where)
    call = ToolCall(call_id, members.text("name"), members.text("arguments") or "{}")
    asked.leave_out(*members.rest("messages.tool_calls"))
    return call


def _tool(raw: Any, where: str, asked: Conversation) -> Tool:
    members = Members(raw, where)
    if (kind := members.text("type")) != "function":
        raise UntranslatableError(f"{where} is a tool of type {kind!r}, which is not of all APIs")
    tool = _function(members.members("function"), asked)
    members.skip(frozenset({"cache_control"}))
    asked.leave_out(*members.rest("tools"))
    return tool


def _function(members: Members, asked: Conversation) -> Tool:
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
    function = members.members("function")
    name = function.text("name") or members.text("name")  # of function_call, the older form
    if not name:
        raise UntranslatableError(f"tool_choice is of type {members.text('type')!r}")
    return ToolNamed(name)


def _format(members: Members, asked: Conversation) -> Format | None:
    match members.text("type"):
        case "" | "text":
            return None
        case "json_object":
            return Format()
        case "json_schema":
            schema = members.members("json_schema")
            wanted = Format(
                schema.object("schema") or {},
                schema.text("name") or "answer",
                schema.text("description"),
                schema.boolean("strict"),
            )
            asked.leave_out(*schema.rest("response_format"), *members.rest())
            return wanted
        case other:
            raise UntranslatableError(f"response_format is of type {other!r}")


def _messages(message: Message) -> list[dict[str, Any]]:
    """A message may be several here: each result of a tool is one."""
    written: list[dict[str, Any]] = []
    open_parts: list[Text | Image] = []
    calls: list[dict[str, Any]] = []

    def close() -> None:
        if open_parts:
            written.append({"role": message.role, "content": _written_content(tuple(open_parts))})
            open_parts.clear()

    for part in message.parts:
        if isinstance(part, ToolResult):
            close()
            text = text_of(part.content)
            written.append({"role": "tool", "tool_call_id": part.id, "content": text})
        elif isinstance(part, ToolCall):
            function = {"name": part.name, "arguments": part.arguments}
            calls.append({"id": part.id, "type": "function", "function": function})
        else:
            open_parts.append(part)
    if calls:
        content = _written_content(tuple(open_parts)) if open_parts else None
        return [*written, {"role": message.role, "content": content, "tool_calls": calls}]
    close()
    return written


def _written_content(parts: tuple[Text | Image, ...]) -> Any:
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, Text)
        else {
            "type": "image_url",
            "image_url": {"url": part.url} | ({"detail": part.detail} if part.detail else {}),
        }
        for part in parts
    ]


def _written_tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _written_format(wanted: Format) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": wanted.name, "schema": wanted.schema}
    if wanted.description:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}
