"""JSON lines of any form, by a mapping."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.errors import CodecError, ConfigError
from shadowlane.producers.logs.mapped import Mapping

FIELDS: dict[str, Any] = {
    "id": "/meta/uuid",
    "request": {"model": "/llm/name", "messages": "/llm/prompt", "temperature": {"value": 0}},
    "output": ["/llm/completion", "/llm/choices/0/text"],
    "error": "/failure",
    "service": {"value": "desk"},
    "ts": {"at": "/begun", "unit": "s"},
    "ended_at": {"at": ["/done", "/closed"], "unit": "iso8601"},
    "ttft": {"at": "/first", "unit": "s"},
    "attributes": {"tenant": "/meta/org~1unit", "tries": "/meta/tries"},
    "input_tokens": "/meta/in",
}
LINE: dict[str, Any] = {
    "meta": {"uuid": "u-1", "org/unit": "acme", "tries": 2, "in": 7},
    "llm": {
        "name": "m-1",
        "prompt": [{"role": "user", "content": "why?"}],
        "choices": [{"text": "Because."}],
    },
    "begun": 1772323200.25,
    "closed": "2026-03-01T00:00:01.5Z",
    "first": 0.5,
}


def test_each_field_is_where_the_mapping_says() -> None:
    found = Mapping(FIELDS).read(LINE)
    assert found.body == {"model": "m-1", "messages": LINE["llm"]["prompt"], "temperature": 0}
    assert (found.protocol, found.model, found.service, found.source_id) == (
        "openai.chat",
        "m-1",
        "desk",
        "u-1",
    )
    assert (found.reply.output, found.reply.input_tokens) == ("Because.", 7)
    assert (found.ts, found.reply.latency_ms, found.reply.ttft_ms) == (1772323200250, 1250.0, 500.0)
    assert found.attributes == {"tenant": "acme", "tries": "2"}


def test_a_failure_is_no_answer() -> None:
    found = Mapping(FIELDS).read({**LINE, "llm": {"name": "m-1", "prompt": []}, "failure": "timeout"})
    assert (found.reply.output, found.reply.error) == ("", "timeout")


def test_a_whole_answer_is_read_as_its_api_has_it() -> None:
    choice = {"message": {"content": "Because."}, "finish_reason": "stop"}
    line = {"req": {"messages": []}, "res": {"choices": [choice]}, "ms": 30}
    found = Mapping({"request": "/req", "response": "/res", "latency": {"at": "/ms", "unit": "ms"}}).read(
        line
    )
    assert (found.reply.output, found.reply.finish_reason, found.reply.latency_ms) == (
        "Because.",
        "stop",
        30.0,
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"llm": {"name": "m"}}, "response: is missing"),
        ({"begun": "soon"}, "ts: 'soon' is no time before 2100; write Unix seconds"),
        ({"closed": 5}, "ended_at: 5 is no time before 2100; write ISO 8601"),
        ({"first": "fast"}, "ttft: 'fast' is no duration"),
        ({"meta": {"uuid": 3}}, "id: "),
    ],
)
def test_a_line_that_cant_be_read_says_why(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        Mapping(FIELDS).read(LINE | change)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (None, "must be an object of our fields"),
        ({"request": "/a", "answer": "/b"}, "'answer' is no field of ours"),
        ({"request": "/a"}, "needs request, and of response, output and error at least one"),
        ({"request": "/a", "output": "b"}, "output: 'b' is no JSON Pointer"),
        ({"request": "/a", "output": ["/b", 3]}, "output: a list has JSON Pointers alone"),
        (
            {"request": "/a", "output": "/b", "ts": {"at": "/t", "unit": "h"}},
            "ts: has at, and as unit one of s, ms",
        ),
        ({"request": "/a", "output": 3}, "output: is neither"),
        ({"request": {"model": {}}, "output": "/b"}, "request.model: is neither"),
    ],
)
def test_a_mapping_that_is_wrong_says_why(fields: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Mapping(fields)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.one_of(JSON, st.dictionaries(st.sampled_from(["request", "output", "ts", "attributes"]), JSON)))
def test_no_mapping_raises_anything_but_the_refusal(fields: Any) -> None:
    try:
        mapping = Mapping(fields)
    except ConfigError:
        return
    lines: list[Any] = [LINE, [], "", None]
    for raw in lines:
        with contextlib.suppress(CodecError):
            mapping.read(raw)
