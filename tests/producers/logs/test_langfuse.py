"""Langfuse's exported observations."""

from typing import Any

import pytest

from shadowlane.errors import CodecError
from shadowlane.producers.logs import Entry, recognised
from shadowlane.producers.logs.langfuse import read
from tests.producers.logs.samples import COMPLETION, LANGFUSE, LANGFUSE_BLOB, RESPONSE

MESSAGES = [{"role": "user", "content": "why?"}]


def entry(**change: Any) -> Entry:
    found = read(LANGFUSE | change)
    assert found
    return found


@pytest.mark.parametrize("raw", [LANGFUSE, LANGFUSE_BLOB])
def test_both_forms_say_the_same(raw: dict[str, Any]) -> None:
    assert recognised(raw) == "langfuse"
    found = read(raw)
    assert found
    assert found.body == {"model": "gpt-4o-2024-08-06", "messages": MESSAGES, "temperature": 0.2, "top_p": 1}
    assert (found.ts, found.reply.latency_ms, found.reply.ttft_ms) == (1772323200250, 1250.0, 500.0)
    assert (found.reply.output, found.reply.input_tokens, found.reply.output_tokens) == ("Because.", 19, 10)
    assert (found.key, found.source_id) == ("s-1", "obs-1")
    assert found.attributes == {
        "environment": "production",
        "name": "answer",
        "prompt": "why",
        "prompt_version": "3",
    }


def test_tools_come_with_the_messages() -> None:
    tools = [{"type": "function", "function": {"name": "find", "parameters": {}}}]
    call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    found = entry(
        input={"tools": tools, "messages": MESSAGES},
        output={"role": "assistant", "content": None, "tool_calls": [call]},
    )
    assert (found.body["tools"], found.body["messages"]) == (tools, MESSAGES)
    assert found.reply.tool_calls == [{"name": "find", "arguments": "{}"}]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("Because.", "Because."),
        ([{"role": "assistant", "content": "Because."}, {"role": "assistant", "content": "No."}], "Because."),
        (COMPLETION, "Because."),
        ('{"role": "assistant", "content": "Because."}', "Because."),
        ('{"answer": 3}', '{"answer": 3}'),
        ({"answer": 3}, '{"answer":3}'),
    ],
)
def test_outputs_as_they_are_traced(output: Any, said: str) -> None:
    assert entry(output=output).reply.output == said


def test_the_responses_api() -> None:
    found = entry(input={"input": "why?", "instructions": "Be brief."}, output=RESPONSE["output"][0])
    assert (found.protocol, found.reply.output) == ("openai.responses", "Because.")
    assert (found.body["input"], found.body["instructions"]) == ("why?", "Be brief.")


def test_a_text_is_what_a_user_said() -> None:
    assert entry(input="why?").body["messages"] == MESSAGES


@pytest.mark.parametrize(
    ("message", "error", "status"),
    [
        ("Error code: 429 - {'error': {'message': 'slow down'}}", "throttled", 429),
        ("Error code: 500 - oh", "http", 500),
        ("ValueError: 429 apples", "exception", 0),
        (None, "exception", 0),
    ],
)
def test_an_error_is_a_failure(message: str | None, error: str, status: int) -> None:
    found = entry(level="ERROR", statusMessage=message, output=None, usageDetails={})
    assert (found.reply.error, found.reply.status, found.reply.output) == (error, status, "")


def test_what_is_no_generation_is_left_out() -> None:
    assert read(LANGFUSE | {"type": "SPAN"}) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": None}, "type: is missing"),
        ({"startTime": "yesterday"}, "startTime: 'yesterday' is no time"),
        ({"startTime": None}, "startTime: None is no time"),
        ({"input": None}, "input: is missing; export with inputs"),
        ({"input": 3}, "input: is neither messages nor a text"),
        ({"output": None}, "output: is missing, and level is not ERROR"),
        ({"output": {"choices": []}}, "output: the answer is no chat completion"),
    ],
)
def test_a_line_that_cant_be_read_says_why(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        read(LANGFUSE | change)
