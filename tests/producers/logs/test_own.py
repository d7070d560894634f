"""Our own format: a recorded line becomes what the mirror would have sent; one that can't be read says why."""

import orjson
import pytest

from shadowlane.errors import CodecError
from shadowlane.producers.logs import own
from shadowlane.producers.logs.reading import Call
from shadowlane.producers.logs.records import records
from shadowlane.schemas.events import MirroredRequest, Response

CHAT = {"model": "m-1", "messages": [{"role": "user", "content": "hello"}]}
NOW = 1_790_000_000_000


def read(**line: object) -> tuple[MirroredRequest, Response]:
    raw = orjson.dumps(line)
    entry = own.read(orjson.loads(raw))
    ts = NOW if entry.ts is None else entry.ts
    return records(Call("log.jsonl", 1, entry, raw), ts=ts, service="desk", route="/chat")


def test_a_text_is_the_answer() -> None:
    request, response = read(request=CHAT, response="hi")
    assert (request.protocol, request.model, request.service, request.route) == (
        "openai.chat",
        "m-1",
        "desk",
        "/chat",
    )
    assert (response.output, response.role, response.model) == ("hi", "served", "m-1")
    assert request.request_id == response.request_id
    assert request.ts == response.ts == NOW


def test_a_chat_completion_is_read_as_the_mirror_reads_it() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": '{"q": 1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    _, response = read(
        request=CHAT,
        response={
            "model": "m-1-0613",
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4},
        },
    )
    assert response.tool_calls == [{"name": "find", "arguments": '{"q": 1}'}]
    assert (response.finish_reason, response.model) == ("tool_calls", "m-1")
    assert (response.input_tokens, response.output_tokens) == (3, 4)


def test_our_own_terms_are_taken_as_they_are() -> None:
    request, response = read(
        request={"question": "why"},
        response={"error": "timeout", "latency_ms": 30_000, "status": 504},
        service="shop",
        attributes={"tenant": "a"},
        ts="2026-03-01T12:00:00Z",
    )
    assert (request.protocol, request.service, request.attributes) == ("json", "shop", {"tenant": "a"})
    assert (response.error, response.latency_ms, response.status) == ("timeout", 30_000, 504)
    assert request.ts == 1_772_366_400_000
    assert int(request.request_id[:12], 16) == request.ts, "ids sort by the request's time"


def test_the_same_line_is_the_same_request_and_another_one_is_not() -> None:
    one, again = read(request=CHAT, response="hi", ts=NOW)[0], read(request=CHAT, response="hi", ts=NOW)[0]
    assert one.request_id == again.request_id
    assert read(request=CHAT, response="ho", ts=NOW)[0].request_id != one.request_id
    assert read(request=CHAT, response="hi", ts=NOW, service="shop")[0].request_id != one.request_id


@pytest.mark.parametrize(
    ("body", "response", "protocol"),
    [
        (
            {"model": "m", "input": "hi"},
            {
                "object": "response",
                "status": "completed",
                "output": [{"type": "message", "content": [{"type": "output_text", "text": "ho"}]}],
            },
            "openai.responses",
        ),
        (
            {"model": "m", "messages": []},
            {"type": "message", "content": [{"type": "text", "text": "ho"}]},
            "anthropic.messages",
        ),
    ],
)
def test_the_answers_of_the_other_apis_are_read_too(
    body: dict[str, object], response: dict[str, object], protocol: str
) -> None:
    request, served = read(request=body, response=response)
    assert (request.protocol, served.output) == (protocol, "ho")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"response": "x"}, "request: is missing"),
        ({"request": CHAT}, "response: is missing"),
        ({"request": [], "response": "x"}, "request: "),
        ({"request": CHAT, "response": {"choices": []}}, "response: the answer is no chat completion"),
        ({"request": CHAT, "response": {"output": 3}}, "output: "),
        ({"request": CHAT, "response": "x", "latncy": 3}, "latncy: no such key"),
        ({"request": CHAT, "response": "x", "ts": "soon"}, "ts: is no time"),
        ({"request": CHAT, "response": "x", "ts": -5}, "ts: -5 is no time"),
        (
            {"request": CHAT, "response": "x", "ts": NOW * 1000},
            "is no time before 2100; write Unix milliseconds",
        ),
        ({"request": CHAT, "response": "x", "ts": "2100-01-01T00:00:00Z"}, "is no time before 2100"),
        ({"request": CHAT, "response": "x", "attributes": {"a": 1}}, "attributes.a: "),
        ([], "line: "),
    ],
)
def test_a_line_that_cant_be_read_says_why(line: object, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        own.read(line)
