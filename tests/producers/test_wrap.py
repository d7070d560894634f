"""What a service sees of a wrapped client is what it sees of an unwrapped one; and what is mirrored of it."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from shadowlane.errors import ConfigError
from shadowlane.producers import Mirror
from shadowlane.producers.calls import Attempt, new_call
from tests.producers.model_server import ANSWERS, TEXT, Server, completion, model_server
from tests.producers.support import FakeMirror

MESSAGES: Any = [{"role": "user", "content": "Where is order 17?"}]
STREAMS = [name for name in ANSWERS if name.startswith("stream")] + ["cut-stream", "cut-stream-long"]
WHOLE = [name for name in ANSWERS if not name.startswith("stream")] + ["cut-plain"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with model_server() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)


def client_of(server: Server, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url, api_key="k", **{"max_retries": 1, **options})


def async_client_of(server: Server, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=server.url, api_key="k", **{"max_retries": 1, **options})


def error_seen(error: Exception) -> tuple[Any, ...]:
    cause = error.__cause__
    response = getattr(error, "response", None)
    return (
        "raised",
        type(error),
        str(error),
        getattr(error, "status_code", None),
        getattr(error, "body", None),
        type(cause),
        str(cause),
        None if response is None else getattr(response, "_content", None),
    )


def seen(client: openai.OpenAI, model: str) -> list[Any]:
    """Everything that a service can tell of one model's answers, in each way of asking."""
    chat = client.chat.completions
    out: list[Any] = []

    def note(part: Any) -> None:
        out.append(part)

    def whole() -> None:
        note(chat.create(model=model, messages=MESSAGES).model_dump_json())

    def stream() -> None:
        with chat.create(model=model, messages=MESSAGES, stream=True) as parts:
            for part in parts:
                note(part.model_dump_json())

    def raw() -> None:
        answer = chat.with_raw_response.create(model=model, messages=MESSAGES)
        note((answer.status_code, sorted(answer.headers.items()), answer.content))
        note(answer.parse().model_dump_json())

    def raw_stream() -> None:
        with chat.with_streaming_response.create(model=model, messages=MESSAGES, stream=True) as answer:
            note((answer.status_code, sorted(answer.headers.items())))
            note(b"".join(answer.iter_bytes()))

    def lines() -> None:
        with chat.with_streaming_response.create(model=model, messages=MESSAGES) as answer:
            for line in answer.iter_lines():
                note(line)

    def stopped() -> None:
        for part in chat.create(model=model, messages=MESSAGES, stream=True):
            note(part.model_dump_json())
            break

    for way in (whole, stream, raw, raw_stream, lines, stopped):
        note(way.__name__)
        try:
            way()
        except Exception as error:
            note(error_seen(error))
    return out


async def seen_async(client: openai.AsyncOpenAI, model: str) -> list[Any]:
    chat = client.chat.completions
    out: list[Any] = []

    async def whole() -> None:
        out.append((await chat.create(model=model, messages=MESSAGES)).model_dump_json())

    async def stream() -> None:
        async with await chat.create(model=model, messages=MESSAGES, stream=True) as parts:
            async for part in parts:
                out.append(part.model_dump_json())

    async def raw() -> None:
        answer = await chat.with_raw_response.create(model=model, messages=MESSAGES)
        out.append((answer.status_code, sorted(answer.headers.items()), answer.content))

    async def raw_stream() -> None:
        async with chat.with_streaming_response.create(model=model, messages=MESSAGES, stream=True) as answer:
            out.append((answer.status_code, sorted(answer.headers.items())))
            out.append(b"".join([part async for part in answer.iter_bytes()]))

    async def stopped() -> None:
        stream = await chat.create(model=model, messages=MESSAGES, stream=True)
        async for part in stream:
            out.append(part.model_dump_json())
            break
        await stream.close()

    for way in (whole, stream, raw, raw_stream, stopped):
        out.append(way.__name__)
        try:
            await way()
        except Exception as error:
            out.append(error_seen(error))
    return out


