"""LiteLLM's StandardLoggingPayload."""

from typing import Any

import pytest

from shadowlane.errors import CodecError
from shadowlane.producers.logs import Entry, recognised
from shadowlane.producers.logs.litellm import read
from tests.producers.logs.samples import COMPLETION, LITELLM, LITELLM_FAILURE, RESPONSE


def entry(raw: Any) -> Entry:
    found = read(raw)
    assert found
    return found


def test_a_streamed_completion() -> None:
    assert recognised(LITELLM) == "litellm"
    found = entry(LITELLM)
    assert found.body == {
        "model": "gpt-4o-2024-08-06",
        "temperature": 0.2,
        "stream": True,
        "messages": [{"role": "user", "content": "why?"}],
    }
    assert (found.ts, found.reply.latency_ms, found.reply.ttft_ms) == (1772323200250, 1250.0, 500.0)
    assert (found.reply.output, found.reply.input_tokens, found.reply.output_tokens) == ("Because.", 19, 10)
    assert (found.key, found.source_id) == ("s-1", LITELLM["id"])
    assert found.attributes == {"model_group": "smart", "team": "search", "tags": "beta,eu"}


def test_what_was_not_streamed_has_no_first_token() -> None:
    assert entry(LITELLM | {"stream": None}).reply.ttft_ms is None


def test_without_a_session_the_end_user_and_then_the_trace_is_the_key() -> None:
    assert entry(LITELLM | {"session_id": ""}).key == "u-7"
    assert entry(LITELLM | {"session_id": "", "end_user": None}).key == LITELLM["trace_id"]


def test_a_failure() -> None:
    found = entry(LITELLM_FAILURE)
    assert (found.reply.error, found.reply.status) == ("throttled", 429)
    assert found.reply.error_message == "RateLimitError: OpenAIException - slow down"
    assert (found.reply.output, found.reply.input_tokens, found.reply.ttft_ms) == ("", None, None)


@pytest.mark.parametrize(
    ("told", "error", "status"),
    [
        ({"error_code": "408", "error_class": "Timeout"}, "timeout", 408),
        ({"error_code": "", "error_class": "APIConnectionError"}, "connection", 0),
        ({"error_code": "400", "error_class": "BadRequestError"}, "http", 400),
        ({}, "exception", 0),
        (None, "exception", 0),
    ],
)
def test_kinds_of_failures(told: Any, error: str, status: int) -> None:
    found = entry(LITELLM_FAILURE | {"error_information": told})
    assert (found.reply.error, found.reply.status) == (error, status)


def test_a_response_says_itself_what_it_was_asked_besides() -> None:
    raw = LITELLM | {"call_type": "aresponses", "response": RESPONSE | {"instructions": "Be brief."}}
    found = entry(raw)
    assert (found.protocol, found.body["instructions"]) == ("openai.responses", "Be brief.")
    assert (found.body["input"], found.reply.output) == (LITELLM["messages"], "Because.")


def test_messages_are_answered_as_chat_completions() -> None:
    found = entry(LITELLM | {"call_type": "anthropic_messages"})
    assert (found.protocol, found.reply.output) == ("anthropic.messages", "Because.")


def test_what_asks_no_language_model_is_left_out() -> None:
    assert read(LITELLM | {"call_type": "aembedding"}) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"call_type": None}, "call_type: is missing"),
        ({"startTime": "yesterday"}, "startTime: 'yesterday' is no time"),
        ({"messages": "redacted-by-litellm"}, "messages: are not in the log"),
        ({"messages": [{"role": "user", "content": "redacted-by-litellm"}]}, "messages: are not in the log"),
        ({"messages": None}, "messages: are not in the log"),
        ({"response": "redacted-by-litellm"}, "response: is not in the log"),
        ({"response": None}, "response: is missing"),
        ({"response": COMPLETION | {"choices": []}}, "no chat completion"),
    ],
)
def test_a_line_that_cant_be_read_says_why(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        read(LITELLM | change)
