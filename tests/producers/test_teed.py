"""What a tee puts into an exchange by itself is what an attachment tells of the same answer hook by hook."""

import gzip
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shadowlane.producers.buffer import FREE_BYTES, OVERHEAD_BYTES
from shadowlane.producers.calls import Attempt, new_call
from shadowlane.producers.exchange import CHUNK_OVERHEAD_BYTES, Exchange
from tests.producers.support import FakeMirror

MAX_BODY = 60_000
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SIZES = [0, 1, 700, FREE_BYTES - OVERHEAD_BYTES, FREE_BYTES, 50_000, 70_000]
shared_mirror = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def asked(size: int) -> bytes:
    return b'{"x": "' + b"y" * size + b'"}'


def teed(
    fake: FakeMirror, body: bytes, pieces: list[bytes], status: int, headers: dict[str, str]
) -> Exchange:
    call = new_call(fake.mirror, "r", lone=True)
    request = httpx2.Request("POST", "http://m/", content=body, headers={"TraceParent": PARENT})
    attempt = call.attempt(Attempt, "openai.chat", request)
    assert attempt is not None
    attempt.respond(status, httpx2.Headers(headers))
    for piece in pieces:
        attempt.room -= len(piece) + CHUNK_OVERHEAD_BYTES
        if attempt.room >= 0:
            attempt.chunks.append(piece)
            attempt.times.append(1.0)
        else:
            attempt.room = attempt.more(piece)
    call.returned()
    attempt.end()
    return attempt.exchange


def told(
    fake: FakeMirror, body: bytes, pieces: list[bytes], status: int, headers: dict[str, str]
) -> Exchange:
    exchange = fake.mirror.begin("r", "openai.chat", traceparent=PARENT)
    assert exchange is not None
    exchange.request(body)
    exchange.respond(status, headers.get("content-type", ""), headers.get("content-encoding", ""))
    for piece in pieces:
        exchange.chunk(piece)
    exchange.finish()
    return exchange


def seen(fake: FakeMirror) -> list[Any]:
    sent = fake.sent()
    assert fake.mirror.stats()["buffered_bytes"] == 0
    return [
        (r.body, r.traceparent, s.output, s.status, s.error, s.error_message, s.finish_reason)
        for r, s in zip(sent.requests, sent.served, strict=True)
    ]


@shared_mirror
@given(
    body=st.sampled_from(SIZES),
    pieces=st.lists(st.sampled_from(SIZES[:4]) | st.integers(0, 3000), max_size=60),
    status=st.sampled_from([200, 500]),
    kind=st.sampled_from(["application/json", "Text/Event-Stream; charset=utf-8", ""]),
)
def test_the_same_goes_out_and_the_same_is_held(body: int, pieces: list[int], status: int, kind: str) -> None:
    found = []
    for way in (teed, told):
        fake = FakeMirror(max_body_bytes=MAX_BODY, buffer_bytes=10_000_000)
        headers = {"content-type": kind.lower() if way is told else kind} if kind else {}
        exchange = way(fake, asked(body), [b"x" * size for size in pieces], status, headers)
        fake.mirror._pipeline.buffer.collect()
        found.append((exchange.cost, exchange.left_out, seen(fake)))
    assert found[0] == found[1]


def test_an_encoded_answer() -> None:
    fake = FakeMirror()
    answer = gzip.compress(b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}')
    teed(fake, b"{}", [answer[:9], answer[9:]], 200, {"content-encoding": "gzip"})
    assert seen(fake) == [({}, PARENT, "Hello", 200, "", "", "stop")]


def test_a_mirror_without_room_holds_nothing_of_a_stream_that_goes_on() -> None:
    fake = FakeMirror(buffer_bytes=100_000)
    call = new_call(fake.mirror, "r", lone=True)
    request = httpx2.Request("POST", "http://m/", content=b"{}")
    attempt = call.attempt(Attempt, "openai.chat", request)
    assert attempt is not None
    attempt.respond(200, httpx2.Headers({"content-type": "text/event-stream"}))
    while attempt.more(b"x" * 10_000) > 0:
        assert fake.mirror.stats()["buffered_bytes"] <= 100_000
    assert attempt.chunks == []
    assert attempt.more(b"more") < 0
    assert attempt.chunks == []
    call.returned()
    attempt.end()
    assert fake.mirror.stats()["dropped"] == {"buffer_full": 1}
    assert fake.mirror.stats()["buffered_bytes"] == 0


def test_what_is_read_after_the_call_was_given_up_goes_nowhere() -> None:
    fake = FakeMirror()
    call = new_call(fake.mirror, "r")
    attempt = call.attempt(Attempt, "openai.chat", httpx2.Request("POST", "http://m/", content=b"{}"))
    assert attempt is not None
    attempt.respond(500, httpx2.Headers())
    attempt.chunks.append(b'{"error": {"message": "no')
    call.raised(OSError("broken"))
    attempt.chunks.append(b" such model")
    attempt.end()
    _, served = fake.one()
    assert served.error_message == '{"error": {"message": "no'


@pytest.mark.parametrize("size", [10, FREE_BYTES])
def test_the_first_token_came_when_its_piece_did(size: int) -> None:
    fake = FakeMirror()
    call = new_call(fake.mirror, "r")
    attempt = call.attempt(Attempt, "openai.chat", httpx2.Request("POST", "http://m/", content=asked(size)))
    assert attempt is not None
    attempt.respond(200, httpx2.Headers({"content-type": "text/event-stream"}))
    for n, text in enumerate(("", "Hel", "lo"), 1):
        attempt.chunks.append(b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % text.encode())
        attempt.times.append(call.started + n)
    call.returned()
    attempt.end()
    assert fake.one()[1].ttft_ms == 2000