@pytest.mark.parametrize("model", WHOLE + STREAMS)
def test_a_wrapped_client_shows_the_service_the_same(server: Server, fake: FakeMirror, model: str) -> None:
    with client_of(server) as bare, fake.mirror.wrap(client_of(server)) as wrapped:
        assert seen(wrapped, model) == seen(bare, model)
    gc.collect()  # a stream that was neither read to its end nor closed ends here
    sent = fake.sent()
    assert len(sent.requests) == len(sent.served) == 6  # one each way, whatever was retried


@pytest.mark.parametrize("model", WHOLE + STREAMS)
def test_so_does_an_async_one(server: Server, fake: FakeMirror, model: str) -> None:
    async def both() -> tuple[list[Any], list[Any]]:
        async with async_client_of(server) as bare, fake.mirror.wrap(async_client_of(server)) as wrapped:
            return await seen_async(wrapped, model), await seen_async(bare, model)

    one, other = asyncio.run(both())
    assert one == other
    assert len(fake.sent().requests) == 5


def ask(client: openai.OpenAI, model: str) -> None:
    if "stream" in model:
        for _ in client.chat.completions.create(model=model, messages=MESSAGES, stream=True):
            pass
    else:
        client.chat.completions.create(model=model, messages=MESSAGES)


@pytest.mark.parametrize(
    "model", ["plain", "gzip", "deflate", "stream", "stream-split", "stream-crlf", "stream-gzip"]
)
def test_an_answer_is_mirrored(server: Server, fake: FakeMirror, model: str) -> None:
    ask(fake.mirror.wrap(client_of(server)), model)
    request, served = fake.one()
    assert request.body == {
        "messages": MESSAGES,
        "model": model,
        **({"stream": True} if "stream" in model else {}),
    }
    assert (request.protocol, request.route, request.model) == ("openai.chat", "chat.completions", model)
    assert (served.output, served.finish_reason, served.model) == (TEXT, "stop", model)
    assert (served.input_tokens, served.output_tokens) == (7, 3)
    assert (served.error, served.status, served.role, served.attempts) == ("", 200, "served", 1)
    assert served.latency_ms > 0
    assert served.completed_at >= served.ts == request.ts
    if "stream" in model:
        assert served.ttft_ms is not None
        assert 0 < served.ttft_ms <= served.latency_ms
    else:
        assert served.ttft_ms is None


def test_tool_calls_are_mirrored(server: Server, fake: FakeMirror) -> None:
    client = fake.mirror.wrap(client_of(server))
    ask(client, "calls")
    ask(client, "stream-calls")
    whole, streamed = sorted(fake.sent().served, key=lambda r: len(r.tool_calls))
    assert whole.tool_calls == [{"name": "f", "arguments": '{"n": 1}'}]
    assert streamed.tool_calls == [
        {"name": "look_up", "arguments": '{"order": 17}'},
        {"name": "refund", "arguments": "{}"},
    ]
    assert streamed.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("model", "error", "status", "attempts", "output"),
    [
        ("bad", "http", 400, 1, ""),
        ("down", "http", 500, 2, ""),
        ("throttled", "throttled", 429, 2, ""),
        ("garbage", "bad_response", 200, 1, ""),
        ("cut-plain", "connection", 200, 2, ""),
        ("cut-stream-long", "connection", 200, 1, "la " * 1000),
        ("stream-error", "http", 200, 1, "Hal"),
        ("stream-undone", "bad_response", 200, 1, "Hal"),
        ("stream-no-done", "", 200, 1, "Hal"),
        ("refusal", "", 200, 1, "I can't"),
    ],
)
def test_a_failure_is_mirrored_as_what_the_service_got(
    server: Server, fake: FakeMirror, model: str, error: str, status: int, attempts: int, output: str
) -> None:
    try:
        ask(fake.mirror.wrap(client_of(server)), model)
    except Exception:
        assert error
    _, served = fake.one()
    assert (served.error, served.status, served.attempts) == (error, status, attempts)
    assert served.output == output
    if model in ("bad", "down", "throttled", "stream-error"):
        assert "no such thing" in served.error_message


