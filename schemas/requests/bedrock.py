"""A request of Amazon Bedrock's Converse API as a conversation, and back. Pure. The model stands in its address.

Format: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html.
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

_UNHEARD = frozenset(
    {"requestMetadata", "performanceConfig", "serviceTier", "additionalModelResponseFieldPaths"}
)
_REFUSED = {
    "guardrailConfig": "the provider's own guardrail",
    "promptVariables": "the prompt is kept by the provider",
}
_CHOICES = {"auto": "auto", "any": "required"}
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_FORMATS = ("png", "jpeg", "gif", "webp")
_DATA = re.compile(r"data:image/([^;,]+);base64,(.*)", re.DOTALL)
_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")


def read(body: Any) -> Conversation:
    """What the request asks.

    Raises:
        UntranslatableError: it asks for something that other APIs have no words for, or is no such request.
    """
    members = Members(body, "")
    members.skip(_UNHEARD | {"modelId", "model"})
    members.refuse(_REFUSED)
    asked = Conversation()
    if system := _blocks(members.items("system"), "system"):
        asked.messages.append(Message("system", tuple(system)))
    for number, raw in enumerate(members.items("messages")):
        message = Members(raw, where := f"messages[{number}]")
        role = message.text("role")
        if role not in _ROLES:
            raise UntranslatableError(f"{where}.role is {role!r}")
        parts = _blocks(message.items("content"), f"{where}.content", asked)
        asked.leave_out(*message.rest("messages"))
        asked.messages.append(Message(_ROLES[role], tuple(parts)))
    if asked.messages and asked.messages[-1].role == "assistant":
        raise UntranslatableError("the last message is the assistant's: an answer that is begun")
    tools = members.members("toolConfig")
    for number, raw in enumerate(tools.items("tools")):
        asked.tools += _tool(Members(raw, f"toolConfig.tools[{number}]"))
    choice = tools.members("toolChoice")
    for kind, said in _CHOICES.items():
        if choice.object(kind) is not None:
            asked.tool_choice = said  # type: ignore[assignment]  # one of Choice
    if (named := choice.object("tool")) is not None:
        asked.tool_choice = ToolNamed(str(named.get("name", "")))
    inference = members.members("inferenceConfig")
    asked.max_tokens = inference.integer("maxTokens")
    asked.temperature = inference.number("temperature")
    asked.top_p = inference.number("topP")
    asked.stop = inference.texts("stopSequences")
    extra = members.members("additionalModelRequestFields")
    asked.top_k = extra.integer("top_k")
    asked.leave_out(*extra.rest())
    output = members.members("outputConfig")
    asked.effort = output.text("effort")
    asked.format = _format(output.members("textFormat"))
    asked.leave_out(*choice.rest(), *tools.rest(), *inference.rest(), *output.rest(), *members.rest())
    return asked


def write(asked: Conversation) -> dict[str, Any]:
    """The body of the request that asks it; what it can't say is added to ``asked.left_out``.

    Raises:
        UntranslatableError: the conversation can't be said without a part of it.
    """
    first = next((n for n, each in enumerate(asked.messages) if each.role != "system"), len(asked.messages))
    messages = _merged(asked.messages[first:])
    if not messages:
        raise UntranslatableError(
            "there is no message but the system's, and this API needs one of the user's"
        )
    if messages[0]["role"] != "user":
        raise UntranslatableError("the first message is the assistant's, and this API needs the user's")
    if messages[-1]["role"] == "assistant":
        raise UntranslatableError("the last message is the assistant's: here, the beginning of the answer")
    body: dict[str, Any] = {"messages": messages}
    if system := [_written(part) for message in asked.messages[:first] for part in message.parts]:
        if any("text" not in block for block in system):
            raise UntranslatableError(
                "there is more than text in the system prompt, and this API takes only text"
            )
        body["system"] = system
    temperature = asked.temperature
    if temperature is not None and temperature > 1:
        asked.leave_out("temperature")  # 0 to 2 there, 0 to 1 here
        temperature = None
    given = {
        "maxTokens": asked.max_tokens,
        "temperature": temperature,
        "topP": asked.top_p,
        "stopSequences": asked.stop or None,
    }
    if said := {name: value for name, value in given.items() if value is not None}:
        body["inferenceConfig"] = said
    if tools := _written_tools(asked):
        body["toolConfig"] = tools
    if output := _written_output(asked):
        body["outputConfig"] = output
    unsaid = ("top_k", "seed", "frequency_penalty", "presence_penalty", "verbosity")
    asked.leave_out(*(name for name in unsaid if getattr(asked, name) not in (None, "")))
    if asked.has_detailed_images():
        asked.leave_out("image.detail")
    return body


def _blocks(raws: list[Any], where: str, asked: Conversation | None = None) -> list[Any]:
    """The parts of a message; without ``asked`` of a place that holds text and images alone."""
    found: list[Part] = []
    for number, raw in enumerate(raws):
        block = Members(raw, at := f"{where}[{number}]")
        block.skip(frozenset({"cachePoint"}))
        if text := block.text("text"):
            found.append(Text(text))
        elif (image := block.object("image")) is not None:
            source = Members(image, f"{at}.image").members("source")
            found.append(Image(f"data:image/{image.get('format')};base64,{_bytes(source, at)}"))
        elif asked is None:
            if (value := block.any("json")) is not None:  # of a tool's result
                found.append(Text(orjson.dumps(value).decode()))
        elif (call := block.object("toolUse")) is not None:
            use = Members(call, f"{at}.toolUse")
            arguments = orjson.dumps(use.any("input") or {}).decode()
            found.append(ToolCall(use.text("toolUseId"), use.text("name"), arguments))
            asked.leave_out(*use.rest("messages.toolUse"))
        elif (result := block.object("toolResult")) is not None:
            told = Members(result, f"{at}.toolResult")
            content = tuple(_blocks(told.items("content"), f"{at}.toolResult.content"))
            found.append(ToolResult(told.text("toolUseId"), content, told.text("status") == "error"))
            asked.leave_out(*told.rest("messages.toolResult"))
        elif block.object("reasoningContent") is not None:
            asked.leave_out("messages.reasoningContent")  # of use to the model that thought it alone
        if rest := block.rest():
            raise UntranslatableError(f"{rest[0]} is of no other API")
    return found


def _bytes(source: Members, where: str) -> str:
    data = source.text("bytes")
    if not data:
        raise UntranslatableError(f"{where} is an image that the provider keeps")
    return data


def _tool(members: Members) -> list[Tool]:
    if members.object("cachePoint") is not None:
        return []
    spec = members.members("toolSpec")
    name = spec.text("name")
    if not name:
        raise UntranslatableError("toolConfig.tools has a tool that the provider runs")
    schema = spec.members("inputSchema").object("json") or {}
    return [Tool(name, spec.text("description"), schema, spec.boolean("strict"))]


def _format(wanted: Members) -> Format | None:
    if not wanted.text("type"):
        return None
    schema = wanted.members("structure").members("jsonSchema")
    try:
        content = orjson.loads(schema.text("schema"))
    except orjson.JSONDecodeError as exc:
        raise UntranslatableError(f"outputConfig.textFormat: the schema is no JSON: {exc}") from exc
    return Format(content, schema.text("name") or "answer", schema.text("description"), strict=True)


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
    return written


def _written(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {"text": part.text}
        case Image():
            data = _DATA.fullmatch(part.url)
            kind = data[1].replace("jpg", "jpeg") if data else ""
            if data is None or kind not in _FORMATS:
                raise UntranslatableError(
                    f"an image by its address or of another form than {', '.join(_FORMATS)}: this API takes none"
                )
            return {"image": {"format": kind, "source": {"bytes": data[2]}}}
        case ToolCall():
            return {"toolUse": {"toolUseId": call_id(part.id, _ID), "name": part.name, "input": part.given()}}
        case ToolResult():
            content = [_written(each) for each in part.content]
            result = {"toolUseId": call_id(part.id, _ID), "content": content}
            return {"toolResult": result | ({"status": "error"} if part.is_error else {})}


def _written_tools(asked: Conversation) -> dict[str, Any]:
    """Without a word for "call none", the tools are left out; the history may not hold calls of them then."""
    if not asked.tools:
        return {}
    if asked.tool_choice == "none":
        if any(isinstance(part, (ToolCall, ToolResult)) for each in asked.messages for part in each.parts):
            raise UntranslatableError(
                "tool_choice is none after calls of tools, and this API has no word for that"
            )
        asked.leave_out("tool_choice")
        return {}
    tools = []
    for tool in asked.tools:
        spec: dict[str, Any] = {"name": tool.name}
        if tool.description:
            spec["description"] = tool.description
        spec["inputSchema"] = {"json": tool.schema or {"type": "object", "properties": {}}}
        if tool.strict is not None:
            spec["strict"] = tool.strict
        tools.append({"toolSpec": spec})
    if asked.parallel_tool_calls is False:
        asked.leave_out("parallel_tool_calls")
    written: dict[str, Any] = {"tools": tools}
    if isinstance(asked.tool_choice, ToolNamed):
        written["toolChoice"] = {"tool": {"name": asked.tool_choice.name}}
    elif asked.tool_choice:
        written["toolChoice"] = {"any" if asked.tool_choice == "required" else "auto": {}}
    return written


def _written_output(asked: Conversation) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if asked.format is not None and asked.format.schema is not None:
        schema = {"schema": orjson.dumps(asked.format.schema).decode(), "name": asked.format.name}
        if asked.format.description:
            schema["description"] = asked.format.description
        written["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": schema}}
    elif asked.format is not None:
        asked.leave_out("response_format")
    if asked.effort:
        written["effort"] = asked.effort
    return written
