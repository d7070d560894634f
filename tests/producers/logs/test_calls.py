"""Logs of HTTP calls to OpenAI's and Anthropic's APIs."""

from typing import Any

import pytest

from shadowlane.errors import CodecError, ConfigError
from shadowlane.producers.logs import Entry, recognised
from shadowlane.producers.logs.calls import ANTHROPIC, OPENAI, read
from tests.producers.logs.samples import CHAT_BODY, COMPLETION, MESSAGE, MESSAGES_BODY, RESPONSE

RESPONSES_BODY = {"model": "gpt-4.1", "input": "why?", "instructions": "Be brief."}


def openai(**line: Any) -> Entry:
    return read(line, OPENAI)


def test_a_chat_completion() -> None:
    found = openai(request=CHAT_BODY, response=COMPLETION, latency_ms=512.5, session_id="s-1")
    assert (found.protocol, found.body, found.model) == ("openai.chat", CHAT_BODY, "gpt-4o-2024-08-06")
    assert (found.reply.output, found.reply.finish_reason) == ("Because.", "stop")
    assert (found.reply.input_tokens, found.reply.output_tokens) == (19, 10)
    assert (found.ts, found.reply.latency_ms, found.key) == (1772323201000, 512.5, "s-1")
    assert found.source_id == COMPLETION["id"]


def test_a_response_beside_its_status_and_its_headers() -> None:
    found = openai(
        timestamp="2026-03-01T00:00:00Z",
        request={"method": "POST", "url": "https://api.openai.com/v1/responses", "body": RESPONSES_BODY},
        response={"status_code": 200, "headers": {"x-request-id": "r"}, "body": RESPONSE},
    )
    assert (found.protocol, found.reply.output, found.reply.status) == ("openai.responses", "Because.", 200)
    assert (found.ts, found.source_id) == (1772323200000, RESPONSE["id"])


def test_a_message() -> None:
    found = read(
        {"request_body": MESSAGES_BODY, "response_body": MESSAGE, "time": 1772323200, "status": 200},
        ANTHROPIC,
    )
    assert (found.protocol, found.reply.output, found.reply.finish_reason) == (
        "anthropic.messages",
        "Because.",
        "stop",
    )
    assert (found.ts, found.reply.input_tokens) == (1772323200000, 2095)


def test_a_stream_that_was_logged_as_it_came() -> None:
    events = (
        'data: {"choices":[{"index":0,"delta":{"content":"Be"}}]}\n\n'
        'data: {"choices":[{"index":0,"delta":{"content":"cause."},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    found = openai(request=CHAT_BODY | {"stream": True}, response={"status_code": 200, "body": events})
    assert (found.reply.output, found.reply.finish_reason, found.ts) == ("Because.", "stop", None)


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [(429, "throttled", "slow down"), (529, "throttled", "slow down"), (500, "http", "slow down")],
)
def test_a_failure_is_no_answer(status: int, error: str, message: str) -> None:
    body = {"error": {"message": "slow down", "type": "t", "code": None}}
    found = openai(
        url="/v1/chat/completions",
        request={"body": CHAT_BODY},
        response={"status_code": status, "body": body},
    )
    assert (found.reply.error, found.reply.status, found.reply.error_message) == (error, status, message)
    assert (found.reply.output, found.reply.input_tokens) == ("", None)


def test_an_error_without_a_status_says_it_by_its_kind() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    found = read({"url": "/v1/messages", "request": MESSAGES_BODY, "response": body}, ANTHROPIC)
    assert (found.reply.error, found.reply.status, found.reply.error_message) == (
        "throttled",
        529,
        "Overloaded",
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"response": COMPLETION}, "request: is missing"),
        ({"request": CHAT_BODY}, "response: is missing, and there is no error"),
        ({"request": CHAT_BODY, "response": "Because."}, "response: a text that is no stream"),
        ({"request": CHAT_BODY, "response": {"choices": []}}, "response: the answer is no chat completion"),
        (
            {"request": {"input": [1]}, "response": COMPLETION | {"object": "list", "choices": 3}},
            "no chat completion",
        ),
        (
            {"request": MESSAGES_BODY, "response": MESSAGE},
            "is none of openai.chat or openai.responses, but anthropic",
        ),
        ({"request": CHAT_BODY, "response": COMPLETION, "ts": "soon"}, "ts: 'soon' is no time"),
        ([], "line: is no JSON object"),
    ],
)
def test_a_line_that_cant_be_read_says_why(line: Any, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        read(line, OPENAI)


def test_a_format_that_can_be_told_is_told_and_another_is_asked_for() -> None:
    wrapped = {"request": {"url": "/v1/messages", "body": MESSAGES_BODY}, "response": {"body": MESSAGE}}
    assert recognised({"request": CHAT_BODY, "response": COMPLETION}) == "shadowlane"
    assert recognised({"request": CHAT_BODY, "response": COMPLETION, "latency_ms": 3}) == "openai"
    assert recognised(wrapped | {"status": 200}) == "anthropic"
    with pytest.raises(ConfigError, match=r"--format \(shadowlane, anthropic\)"):
        recognised(wrapped)
    with pytest.raises(CodecError, match=r"langfuse; or give --mapping"):
        recognised({"question": "why?", "answer": "Because."})