def test_retries_are_one_request(server: Server, fake: FakeMirror) -> None:
    server.failures["plain"] = 2
    client = fake.mirror.wrap(client_of(server, max_retries=3))
    assert client.chat.completions.create(model="plain", messages=MESSAGES).choices[0].message.content == TEXT
    _, served = fake.one()
    assert (served.error, served.attempts, served.output, served.status) == ("", 3, TEXT, 200)


def test_a_server_that_is_not_there(fake: FakeMirror) -> None:
    client = fake.mirror.wrap(openai.OpenAI(base_url="http://127.0.0.1:1/v1", api_key="k", max_retries=0))
    with pytest.raises(openai.APIConnectionError):
        ask(client, "plain")
    _, served = fake.one()
    assert (served.error, served.status, served.attempts) == ("connection", 0, 1)


def test_a_timeout(server: Server, fake: FakeMirror) -> None:
    client = fake.mirror.wrap(client_of(server, timeout=0.2, max_retries=0))
    with pytest.raises(openai.APITimeoutError):
        ask(client, "hang")
    assert fake.one()[1].error == "timeout"


def test_a_cancelled_task(server: Server, fake: FakeMirror) -> None:
    async def cancel() -> None:
        async with fake.mirror.wrap(async_client_of(server)) as client:
            task = asyncio.create_task(client.chat.completions.create(model="hang", messages=MESSAGES))
            while not any(model == "hang" for _, model, _ in server.seen):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    server.seen.clear()
    asyncio.run(cancel())
    assert fake.one()[1].error == "abandoned"


def test_a_stream_left_early(server: Server, fake: FakeMirror) -> None:
    client = fake.mirror.wrap(client_of(server))
    with client.chat.completions.create(model="stream-long", messages=MESSAGES, stream=True) as stream:
        next(iter(stream))
    _, served = fake.one()
    assert served.error == "abandoned"
    assert served.output.startswith("la ")


def test_a_stream_dropped_without_a_word_is_still_booked(server: Server, fake: FakeMirror) -> None:
    stream = fake.mirror.wrap(client_of(server)).chat.completions.create(
        model="stream-long", messages=MESSAGES, stream=True
    )
    del stream
    gc.collect()
    assert fake.one()[1].error == "abandoned"
    assert fake.mirror.stats()["buffered_bytes"] == 0


def test_clients_made_of_a_wrapped_one_are_mirrored_too(server: Server, fake: FakeMirror) -> None:
    client = fake.mirror.wrap(client_of(server), route="support")
    ask(client.with_options(timeout=7), "plain")
    ask(client.with_options(max_retries=0).copy(timeout=3), "plain")
    ask(client.with_options(http_client=httpx2.Client()), "plain")
    ask(client, "plain")
    sent = fake.sent()
    assert len(sent.requests) == 4
    assert {r.route for r in sent.requests} == {"support"}


def test_wrapping_twice_mirrors_once_and_two_mirrors_both(
    server: Server,
) -> None:
    one, two = FakeMirror(), FakeMirror()
    client = client_of(server)
    assert one.mirror.wrap(one.mirror.wrap(client)) is client
    two.mirror.wrap(client)
    ask(client, "plain")
    assert one.mirror.stats()["eligible"] == two.mirror.stats()["eligible"] == 1


def test_other_calls_pass_unseen(server: Server, fake: FakeMirror) -> None:
    client = fake.mirror.wrap(client_of(server))
    assert client.post("/embeddings", body={"model": "plain"}, cast_to=httpx2.Response).status_code == 200
    assert fake.mirror.stats()["eligible"] == 0


