"""Batches: requests and results, joined by custom_id."""

from typing import Any

import pytest

from shadowlane.errors import CodecError
from shadowlane.producers.logs import Entry, recognised
from shadowlane.producers.logs.batch import Joined
from tests.producers.logs.samples import CHAT_BODY, COMPLETION, MESSAGE, MESSAGES_BODY


def asked(name: str) -> dict[str, Any]:
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": CHAT_BODY}


def told(name: str, status: int = 200, body: Any = COMPLETION) -> dict[str, Any]:
    response = {"status_code": status, "request_id": "req_1", "body": body}
    return {"id": f"batch_req_{name}", "custom_id": name, "response": response, "error": None}


def joined(*lines: dict[str, Any], openai: bool = True) -> list[Entry]:
    reader = Joined(openai=openai)
    return [entry for line in lines if (entry := reader.read(line))]


def test_openai_joins_in_any_order() -> None:
    found = joined(told("b"), asked("a"), asked("b"), told("a"))
    assert [one.source_id for one in found] == ["batch_req_b", "batch_req_a"]
    assert [one.reply.output for one in found] == ["Because.", "Because."]
    assert (found[0].ts, found[0].body, found[0].reply.status) == (1772323201000, CHAT_BODY, 200)


def test_openai_failures() -> None:
    broken = {"error": {"message": "no such model", "type": "invalid_request_error"}}
    expired = {
        "id": "b",
        "custom_id": "e",
        "response": None,
        "error": {"code": "batch_expired", "message": "late"},
    }
    found = joined(asked("a"), told("a", 400, broken), asked("e"), expired)
    assert [(one.reply.error, one.reply.status, one.reply.error_message) for one in found] == [
        ("http", 400, "no such model"),
        ("abandoned", 0, "late"),
    ]


def test_anthropic() -> None:
    def result(name: str, **kind: Any) -> dict[str, Any]:
        return {"custom_id": name, "result": kind}

    error = {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "max_tokens"},
        "request_id": None,
    }
    found = joined(
        *({"custom_id": name, "params": MESSAGES_BODY} for name in "abc"),
        result("b", type="errored", error=error),
        result("a", type="succeeded", message=MESSAGE),
        result("c", type="expired"),
        openai=False,
    )
    assert [(one.reply.output, one.reply.error, one.reply.status) for one in found] == [
        ("", "http", 400),
        ("Because.", "", 200),
        ("", "abandoned", 0),
    ]
    assert {one.protocol for one in found} == {"anthropic.messages"}
    assert len({one.source_id for one in found}) == 3


def test_what_never_came_is_told() -> None:
    reader = Joined(openai=True)
    assert [reader.read(asked("a")), reader.read(told("b"))] == [None, None]
    assert reader.rest() == [
        "custom_id 'a': has no result in the files",
        "custom_id 'b': has no request in the files",
    ]


def test_the_lines_are_recognised() -> None:
    assert (recognised(asked("a")), recognised(told("a"))) == ("openai-batch", "openai-batch")
    assert recognised({"custom_id": "a", "params": MESSAGES_BODY}) == "anthropic-batch"
    assert recognised({"custom_id": "a", "result": {"type": "expired"}}) == "anthropic-batch"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([{"body": {}}], "custom_id: is missing"),
        ([{"custom_id": "a"}], "neither a batch's request nor a result"),
        ([asked("a"), asked("a")], "'a' came before; replay the files of one batch at a time"),
        ([asked("a"), told("a"), asked("a")], "'a' came before"),
        (
            [asked("a") | {"url": "/v1/embeddings", "body": {"input": "x"}}, told("a", 200, {})],
            "url: '/v1/embeddings'",
        ),
        ([asked("a"), {"custom_id": "a", "response": None, "error": None}], "error: is missing"),
        ([asked("a"), told("a", 200, {"choices": []})], "no chat completion"),
    ],
)
def test_a_line_that_cant_be_read_says_why(lines: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        joined(*lines)
