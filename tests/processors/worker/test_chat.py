from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.worker.chat import (
    BadAnswerError,
    ask,
    error_in,
    error_text,
    read,
    without_question,
)
from shadowlane.schemas.answers import Answer
from shadowlane.schemas.config import Candidate
from shadowlane.schemas.events import Failure, MirroredRequest
from shadowlane.schemas.requests import UntranslatableError
from tests.processors.worker.fake_candidate import completion


def request(body: Any, protocol: str = "openai.chat") -> MirroredRequest:
    return MirroredRequest(request_id="a", ts=1, service="s", route="/r", protocol=protocol, body=body)


def candidate(**more: Any) -> Candidate:
    return Candidate(base_url="http://127.0.0.1:1/v1", **more)


def test_the_request_as_it_was_with_the_candidates_changes() -> None:
    body = {
        "model": "old",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.3,
        "max_tokens": 10,
        "seed": None,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function"}],
    }
    before = orjson.dumps(body)
    asked, left_out = ask(
        request(body), candidate(model="new", overrides={"max_tokens": None, "temperature": 1})
    )
    assert left_out == ()
    assert asked == {
        "model": "new",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 1,
        "seed": None,
        "stream": False,
        "tools": [{"type": "function"}],
    }
    assert orjson.dumps(body) == before


def test_the_model_is_kept_where_the_candidate_names_none() -> None:
    assert ask(request({"model": "old"}), candidate())[0]["model"] == "old"


def test_no_override_can_switch_streaming_on() -> None:
    assert ask(request({}), candidate(overrides={"stream": True}))[0]["stream"] is False


def test_http_sends_the_body_as_it_is() -> None:
    body = {"stream": True, "x": [1]}
    assert ask(request(body, "json"), candidate(kind="http", model="m")) == (body, ())


CHAT = {
    "model": "old",
    "messages": [{"role": "system", "content": "Short."}, {"role": "user", "content": "hi"}],
}


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        (
            "openai-responses",
            {"model": "new", "input": [{"role": "user", "content": "hi"}], "instructions": "Short."},
        ),
        ("anthropic", {"model": "new", "messages": [{"role": "user", "content": "hi"}], "system": "Short."}),
    ],
)
def test_a_request_is_asked_in_the_candidates_own_api(kind: str, asked: dict[str, Any]) -> None:
    version = candidate(kind=kind, model="new", overrides={"temperature": 0.5})
    found, left_out = ask(request(CHAT | {"seed": 7, "stream": True}), version)
    assert {name: found[name] for name in asked} == asked
    assert (found["temperature"], found["stream"], left_out) == (0.5, False, ("seed",))


def test_an_override_comes_after_the_translation() -> None:
    version = candidate(kind="anthropic", model="m", overrides={"max_tokens": 77, "system": None})
    found, _ = ask(request(CHAT), version)
    assert found["max_tokens"] == 77
    assert "system" not in found


@pytest.mark.parametrize(
    ("protocol", "body", "failure"),
    [
        ("openai.chat", {}, None),
        ("openai.chat", [1], Failure.UNSUPPORTED),
        ("openai.responses", "x", Failure.UNSUPPORTED),
        ("openai.chat", None, Failure.NO_CONTENT),
        ("json", None, Failure.NO_CONTENT),
        ("json", [1], None),
        ("call", {"a": 1}, None),
    ],
)
def test_where_there_is_a_question(protocol: str, body: Any, failure: Failure | None) -> None:
    refused = without_question(request(body, protocol))
    assert (refused[0] if refused else None) == failure


def test_nobody_is_asked_from_tokens() -> None:
    hashed = request({"messages": [{"role": "[text#abcdefghij]"}]})
    hashed.without_content = "hashed"
    assert without_question(hashed) == (Failure.NO_CONTENT, "mirrored without its content: hashed")


@pytest.mark.parametrize(
    ("kind", "protocol"),
    [("openai", "json"), ("openai", "call"), ("anthropic", "json"), ("openai", "new.api")],
)
def test_no_model_answers_what_is_no_models_request(kind: str, protocol: str) -> None:
    with pytest.raises(UntranslatableError, match=protocol):
        ask(request({"a": 1}, protocol), candidate(kind=kind))


def answer(**message: Any) -> Answer:
    return read("openai.chat", orjson.dumps(completion(**message)))


def test_an_answer_is_read() -> None:
    found = answer(content="yes")
    assert (found.output, found.tool_calls, found.finish_reason) == ("yes", [], "stop")
    assert (found.input_tokens, found.output_tokens) == (7, 3)


def test_tool_calls_are_recorded_and_their_arguments_kept_as_text() -> None:
    calls = [
        {"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
        {"type": "function", "function": {"name": "g", "arguments": {"b": 2}}},
    ]
    found = answer(content=None, tool_calls=calls)
    assert found.output == ""
    assert found.tool_calls == [{"name": "f", "arguments": '{"a": 1}'}, {"name": "g", "arguments": '{"b":2}'}]
    assert answer(content=None, function_call={"name": "f", "arguments": "{}"}).tool_calls == [
        {"name": "f", "arguments": "{}"}
    ]


def test_other_forms_of_content() -> None:
    assert answer(content=None).output == ""
    assert answer(content=None, refusal="no").output == "no"
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    assert read("openai.chat", orjson.dumps({"choices": [{"message": {"content": parts}}]})).output == "ab"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [1]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": 1}}]}',
        b'{"choices": [{"message": {"tool_calls": 1}}]}',
        b'{"choices": [{"message": {"tool_calls": [{"function": {}}]}}]}',
        rb'{"choices": [{"message": {"content": "\ud800"}}]}',
    ],
)
def test_no_completion(payload: bytes) -> None:
    with pytest.raises(BadAnswerError):
        read("openai.chat", payload)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "tool_calls", "function", "usage", "error"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_an_answer_or_a_bad_one(raw: Any) -> None:
    for value in (
        raw,
        {"choices": [raw], "usage": raw},
        {"choices": [{"message": raw, "finish_reason": raw}]},
    ):
        payload = orjson.dumps(value)
        with suppress(BadAnswerError):
            assert isinstance(read("openai.chat", payload), Answer)
        assert isinstance(error_text(error_in(payload), payload), str)


def test_a_json_service_answers_with_its_text() -> None:
    assert read("json", b' {"a":  1}\n').output == '{"a":  1}'
    assert read("json", b"").output == ""
    with pytest.raises(BadAnswerError, match="no JSON"):
        read("json", b"<html>")
