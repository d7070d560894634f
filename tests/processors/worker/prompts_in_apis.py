"""A prompt as services ask it in each API: alone, with a system prompt, with tools, images, schemas and parameters.

Written as the providers document their APIs, by hand, and not by our own writers.
"""

from collections.abc import Callable
from typing import Any

CHAT, RESPONSES, MESSAGES, BEDROCK = (
    "openai.chat",
    "openai.responses",
    "anthropic.messages",
    "bedrock.converse",
)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SYSTEM = "You are the help desk of a shop. Answer shortly; say so if you don't know."
EARLIER = ("What did I order?", "A lamp, on Monday.")
TOLD = "It was sent, and comes tomorrow."
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "order_number": {"type": "integer"},
        "carrier": {"type": "string", "enum": ["post", "van"]},
    },
    "required": ["order_number", "carrier"],
    "additionalProperties": False,
}
LOOK_UP = ("look_up_order", "Where an order is.")
ARGUMENTS = {"order_number": 4711, "carrier": "van"}
CALL = "call_a1b2c3"

Shape = Callable[[str], dict[str, Any]]


def _chat(prompt: Any, **more: Any) -> dict[str, Any]:
    before = more.pop("before", [])
    return {"model": "asked", "messages": [*before, {"role": "user", "content": prompt}]} | more


def _chat_tools(prompt: str) -> dict[str, Any]:
    name, about = LOOK_UP
    function = {"name": name, "arguments": '{"order_number": 4711, "carrier": "van"}'}
    before = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": EARLIER[0]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": CALL, "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": CALL, "content": TOLD},
        {"role": "assistant", "content": EARLIER[1]},
    ]
    tool = {"name": name, "description": about, "parameters": SCHEMA, "strict": True}
    tools = [{"type": "function", "function": tool}]
    return _chat(prompt, before=before, tools=tools, tool_choice="auto", parallel_tool_calls=False)


CHATS: dict[str, Shape] = {
    "plain": _chat,
    "system": lambda prompt: _chat(
        prompt, before=[{"role": "developer", "content": SYSTEM}], temperature=0.31, max_tokens=777
    ),
    "turns": lambda prompt: _chat(
        prompt,
        before=[
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": EARLIER[0]},
            {"role": "assistant", "content": EARLIER[1]},
        ],
        max_completion_tokens=777,
        stream=True,
        stream_options={"include_usage": True},
        user="u-17",
    ),
    "tools": _chat_tools,
    "image": lambda prompt: _chat(
        [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            {"type": "text", "text": prompt},
        ],
    ),
    "image by address": lambda prompt: _chat(
        [
            {"type": "text", "text": prompt},
            {"type": "image_url", "image_url": {"url": "https://example.com/lamp.png", "detail": "high"}},
        ],
    ),
    "schema": lambda prompt: _chat(
        prompt,
        reasoning_effort="low",
        response_format={
            "type": "json_schema",
            "json_schema": {
                "name": "where_it_is",
                "description": "Where the order is.",
                "schema": SCHEMA,
                "strict": True,
            },
        },
    ),
    "parameters": lambda prompt: _chat(
        prompt,
        temperature=0.31,
        top_p=0.87,
        max_tokens=777,
        stop=["\n\n##", "END"],
        seed=12345,
        frequency_penalty=0.42,
        presence_penalty=0.43,
        logit_bias={"50256": -99},
        verbosity="low",
    ),
}


def _response(asked: Any, **more: Any) -> dict[str, Any]:
    return {"model": "asked", "input": asked} | more


def _response_tools(prompt: str) -> dict[str, Any]:
    name, about = LOOK_UP
    arguments = '{"order_number":4711,"carrier":"van"}'
    asked = [
        {"role": "user", "content": EARLIER[0]},
        {"type": "function_call", "call_id": CALL, "name": name, "arguments": arguments},
        {"type": "function_call_output", "call_id": CALL, "output": TOLD},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": EARLIER[1], "annotations": []}],
        },
        {"role": "user", "content": [{"type": "input_text", "text": prompt}]},
    ]
    tools = [{"type": "function", "name": name, "description": about, "parameters": SCHEMA, "strict": True}]
    return _response(asked, instructions=SYSTEM, tools=tools, tool_choice="auto", parallel_tool_calls=False)


RESPONSE_BODIES: dict[str, Shape] = {
    "plain": _response,
    "system": lambda prompt: _response(prompt, instructions=SYSTEM, temperature=0.31, max_output_tokens=777),
    "turns": lambda prompt: _response(
        [
            {"role": "developer", "content": SYSTEM},
            {"role": "user", "content": EARLIER[0]},
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": EARLIER[1], "annotations": []}],
            },
            {"role": "user", "content": prompt},
        ],
        max_output_tokens=777,
        stream=True,
        store=False,
    ),
    "tools": _response_tools,
    "image": lambda prompt: _response(
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
                    {"type": "input_text", "text": prompt},
                ],
            }
        ]
    ),
    "image by address": lambda prompt: _response(
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": prompt},
                    {
                        "type": "input_image",
                        "image_url": "https://example.com/lamp.png",
                        "detail": "high",
                    },
                ],
            }
        ]
    ),
    "schema": lambda prompt: _response(
        prompt,
        reasoning={"effort": "low", "summary": "concise"},
        text={
            "format": {
                "type": "json_schema",
                "name": "where_it_is",
                "description": "Where the order is.",
                "schema": SCHEMA,
                "strict": True,
            }
        },
    ),
    "parameters": lambda prompt: _response(
        prompt,
        temperature=0.31,
        top_p=0.87,
        max_output_tokens=777,
        top_logprobs=3,
        truncation="auto",
        text={"verbosity": "low"},
        max_tool_calls=9,
    ),
}