def test_a_proxy_is_kept(server: Server, fake: FakeMirror) -> None:
    transport = httpx2.HTTPTransport()
    http_client = httpx2.Client(mounts={"http://127.0.0.1": transport})
    ask(fake.mirror.wrap(client_of(server, http_client=http_client)), "plain")
    assert fake.one()[1].output == TEXT
    assert next(iter(http_client._mounts.values())).__getattr__("_pool") is transport._pool  # type: ignore[union-attr]


def test_the_context_names_key_attributes_and_id(server: Server, fake: FakeMirror) -> None:
    client = fake.mirror.wrap(client_of(server))
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with (
        fake.mirror.context(key="session-1", attributes={"tenant": "acme", "n": 1}, traceparent=parent),
        fake.mirror.context(attributes={"prompt": "p7"}, request_id="mine-1"),
    ):
        ask(client, "plain")
        ask(client, "plain")
    ask(client, "plain")
    by_key = {r.request_id: r for r in fake.sent().requests}
    mine = by_key.pop("mine-1")
    assert (mine.key, mine.traceparent) == ("session-1", parent)
    assert mine.attributes == {"tenant": "acme", "n": "1", "prompt": "p7"}
    assert sorted(r.key for r in by_key.values()) == ["", "session-1"]


def test_what_is_no_client_is_told_at_once(fake: FakeMirror) -> None:
    with pytest.raises(ConfigError, match=r"of openai .* or of anthropic .* not object"):
        fake.mirror.wrap(object())


def test_a_mirror_that_breaks_inside_harms_nobody(
    server: Server, fake: FakeMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("ours")

    client = fake.mirror.wrap(client_of(server))
    for method in ("asked", "answered", "count", "finish"):
        with monkeypatch.context() as patch:
            patch.setattr(f"shadowlane.producers.teed.TeedExchange.{method}", broken)
            ask(client, "stream-long")
            ask(client, "plain")
    with monkeypatch.context() as patch:
        patch.setattr("shadowlane.producers.mirror.new_request_id", broken)
        ask(client, "plain")
    assert fake.mirror.stats()["problems"]["internal"] > 0


def test_a_disabled_mirror_leaves_the_client_alone(server: Server) -> None:
    client = client_of(server)
    before = dict(client.__dict__)
    assert Mirror("shop", enabled=False).wrap(client) is client
    assert client.__dict__ == before


def test_an_attempt_that_ends_after_the_next_one_began_says_nothing(fake: FakeMirror) -> None:
    call = new_call(fake.mirror, "r")
    request = httpx2.Request("POST", "http://m/v1/chat/completions", content=b"{}")
    first = call.attempt(Attempt, "openai.chat", request)
    assert first is not None
    first.respond(500, httpx2.Headers())
    second = call.attempt(Attempt, "openai.chat", request)
    assert second is not None
    second.respond(200, httpx2.Headers())
    second.chunks.append(completion(content=TEXT))
    first.end(OSError("late"))
    call.returned()
    second.end()
    _, served = fake.one()
    assert (served.error, served.output, served.attempts) == ("", TEXT, 2)


def test_what_an_earlier_attempt_met_is_not_told_of_the_one_that_answered(fake: FakeMirror) -> None:
    failures = [httpx2.ReadTimeout("too slow"), httpx2.ConnectError("nobody there")]

    def answer(request: httpx2.Request) -> httpx2.Response:
        if failures:
            raise failures.pop()
        return httpx2.Response(400, json={"error": {"message": "no such model"}})

    client = openai.OpenAI(
        api_key="k", max_retries=2, http_client=httpx2.Client(transport=httpx2.MockTransport(answer))
    )
    with pytest.raises(openai.BadRequestError):
        ask(fake.mirror.wrap(client), "plain")
    _, served = fake.one()
    assert (served.error, served.error_message, served.attempts) == ("http", "no such model", 3)
