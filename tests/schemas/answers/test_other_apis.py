"""Reading answers of Anthropic's Messages API and of OpenAI's Responses API: whole, in pieces, broken off."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.schemas.answers import READERS, anthropic, openai_responses
from tests.schemas.answers.samples import MESSAGE, MESSAGE_STREAM, RESPONSE, RESPONSE_STREAM, TEXT, event

WHOLE = {"anthropic.messages": MESSAGE, "openai.responses": RESPONSE}
STREAMS = {"anthropic.messages": MESSAGE_STREAM, "openai.responses": RESPONSE_STREAM}
MODELS = {"anthropic.messages": "claude-served", "openai.responses": "gpt-served"}
FIRST = {
    "anthropic.messages": b'"text_delta"',
    "openai.responses": b'"type": "response.output_text.delta"',
}
both = pytest.mark.parametrize("protocol", WHOLE)


@both
def test_a_whole_answer(protocol: str) -> None:
    found = READERS[protocol].whole(json.dumps(WHOLE[protocol]).encode())
    assert (found.output, found.finish_reason, found.complete) == (TEXT, "tool_calls", True)
    assert [(call["name"], json.loads(call["arguments"])) for call in found.tool_calls] == [
        ("look_up", {"order": 17})
    ]
    assert (found.input_tokens, found.output_tokens, found.model) == (7, 9, MODELS[protocol])


@both
@given(places=st.lists(st.integers(0, 10_000), max_size=30), newline=st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_a_streamed_answer_in_whatever_pieces(protocol: str, places: list[int], newline: bytes) -> None:
    body = STREAMS[protocol].replace(b"\n", newline)
    at = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    pieces = [body[a:b] for a, b in itertools.pairwise(at)]
    found = READERS[protocol].stream(pieces)
    assert (found.output, found.finish_reason, found.complete) == (TEXT, "tool_calls", True)
    assert [(call["name"], json.loads(call["arguments"])) for call in found.tool_calls] == [
        ("look_up", {"order": 17})
    ]
    assert (found.input_tokens, found.output_tokens, found.model) == (7, 9, MODELS[protocol])
    first = body.index(FIRST[protocol])
    assert found.first_token_chunk is not None
    ends = body.index(newline * 2, first) + 2 * len(newline)
    assert sum(map(len, pieces[: found.first_token_chunk])) < ends
    assert sum(map(len, pieces[: found.first_token_chunk + 1])) >= ends


@both
@given(st.data())
def test_a_stream_that_breaks_off_is_not_complete_and_keeps_what_came(
    protocol: str, data: st.DataObject
) -> None:
    body = STREAMS[protocol]
    last = body.rindex(
        b"event: message_delta" if protocol == "anthropic.messages" else b"event: response.completed"
    )
    found = READERS[protocol].stream([body[: data.draw(st.integers(0, last))]])
    assert not found.complete
    assert found.problem
    assert TEXT.startswith(found.output)


@both
def test_an_error_in_the_stream_is_what_failed(protocol: str) -> None:
    broken = STREAMS[protocol][: STREAMS[protocol].index(b"event: ", 900)]
    told = {
        "anthropic.messages": event("error", error={"type": "overloaded_error", "message": "Overloaded"}),
        "openai.responses": event("error", code="server_error", message="Overloaded", param=None),
    }[protocol]
    found = READERS[protocol].stream([broken + told])
    assert (found.complete, found.failed) == (False, "Overloaded")


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
    ],
)
def test_why_a_message_ended_in_the_words_of_a_chat_completion(reason: str, finish: str) -> None:
    body = json.dumps(MESSAGE | {"stop_reason": reason}).encode()
    assert anthropic.read(body).finish_reason == finish


@pytest.mark.parametrize(
    ("changes", "finish", "complete"),
    [
        ({"output": RESPONSE["output"][:2]}, "stop", True),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length", True),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            "content_filter",
            True,
        ),
        ({"status": "failed", "error": {"code": "server_error", "message": "no"}}, "", False),
        ({"status": "queued", "output": []}, "", False),
    ],
)
def test_how_a_response_ended(changes: dict[str, Any], finish: str, complete: bool) -> None:
    found = openai_responses.read(json.dumps(RESPONSE | changes).encode())
    assert (found.finish_reason, found.complete) == (finish, complete)
    assert complete or found.failed or found.problem
    kind = "response." + {"queued": "failed"}.get(
        found_status := (RESPONSE | changes)["status"], found_status
    )
    streamed = openai_responses.read_stream([event(kind, response=RESPONSE | changes)])
    assert (streamed.finish_reason, streamed.complete) == (finish, complete)


@pytest.mark.parametrize("protocol", READERS)
@given(body=st.binary(max_size=200))
def test_no_bytes_whatever_raise(protocol: str, body: bytes) -> None:
    assert not READERS[protocol].whole(body).complete
    READERS[protocol].stream([body])


_NAMES = [
    *("type", "content", "content_block", "delta", "error", "index", "input", "item", "item_id", "message"),
    *("model", "name", "output", "partial_json", "response", "status", "stop_reason", "text", "usage"),
    *("input_tokens", "output_tokens", "arguments", "id"),
]
_TYPES = [
    *(
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "message_stop",
        "message",
    ),
    *("response.completed", "response.output_item.added", "response.output_text.delta", "response.failed"),
    *("response.function_call_arguments.delta", "text", "tool_use", "function_call", "input_json_delta"),
]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**60) | st.sampled_from(_TYPES) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=5),
    max_leaves=30,
)


@pytest.mark.parametrize("protocol", READERS)
@given(values=st.lists(_JSON, max_size=4))
def test_no_json_whatever_raises(protocol: str, values: list[Any]) -> None:
    reader = READERS[protocol]
    found = reader.stream([b"data: " + json.dumps(value).encode() + b"\n\n" for value in values])
    assert isinstance(found.output, str)
    assert all(isinstance(text, str) for call in found.tool_calls for text in call.values())
    for value in values:
        assert isinstance(reader.whole(json.dumps(value).encode()).output, str)


@pytest.mark.parametrize(
    ("item", "name", "arguments"),
    [
        (
            {"type": "computer_call", "action": {"type": "click", "x": 1}},
            "computer",
            {"action": {"type": "click", "x": 1}},
        ),
        (
            {"type": "local_shell_call", "action": {"command": ["ls"]}},
            "local_shell",
            {"action": {"command": ["ls"]}},
        ),
        ({"type": "shell_call", "action": {"commands": ["ls"]}}, "shell", {"action": {"commands": ["ls"]}}),
        (
            {"type": "apply_patch_call", "operation": {"path": "a"}},
            "apply_patch",
            {"operation": {"path": "a"}},
        ),
    ],
)
def test_a_tool_that_is_known_by_its_type_is_called(
    item: dict[str, Any], name: str, arguments: dict[str, Any]
) -> None:
    others = [{"type": "web_search_call", "status": "completed"}, {"type": "reasoning", "summary": []}]
    document = {"model": "m", "status": "completed", "output": [*others, item | {"id": "1", "call_id": "2"}]}
    found = READERS["openai.responses"].whole(json.dumps(document).encode())
    assert (found.complete, found.finish_reason) == (True, "tool_calls")
    assert [(call["name"], json.loads(call["arguments"])) for call in found.tool_calls] == [(name, arguments)]
