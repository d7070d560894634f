"""A request of Anthropic's Messages API as a conversation, and back. Pure.

Format: https://platform.claude.com/docs/en/api/messages/create.
"""

import re
from typing import Any

import orjson

from shadowlane.schemas.requests.conversation import (
    Conversation,
    Format,
    Image,
    Message,
    Part,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolNamed,
    ToolResult,
    UntranslatableError,
    call_id,
)
from shadowlane.schemas.requests.members import Members

MAX_TOKENS = 4096
"""Where a request gives none: this API needs a number. The version's overrides may give another."""

_UNHEARD = frozenset(
    {"stream", "metadata", "service_tier", "cache_control", "diagnostics", "inference_geo", "speed"}
)
_UNHEARD_IN_PARTS = frozenset({"cache_control", "citations", "caller"})
_UNHEARD_IN_TOOLS = frozenset({"cache_control", "type", "eager_input_streaming", "input_examples"})
_REFUSED = {
    "container": "the provider's own container",
    "mcp_servers": "the provider calls servers of tools for it",
    "prefill": "an answer that is begun",
}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_DATA = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)


def read(body: Any) -> Conversation:
    """What the request asks.

    Raises:
        UntranslatableError: it asks for something that other APIs have no words for, or is no such request.
    """
    members = Members(body, "")
    members.skip(_UNHEARD)
    members.refuse(_REFUSED)
    asked = Conversation(model=members.text("model"))
    system = _content(members.any("system"), "system", asked)
    if system:
        asked.messages.append(Message("system", system))
    for number, raw in enumerate(members.items("messages")):
        asked.messages.append(_message(raw, f"messages[{number}]", asked))
    if asked.messages and asked.messages[-1].role == "assistant":
        raise UntranslatableError("the last message is the assistant's: an answer that is begun")
    asked.tools = [_tool(raw, f"tools[{number}]", asked) for number, raw in enumerate(members.items("tools"))]
    choice = members.members("tool_choice")
    if (parallel := choice.boolean("disable_parallel_tool_use")) is not None:
        asked.parallel_tool_calls = not parallel
    if kind := choice.text("type"):
        asked.tool_choice = ToolNamed(choice.text("name")) if kind == "tool" else _one_of(kind)
    asked.leave_out(*choice.rest())
    output = members.members("output_config")
    asked.effort = output.text("effort")
    wanted = output.members("format")
    if wanted.text("type"):
        asked.format = Format(wanted.object("schema") or {}, strict=True)
    asked.leave_out(*wanted.rest(), *output.rest())
    asked.max_tokens = members.integer("max_tokens")
    asked.temperature = members.number("temperature")
    asked.top_p = members.number("top_p")
    asked.top_k = members.integer("top_k")
    asked.stop = members.texts("stop_sequences")
    thinking = members.members("thinking")
    if thinking.text("type") not in ("", "disabled"):
        asked.leave_out("thinking")
    asked.leave_out(*members.rest())
    return asked


def write(asked: Conversation) -> dict[str, Any]:
    """The body of the request that asks it; what it can't say is added to ``asked.left_out``.

    Raises:
        UntranslatableError: the conversation can't be said without a part of it.
    """
    first = next(
        (n for n, message in enumerate(asked.messages) if message.role != "system"), len(asked.messages)
    )
    messages = _merged(asked.messages[first:])
    if not messages:
        raise UntranslatableError(
            "there is no message but the system's, and this API needs one of the user's"
        )
    if messages[0]["role"] != "user":
        raise UntranslatableError("the first message is the assistant's, and this API needs the user's")
    if messages[-1]["role"] == "assistant":
        raise UntranslatableError("the last message is the assistant's: here, the beginning of the answer")
    body: dict[str, Any] = {
        "model": asked.model,
        "max_tokens": asked.max_tokens or MAX_TOKENS,
        "messages": messages,
    }
    system = [_written(part) for message in asked.messages[:first] for part in message.parts]
    if len(system) == 1:
        body["system"] = system[0]["text"]
    elif system:
        body["system"] = system
    if asked.tools:
        body["tools"] = [_written_tool(tool) for tool in asked.tools]
        choice = _written_choice(asked)
        if choice:
            body["tool_choice"] = choice
    output: dict[str, Any] = {}
    if asked.format is not None and asked.format.schema is not None:
        output["format"] = {"type": "json_schema", "schema": _described(asked.format, asked)}
    elif asked.format is not None:
        asked.leave_out("response_format")
    if asked.effort in _EFFORTS:
        output["effort"] = asked.effort
    elif asked.effort:
        asked.leave_out("reasoning_effort")
    if output:
        body["output_config"] = output
    temperature = asked.temperature
    if temperature is not None and temperature > 1:
        asked.leave_out("temperature")  # 0 to 2 there, 0 to 1 here
        temperature = None
    given = {
        "temperature": temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "stop_sequences": asked.stop or None,
    }
    unsaid = ("seed", "frequency_penalty", "presence_penalty", "verbosity")
    asked.leave_out(*(name for name in unsaid if getattr(asked, name) not in (None, "")))
    if asked.has_detailed_images():
        asked.leave_out("image.detail")
    return body | {name: value for name, value in given.items() if value is not None}


