"""The same question in three APIs: nothing is lost on the way, or it is named."""

import json
from base64 import b64decode
from contextlib import suppress
from typing import Any

import botocore.session
import pydantic
import pytest
from anthropic.types import MessageCreateParams
from botocore.validate import ParamValidator
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

from shadowlane.schemas.requests import APIS, UntranslatableError, translate
from shadowlane.schemas.requests.conversation import Conversation, Image, Message, Part, Text, ToolResult
from tests.schemas.requests.conversations import PNG, conversations

CHAT, RESPONSES, MESSAGES = "openai.chat", "openai.responses", "anthropic.messages"
BEDROCK = "bedrock.converse"
CONVERSE = (
    botocore.session.Session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape
)
every = pytest.mark.parametrize("protocol", APIS)

OFFICIAL: dict[str, pydantic.TypeAdapter[Any]] = {
    CHAT: pydantic.TypeAdapter(completion_create_params.CompletionCreateParamsNonStreaming),
    RESPONSES: pydantic.TypeAdapter(response_create_params.ResponseCreateParamsNonStreaming),
    MESSAGES: pydantic.TypeAdapter(MessageCreateParams),
}
"""What the providers' own SDKs take, as they declare it."""


def plain(asked: Conversation) -> Conversation:
    """As it is the same in each API: who says several things one after the other says one thing of several parts."""
    messages: list[Message] = []
    for message in asked.messages:
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, Text) and parts and isinstance(last := parts[-1], Text):
                parts[-1] = Text(last.text + "\n" + part.text)
            else:
                parts.append(part)
        if messages and messages[-1].role == message.role:
            messages[-1] = Message(message.role, messages[-1].parts + tuple(parts))
        else:
            messages.append(Message(message.role, tuple(parts)))
    asked.messages = messages
    return asked


def suited(asked: Conversation, *protocols: str) -> Conversation:
    """What those APIs have words for: Bedrock has none for an image's address, for "call no tool", for a model."""
    if BEDROCK in protocols:
        asked.messages = [
            Message(each.role, tuple(Image(PNG) if isinstance(part, Image) else part for part in each.parts))
            for each in asked.messages
        ]
        asked.tool_choice = None if asked.tool_choice == "none" else asked.tool_choice
        asked.model = ""
    return asked


def check_official(protocol: str, body: Any) -> None:
    """By what the provider's own SDK takes."""
    if protocol != BEDROCK:
        OFFICIAL[protocol].validate_python(body)
        return
    report = ParamValidator().validate({"modelId": "m"} | _with_bytes(body), CONVERSE)
    assert not report.has_errors(), report.generate_report()


def _with_bytes(value: Any) -> Any:
    """As botocore's callers write it: what is base64 in JSON is bytes there."""
    if isinstance(value, dict):
        return {
            name: b64decode(each) if name == "bytes" else _with_bytes(each) for name, each in value.items()
        }
    return [_with_bytes(each) for each in value] if isinstance(value, list) else value


@every
@given(asked=conversations())
@settings(max_examples=200)
def test_what_was_written_reads_as_what_was_asked(protocol: str, asked: Conversation) -> None:
    suited(asked, protocol)
    body = json.loads(json.dumps(APIS[protocol].write(asked)))
    assert asked.left_out == []
    check_official(protocol, body)
    again = APIS[protocol].read(body)
    if protocol == MESSAGES and again.format is not None:
        assert again.format.schema == asked.format.schema if asked.format else False
    assert plain(again) == plain(asked)


@pytest.mark.parametrize("source", APIS)
@pytest.mark.parametrize("target", APIS)
@given(asked=conversations())
@settings(max_examples=60)
def test_there_and_back_is_the_same_question(source: str, target: str, asked: Conversation) -> None:
    suited(asked, source, target)
    body = APIS[source].write(asked)
    there, left_out = translate(body, source, target)
    back, left_out_too = translate(there, target, source)
    assert (left_out, left_out_too) == ((), ())
    assert plain(APIS[source].read(back)) == plain(APIS[source].read(body))


TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "An order.",
        "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}},
    },
}
CALLED = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "n", "description": "Where it is.", "schema": {"type": "object"}, "strict": True},
}
DESCRIBED = {
    "type": "json_schema",
    "json_schema": {"name": "n", "description": "Where it is.", "schema": {"description": "A place."}},
}
ASKED: dict[str, Any] = {
    "model": "gpt-5",
    "messages": [
        {"role": "developer", "content": "Be short."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "This?"}, {"type": "image_url", "image_url": {"url": PNG}}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "look_up", "arguments": '{"id": 17}'},
                },
                {"id": "call 2", "type": "function", "function": {"name": "look_up", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "on its way"},
        {"role": "tool", "tool_call_id": "call 2", "content": [{"type": "text", "text": "lost"}]},
    ],
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "look_up"}},
    "parallel_tool_calls": False,
    "max_tokens": 99,
    "stop": "END",
    "temperature": 0.5,
    "stream": True,
    "stream_options": {"include_usage": True},
    "user": "u1",
    "seed": 7,
    "logit_bias": {"50256": -100},
}


def test_a_chat_completion_as_a_message_of_anthropics() -> None:
    body, left_out = translate(ASKED, CHAT, MESSAGES)
    OFFICIAL[MESSAGES].validate_python(body)
    second = body["messages"][1]["content"][1]["id"]
    assert body == {
        "model": "gpt-5",
        "max_tokens": 99,
        "system": "Be short.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "This?"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "call_1", "name": "look_up", "input": {"id": 17}},
                    {"type": "tool_use", "id": second, "name": "look_up", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "call_1",
                        "content": [{"type": "text", "text": "on its way"}],
                    },
                    {
                        "type": "tool_result",
                        "tool_use_id": second,
                        "content": [{"type": "text", "text": "lost"}],
                    },
                ],
            },
        ],
        "tools": [
            {"name": "look_up", "description": "An order.", "input_schema": TOOL["function"]["parameters"]}  # type: ignore[index]  # of a literal
        ],
        "tool_choice": {"type": "tool", "name": "look_up", "disable_parallel_tool_use": True},
        "temperature": 0.5,
        "stop_sequences": ["END"],
    }
    assert set(left_out) == {"seed", "logit_bias"}


def test_a_chat_completion_as_a_response() -> None:
    body, left_out = translate(ASKED, CHAT, RESPONSES)
    OFFICIAL[RESPONSES].validate_python(body)
    assert body["instructions"] == "Be short."
    assert [item.get("type", item.get("role")) for item in body["input"]] == [
        "user",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
    ]
    assert body["tools"][0]["strict"] is False  # the default there is another one
    assert (body["max_output_tokens"], body["store"]) == (99, False)
    assert set(left_out) == {"seed", "logit_bias", "stop"}


def test_a_chat_completion_as_a_request_of_bedrocks() -> None:
    body, left_out = translate(ASKED, CHAT, BEDROCK)
    check_official(BEDROCK, body)
    user, calls, results = body["messages"]
    assert body["system"] == [{"text": "Be short."}]
    assert user["content"][1] == {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}
    assert calls["content"][0] == {"toolUse": {"toolUseId": "call_1", "name": "look_up", "input": {"id": 17}}}
    second = calls["content"][1]["toolUse"]["toolUseId"]
    assert results["content"][1] == {"toolResult": {"toolUseId": second, "content": [{"text": "lost"}]}}
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": "look_up"}}
    assert body["inferenceConfig"] == {"maxTokens": 99, "temperature": 0.5, "stopSequences": ["END"]}
    assert set(left_out) == {"seed", "logit_bias", "parallel_tool_calls"}


