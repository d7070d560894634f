"""Reading chat completions: whatever the pieces, the providers' variants, and what breaks off."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.producers.decoding import decode_chunks
from shadowlane.schemas.answers.answer import error_message, events
from shadowlane.schemas.answers.openai_chat import read, read_stream
from tests.producers.model_server import CALLS, DONE, STREAM, STREAMED_CALLS, TEXT, USAGE, chunk, completion


def cut(body: bytes, places: list[int]) -> list[bytes]:
    at = [0, *sorted(p % (len(body) + 1) for p in places), len(body)]
    return [body[a:b] for a, b in itertools.pairwise(at)]


@given(st.lists(st.integers(0, 10_000), max_size=30), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_the_pieces_that_the_network_makes_do_not_matter(places: list[int], newline: bytes) -> None:
    found = read_stream(cut(STREAM.replace(b"\n", newline), places))
    assert (found.output, found.finish_reason, found.complete) == (TEXT, "stop", True)
    assert (found.input_tokens, found.output_tokens, found.model) == (7, 3, "served-model")


_BLOCKS = st.sampled_from(
    [
        *(chunk({"content": text}) for text in ("", "a", "} b\n\ndata: {", "[DONE]")),
        *(
            chunk({}, "stop"),
            b"data: {}\n\n",
            b"data: {},{}\n\n",
            b"data: [1]\n\n",
            b"data: [2\n\ndata: 3]\n\n",
        ),
        *(
            b'data: {"error": {"message": "too much"}}\n\n',
            b'data: {"x":\ndata: 1}\n\n',
            b"data: {\n\n",
            b": x\n\n",
        ),
        *(b"data:{}\n\n", b"\n", b"event: x\n", USAGE, DONE),
    ]
)


@given(st.lists(_BLOCKS, max_size=9), st.booleans())
def test_a_stream_read_at_once_says_what_it_does_event_by_event(blocks: list[bytes], done: bool) -> None:
    """Other line ends are read event by event."""
    pieces = [*blocks, DONE] if done else blocks
    found, other = read_stream(pieces), read_stream([piece.replace(b"\n", b"\r\n") for piece in pieces])
    assert vars(found) == vars(other)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=20), st.integers(1, 50))
def test_the_first_token_came_with_the_piece_that_completes_its_event(texts: list[str], size: int) -> None:
    role = chunk({"role": "assistant", "content": ""})
    body = role + b"".join(chunk({"content": t}) for t in texts) + DONE
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    found = read_stream(pieces)
    assert found.output == "".join(texts)
    assert found.first_token_chunk is not None
    ends_at = len(role) + len(chunk({"content": texts[0]}))
    before = sum(map(len, pieces[: found.first_token_chunk]))
    assert before < ends_at <= before + len(pieces[found.first_token_chunk])


@given(st.binary(max_size=300))
def test_no_bytes_whatever_raise(body: bytes) -> None:
    read_stream([body])
    read(body)
    error_message(body)
    assert not read_stream([body]).complete or b"DONE" in body or b"finish" in body


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "content",
                    "tool_calls",
                    "function",
                    "index",
                    "usage",
                    "error",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@given(JSON)
def test_no_json_whatever_raises(value: Any) -> None:
    body = json.dumps(value).encode()
    found = read(body)
    assert isinstance(found.output, str)
    found = read_stream([b"data: " + body + b"\n\n" + DONE])
    assert isinstance(found.output, str)
    assert isinstance(error_message(body), str)


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        (completion(content=None, function_call={"name": "f", "arguments": "{}"}), [("f", "{}")]),
        (
            completion(content=None, tool_calls=[{"function": {"name": "f", "arguments": {"n": 1}}}]),
            [("f", '{"n":1}')],
        ),
        (completion(content=None, tool_calls=[{"custom": {"name": "sh", "input": "ls"}}]), [("sh", "ls")]),
    ],
)
def test_tool_calls_in_the_forms_that_servers_send(body: bytes, calls: list[tuple[str, str]]) -> None:
    assert [(c["name"], c["arguments"]) for c in read(body).tool_calls] == calls


def test_streamed_tool_calls_without_an_index() -> None:
    calls = [{k: v for k, v in call.items() if k != "index"} for call in CALLS[:2]]
    found = read_stream([b"".join(chunk({"tool_calls": [call]}) for call in calls) + DONE])
    assert found.tool_calls == [{"name": "look_up", "arguments": '{"order": '}]
    assert len(read_stream([STREAMED_CALLS]).tool_calls) == 2


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "before its answer"),
        (chunk({"content": "x"}), "before its answer"),
        (b"data: nonsense\n\n", "no JSON"),
        (b"data: [1]\n\n", "no object"),
    ],
)
def test_what_breaks_off_is_not_complete(body: bytes, problem: str) -> None:
    found = read_stream([body])
    assert not found.complete
    assert problem in found.problem


def test_content_parts_comments_and_other_fields() -> None:
    body = (
        b"\xef\xbb\xbf: keep-alive\n\nevent: x\nid: 1\n"
        + chunk({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})
        + b": keep-alive\n\n"
        + USAGE
        + DONE
    )
    assert read_stream([body]).output == "ab"


def test_data_over_several_lines_is_one_event() -> None:
    assert [d for d, _ in events(b"data: a\ndata: b\n\ndata: never ended\n")] == [b"a\nb"]


def test_a_body_that_unfolds_without_end_is_refused() -> None:
    import gzip

    from shadowlane.errors import CodecError

    bomb = gzip.compress(b"\0" * 10_000_000)
    with pytest.raises(CodecError, match="too_large"):
        decode_chunks([bomb], "gzip", 1_000_000)
    with pytest.raises(CodecError, match="undecodable"):
        decode_chunks([b"x"], "br", 1_000_000)
    with pytest.raises(CodecError, match="undecodable"):
        decode_chunks([b"not gzip"], "gzip", 1_000_000)


_NOTHING_OR = st.sampled_from([None, "", "a", 0, 1, False, {}, [], {"content": "x"}, [{"text": "b"}]])


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "choices": st.lists(
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "index": st.sampled_from([0, 1, None, False, "0"]),
                            "delta": _NOTHING_OR
                            | st.dictionaries(st.sampled_from(["content", "role", "refusal"]), _NOTHING_OR),
                            "finish_reason": st.sampled_from([None, "stop", "", 3]),
                        },
                    ),
                    max_size=2,
                )
                | _NOTHING_OR,
                "model": _NOTHING_OR,
                "usage": st.sampled_from([None, {}, {"prompt_tokens": 3}, 5]),
            },
        ),
        max_size=6,
    )
)
def test_events_of_text_alone_are_read_as_any_other(events: list[dict[str, Any]]) -> None:
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    found = read_stream([body])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shadowlane.schemas.answers.openai_chat._text_alone", lambda _: None)
        assert vars(read_stream([body])) == vars(found)