def _message(raw: Any, where: str, asked: Conversation) -> Message:
    members = Members(raw, where)
    role = members.text("role")
    if role not in ("user", "assistant", "system"):
        raise UntranslatableError(f"{where}.role is {role!r}")
    known: Role = "user" if role == "user" else "assistant" if role == "assistant" else "system"
    content = members.any("content")
    members.skip(frozenset({"id"}))
    asked.leave_out(*members.rest("messages"))
    if isinstance(content, str):
        return Message(known, (Text(content),) if content else ())
    if not isinstance(content, list):
        raise UntranslatableError(f"{where}.content is neither text nor blocks")
    parts: list[Part] = []
    for number, each in enumerate(content):
        parts += _block(each, f"{where}.content[{number}]", asked)
    return Message(known, tuple(parts))


def _block(raw: Any, where: str, asked: Conversation) -> list[Part]:
    block = Members(raw, where)
    kind = block.text("type")
    block.skip(_UNHEARD_IN_PARTS)
    found: list[Part] = []
    match kind:
        case "text":
            text = block.text("text")
            found += [Text(text)] if text else []
        case "image":
            found.append(Image(_image(block.members("source"), where)))
        case "tool_use":
            arguments = orjson.dumps(block.any("input") or {}).decode()
            found.append(ToolCall(block.text("id"), block.text("name"), arguments))
        case "tool_result":
            content = _content(block.any("content"), f"{where}.content", asked)
            found.append(ToolResult(block.text("tool_use_id"), content, bool(block.boolean("is_error"))))
        case "thinking" | "redacted_thinking":
            asked.leave_out("messages.thinking")  # signed: of use to the model that thought it alone
            return []
        case _:
            raise UntranslatableError(f"{where} is a block of type {kind!r}")
    asked.leave_out(*block.rest("messages.content"))
    return found


def _content(raw: Any, where: str, asked: Conversation) -> tuple[Text | Image, ...]:
    """Text, or blocks that hold text and images alone."""
    if raw is None or isinstance(raw, str):
        return (Text(raw),) if raw else ()
    if not isinstance(raw, list):
        raise UntranslatableError(f"{where} is neither text nor blocks")
    found: list[Text | Image] = []
    for number, each in enumerate(raw):
        for part in _block(each, f"{where}[{number}]", asked):
            if not isinstance(part, (Text, Image)):
                raise UntranslatableError(f"{where}[{number}] is neither text nor an image")
            found.append(part)
    return tuple(found)


def _image(source: Members, where: str) -> str:
    match kind := source.text("type"):
        case "base64":
            return f"data:{source.text('media_type')};base64,{source.text('data')}"
        case "url":
            return source.text("url")
        case _:
            raise UntranslatableError(f"{where} is an image of type {kind!r}, which the provider keeps")


def _tool(raw: Any, where: str, asked: Conversation) -> Tool:
    members = Members(raw, where)
    if (kind := members.any("type")) not in (None, "custom"):
        raise UntranslatableError(f"{where} is a tool of type {kind!r}, which is not of all APIs")
    members.skip(_UNHEARD_IN_TOOLS)
    tool = Tool(
        members.text("name"),
        members.text("description"),
        members.object("input_schema") or {},
        members.boolean("strict"),
    )
    asked.leave_out(*members.rest("tools"))
    return tool


def _one_of(kind: str) -> Any:
    if kind not in _CHOICES:
        raise UntranslatableError(f"tool_choice is of type {kind!r}")
    return _CHOICES[kind]


def _merged(messages: list[Message]) -> list[dict[str, Any]]:
    """Messages of one role that follow each other are one: results of tools stand in the user's."""
    written: list[dict[str, Any]] = []
    for message in messages:
        blocks = [_written(part) for part in message.parts]
        if not blocks:
            continue
        if written and written[-1]["role"] == message.role:
            written[-1]["content"] += blocks
        else:
            written.append({"role": message.role, "content": blocks})
    for each in written:
        if len(each["content"]) == 1 and each["content"][0]["type"] == "text":
            each["content"] = each["content"][0]["text"]
    return written


def _written(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            if data := _DATA.fullmatch(part.url):
                return {
                    "type": "image",
                    "source": {"type": "base64", "media_type": data[1], "data": data[2]},
                }
            return {"type": "image", "source": {"type": "url", "url": part.url}}
        case ToolCall():
            return {"type": "tool_use", "id": call_id(part.id, _ID), "name": part.name, "input": part.given()}
        case ToolResult():
            content = [_written(each) for each in part.content]
            block: dict[str, Any] = {
                "type": "tool_result",
                "tool_use_id": call_id(part.id, _ID),
                "content": content,
            }
            return block | ({"is_error": True} if part.is_error else {})


def _written_tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    written["input_schema"] = tool.schema or {"type": "object", "properties": {}}
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written


def _described(wanted: Format, asked: Conversation) -> dict[str, Any]:
    """The schema, which says here itself what the answer is."""
    schema = wanted.schema or {}
    if not wanted.description or schema.get("description") == wanted.description:
        return schema
    if "description" in schema:
        asked.leave_out("response_format.description")
        return schema
    return schema | {"description": wanted.description}


def _written_choice(asked: Conversation) -> dict[str, Any]:
    choice: dict[str, Any] = {}
    if isinstance(asked.tool_choice, ToolNamed):
        choice = {"type": "tool", "name": asked.tool_choice.name}
    elif asked.tool_choice:
        choice = {"type": {said: name for name, said in _CHOICES.items()}[asked.tool_choice]}
    if asked.parallel_tool_calls is False and asked.tool_choice != "none":
        choice = {"type": "auto"} | choice | {"disable_parallel_tool_use": True}
    return choice