@pytest.mark.parametrize(
    ("source", "target", "changes", "why"),
    [
        (
            CHAT,
            BEDROCK,
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}
                ]
            },
            "an image by its address",
        ),
        (
            CHAT,
            BEDROCK,
            {"messages": ASKED["messages"], "tools": [TOOL], "tool_choice": "none"},
            "no word for that",
        ),
        (BEDROCK, CHAT, {"guardrailConfig": {"guardrailIdentifier": "g"}}, "the provider's own guardrail"),
        (BEDROCK, CHAT, {"toolConfig": {"tools": [{"systemTool": {"name": "s"}}]}}, "the provider runs"),
        (
            BEDROCK,
            CHAT,
            {"messages": [{"role": "user", "content": [{"document": {"name": "d"}}]}]},
            "document is of no other API",
        ),
        (CHAT, MESSAGES, {"audio": {"voice": "x"}}, "sound"),
        (CHAT, MESSAGES, {"modalities": ["text", "audio"]}, "sound"),
        (CHAT, MESSAGES, {"web_search_options": {"a": 1}}, "searches the web"),
        (CHAT, MESSAGES, {"messages": [{"role": "assistant", "content": "Hi"}]}, "first message"),
        (
            CHAT,
            MESSAGES,
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]},
            "beginning of the answer",
        ),
        (CHAT, MESSAGES, {"messages": [{"role": "system", "content": "Hi"}]}, "no message but the system's"),
        (CHAT, RESPONSES, {"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "'custom'"),
        (
            CHAT,
            RESPONSES,
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            "input_audio",
        ),
        (CHAT, RESPONSES, {"max_tokens": "many"}, "max_tokens is not a number"),
        (RESPONSES, CHAT, {"previous_response_id": "resp_1"}, "kept by the provider"),
        (RESPONSES, MESSAGES, {"tools": [{"type": "web_search"}]}, "web_search"),
        (RESPONSES, CHAT, {"input": [{"type": "item_reference", "id": "x"}]}, "item_reference"),
        (RESPONSES, CHAT, {"background": True}, "later"),
        (MESSAGES, CHAT, {"mcp_servers": [{"url": "x"}]}, "servers of tools"),
        (MESSAGES, RESPONSES, {"tools": [{"type": "bash_20250124", "name": "bash"}]}, "bash_20250124"),
        (
            MESSAGES,
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
            "document",
        ),
        (
            MESSAGES,
            CHAT,
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "{"}]},
            "begun",
        ),
        (
            MESSAGES,
            CHAT,
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "1",
                                "content": [
                                    {"type": "image", "source": {"type": "url", "url": "https://x"}},
                                ],
                            }
                        ],
                    }
                ]
            },
            "only text",
        ),
    ],
)
def test_what_can_not_be_asked_elsewhere_says_why(
    source: str, target: str, changes: dict[str, Any], why: str
) -> None:
    bodies: dict[str, dict[str, Any]] = {
        CHAT: {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
        RESPONSES: {"model": "m", "input": "Hi"},
        MESSAGES: {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
        BEDROCK: {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]},
    }
    translate(bodies[source], source, target)
    with pytest.raises(UntranslatableError, match=why):
        translate(bodies[source] | changes, source, target)
    body = bodies[source] | changes
    assert translate(body, source, source) == (body, ())  # to its own API it goes as it is


def test_what_a_schema_is_for_is_said_in_the_schema_where_there_is_no_other_place() -> None:
    body, _ = translate(
        {"messages": [{"role": "user", "content": "Hi"}], "response_format": FORMAT}, CHAT, MESSAGES
    )
    assert body["output_config"]["format"]["schema"] == {"type": "object", "description": "Where it is."}


@pytest.mark.parametrize(
    ("source", "target", "changes", "left_out"),
    [
        (CHAT, MESSAGES, {"temperature": 1.5}, {"temperature"}),
        (CHAT, BEDROCK, {"temperature": 1.5}, {"temperature"}),
        (
            CHAT,
            BEDROCK,
            {"top_k": 3, "response_format": {"type": "json_object"}},
            {"top_k", "response_format"},
        ),
        (CHAT, BEDROCK, {"tools": [TOOL], "tool_choice": "none"}, {"tool_choice"}),
        (CHAT, MESSAGES, {"n": 3, "logprobs": True}, {"n", "logprobs"}),
        (CHAT, MESSAGES, {"response_format": {"type": "json_object"}}, {"response_format"}),
        (CHAT, MESSAGES, {"reasoning_effort": "minimal"}, {"reasoning_effort"}),
        (CHAT, RESPONSES, {"frequency_penalty": 0.5, "presence_penalty": 0}, {"frequency_penalty"}),
        (CHAT, RESPONSES, {"repetition_penalty": 1.1}, {"repetition_penalty"}),
        (
            MESSAGES,
            CHAT,
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "top_k": 5},
            {"thinking", "top_k"},
        ),
        (RESPONSES, CHAT, {"max_tool_calls": 3}, {"max_tool_calls"}),
        (
            RESPONSES,
            CHAT,
            {"reasoning": {"effort": "low", "summary": "auto"}, "text": {"verbosity": "low", "new": 1}},
            {"reasoning.summary", "text.new"},
        ),
        (
            RESPONSES,
            CHAT,
            {
                "input": [
                    {"role": "user", "content": "Hi", "id": "m", "status": "completed", "phase": "x"},
                    {"role": "user", "content": [{"type": "input_text", "text": "Hi", "new": 1}]},
                ]
            },
            {"input.phase", "input.content.new"},
        ),
        (CHAT, MESSAGES, {"response_format": FORMAT}, set()),
        (CHAT, MESSAGES, {"response_format": DESCRIBED}, {"response_format.description"}),
        (CHAT, RESPONSES, {"response_format": FORMAT}, set()),
        (
            CHAT,
            MESSAGES,
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "Hi", "cache_control": {}, "new": 1}],
                        "name": "Ann",
                    },
                    {"role": "assistant", "tool_calls": [CALLED | {"extra_content": {"signed": "x"}}]},
                    {"role": "tool", "tool_call_id": "1", "content": "no"},
                ],
                "tools": [TOOL | {"new": 1}],
            },
            {"messages.name", "messages.content.new", "messages.tool_calls.extra_content", "tools.new"},
        ),
        (
            MESSAGES,
            CHAT,
            {"output_config": {"effort": "low", "task_budget": {"tokens": 9}}},
            {"output_config.task_budget"},
        ),
        (
            MESSAGES,
            CHAT,
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Hi", "new": 1}], "mark": 1}
                ]
            },
            {"messages.content.new", "messages.mark"},
        ),
        (BEDROCK, MESSAGES, {"additionalModelRequestFields": {"top_k": 5}}, set()),
        (
            BEDROCK,
            MESSAGES,
            {"additionalModelRequestFields": {"thinking": {}}, "toolConfig": {"toolChoice": {"new": {}}}},
            {"additionalModelRequestFields.thinking", "toolConfig.toolChoice.new"},
        ),
    ],
)
def test_what_the_other_api_has_no_words_for_is_named(
    source: str, target: str, changes: dict[str, Any], left_out: set[str]
) -> None:
    body: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    if source == RESPONSES:
        body = {"model": "m", "input": "Hi"}
    if source == BEDROCK:
        body = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    _, found = translate(body | changes, source, target)
    assert set(found) == left_out