def _message(prompt: Any, **more: Any) -> dict[str, Any]:
    before = more.pop("before", [])
    messages = [*before, {"role": "user", "content": prompt}]
    return {"model": "asked", "max_tokens": 777, "messages": messages} | more


def _message_tools(prompt: str) -> dict[str, Any]:
    name, about = LOOK_UP
    result = {"type": "tool_result", "tool_use_id": CALL, "content": [{"type": "text", "text": TOLD}]}
    before = [
        {"role": "user", "content": EARLIER[0]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "They ask for it.", "signature": "c2lnbmVk"},
                {"type": "tool_use", "id": CALL, "name": name, "input": ARGUMENTS},
            ],
        },
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": EARLIER[1]},
    ]
    tools = [{"name": name, "description": about, "input_schema": SCHEMA, "strict": True}]
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    return _message(prompt, before=before, system=SYSTEM, tools=tools, tool_choice=choice)


MESSAGE_BODIES: dict[str, Shape] = {
    "plain": _message,
    "system": lambda prompt: _message(
        prompt,
        system=[{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
        temperature=0.31,
    ),
    "turns": lambda prompt: _message(
        [{"type": "text", "text": prompt, "cache_control": {"type": "ephemeral"}}],
        before=[
            {"role": "user", "content": EARLIER[0]},
            {"role": "assistant", "content": [{"type": "text", "text": EARLIER[1]}]},
        ],
        system=SYSTEM,
        stream=True,
        metadata={"user_id": "u-17"},
    ),
    "tools": _message_tools,
    "image": lambda prompt: _message(
        [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            {"type": "text", "text": prompt},
        ]
    ),
    "image by address": lambda prompt: _message(
        [
            {"type": "text", "text": prompt},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/lamp.png"}},
        ]
    ),
    "schema": lambda prompt: _message(
        prompt,
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        thinking={"type": "adaptive"},
    ),
    "parameters": lambda prompt: _message(
        prompt,
        temperature=0.31,
        top_p=0.87,
        top_k=41,
        stop_sequences=["\n\n##", "END"],
        service_tier="auto",
    ),
}


def _converse(content: list[Any], **more: Any) -> dict[str, Any]:
    before = more.pop("before", [])
    return {"messages": [*before, {"role": "user", "content": content}]} | more


def _converse_tools(prompt: str) -> dict[str, Any]:
    name, about = LOOK_UP
    before = [
        {"role": "user", "content": [{"text": EARLIER[0]}]},
        {
            "role": "assistant",
            "content": [{"toolUse": {"toolUseId": CALL, "name": name, "input": ARGUMENTS}}],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": CALL, "content": [{"text": TOLD}], "status": "success"}}
            ],
        },
        {"role": "assistant", "content": [{"text": EARLIER[1]}]},
    ]
    spec = {"name": name, "description": about, "inputSchema": {"json": SCHEMA}, "strict": True}
    config = {"tools": [{"toolSpec": spec}], "toolChoice": {"auto": {}}}
    return _converse([{"text": prompt}], before=before, system=[{"text": SYSTEM}], toolConfig=config)


CONVERSE_BODIES: dict[str, Shape] = {
    "plain": lambda prompt: _converse([{"text": prompt}]),
    "system": lambda prompt: _converse(
        [{"text": prompt}],
        system=[{"text": SYSTEM}, {"cachePoint": {"type": "default"}}],
        inferenceConfig={"temperature": 0.31, "maxTokens": 777},
    ),
    "turns": lambda prompt: _converse(
        [{"text": prompt}],
        before=[
            {"role": "user", "content": [{"text": EARLIER[0]}]},
            {"role": "assistant", "content": [{"text": EARLIER[1]}]},
        ],
        system=[{"text": SYSTEM}],
        requestMetadata={"user": "u-17"},
    ),
    "tools": _converse_tools,
    "image": lambda prompt: _converse(
        [{"image": {"format": "png", "source": {"bytes": PNG}}}, {"text": prompt}]
    ),
    "schema": lambda prompt: _converse(
        [{"text": prompt}],
        outputConfig={
            "textFormat": {
                "type": "json_schema",
                "structure": {
                    "jsonSchema": {
                        "name": "where_it_is",
                        "description": "Where the order is.",
                        "schema": (
                            '{"type":"object","properties":{"order_number":{"type":"integer"},"carrier":'
                            '{"type":"string","enum":["post","van"]}},"required":["order_number","carrier"],'
                            '"additionalProperties":false}'
                        ),
                    }
                },
            }
        },
    ),
    "parameters": lambda prompt: _converse(
        [{"text": prompt}],
        inferenceConfig={
            "temperature": 0.31,
            "topP": 0.87,
            "maxTokens": 777,
            "stopSequences": ["\n\n##", "END"],
        },
        additionalModelRequestFields={"top_k": 41},
    ),
}

BODIES: dict[str, dict[str, Shape]] = {
    CHAT: CHATS,
    RESPONSES: RESPONSE_BODIES,
    MESSAGES: MESSAGE_BODIES,
    BEDROCK: CONVERSE_BODIES,
}
"""By protocol and by what is asked beside the prompt."""