def test_that_a_tool_failed_is_named_where_it_can_not_be_said() -> None:
    asked = Conversation("m", [Message("user", (ToolResult("1", (Text("no"),), is_error=True),))])
    assert APIS[MESSAGES].write(asked)["messages"][0]["content"][0]["is_error"] is True
    assert asked.left_out == []
    APIS[CHAT].write(asked)
    assert asked.left_out == ["tool_result.is_error"]


_NAMES = [
    *(
        "messages",
        "role",
        "content",
        "type",
        "text",
        "tools",
        "function",
        "name",
        "parameters",
        "tool_choice",
    ),
    *(
        "input",
        "output",
        "system",
        "source",
        "image_url",
        "response_format",
        "tool_calls",
        "arguments",
        "stop",
    ),
    *("model", "max_tokens", "n", "format", "schema", "stop_sequences", "output_config", "call_id"),
]
_WORDS = [
    "user",
    "assistant",
    "tool",
    "system",
    "text",
    "function",
    "image",
    "tool_use",
    "tool_result",
    "message",
]
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(_WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=5),
    max_leaves=25,
)


@pytest.mark.parametrize("source", APIS)
@pytest.mark.parametrize("target", APIS)
@given(value=_JSON)
def test_no_json_whatever_raises_anything_else(source: str, target: str, value: Any) -> None:
    with suppress(UntranslatableError):
        translate(value, source, target)
