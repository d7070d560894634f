"""Wrapped clients of other APIs: OpenAI's responses, Anthropic's messages, Azure's addresses, a bare HTTP client."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.producers.model_server import OTHER_APIS, Server, model_server
from tests.producers.support import FakeMirror
from tests.producers.test_wrap import error_seen
from tests.schemas.answers.samples import TEXT

MESSAGES: Any = [{"role": "user", "content": "Where is order 17?"}]
CUT = ["cut-messages", "cut-messages-stream", "cut-responses", "cut-responses-stream"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with model_server() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr("anthropic._base_client.INITIAL_RETRY_DELAY", 0.001)


def client_of(server: Server, model: str, *, asynchronous: bool = False) -> Any:
    if "messages" in model:
        kind = anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic
        return kind(base_url=server.url.removesuffix("/v1"), api_key="k", max_retries=1)
    other = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    return other(base_url=server.url, api_key="k", max_retries=1)


def asking(client: Any, model: str) -> tuple[Any, dict[str, Any]]:
    """(the resource, what it is asked with)."""
    if "messages" in model:
        return client.messages, {"model": model, "messages": MESSAGES, "max_tokens": 99}
    return client.responses, {"model": model, "input": "Where is order 17?"}


def seen(client: Any, model: str) -> list[Any]:
    """Everything that a service can tell of one model's answers, in each way of asking."""
    api, request = asking(client, model)
    out: list[Any] = []

    def whole() -> None:
        out.append(api.create(**request).model_dump_json())

    def stream() -> None:
        with api.create(**request, stream=True) as events:
            out.extend(event.model_dump_json() for event in events)

    def helper() -> None:
        with api.stream(**request) as events:
            out.extend(type(event).__name__ for event in events)
            final = events.get_final_message if "messages" in model else events.get_final_response
            out.append(final().model_dump_json())

    def raw() -> None:
        answer = api.with_raw_response.create(**request)
        out.append((answer.status_code, sorted(answer.headers.items()), answer.content))

    def raw_stream() -> None:
        with api.with_streaming_response.create(**request, stream=True) as answer:
            out.append((answer.status_code, b"".join(answer.iter_bytes())))

    def stopped() -> None:
        for event in api.create(**request, stream=True):
            out.append(event.model_dump_json())
            break

    for way in (whole, stream, helper, raw, raw_stream, stopped):
        out.append(way.__name__)
        try:
            way()
        except Exception as error:
            out.append(error_seen(error))
    return out


async def seen_async(client: Any, model: str) -> list[Any]:
    api, request = asking(client, model)
    out: list[Any] = []

    async def whole() -> None:
        out.append((await api.create(**request)).model_dump_json())

    async def stream() -> None:
        async with await api.create(**request, stream=True) as events:
            out.extend([event.model_dump_json() async for event in events])

    async def helper() -> None:
        async with api.stream(**request) as events:
            out.extend([type(event).__name__ async for event in events])

    for way in (whole, stream, helper):
        out.append(way.__name__)
        try:
            await way()
        except Exception as error:
            out.append(error_seen(error))
    return out


@pytest.mark.parametrize("model", [*OTHER_APIS, *CUT])
def test_a_wrapped_client_shows_the_service_the_same(server: Server, fake: FakeMirror, model: str) -> None:
    with client_of(server, model) as bare, fake.mirror.wrap(client_of(server, model)) as wrapped:
        assert seen(wrapped, model) == seen(bare, model)
    gc.collect()
    assert len(fake.sent().requests) == len(fake.sent().served) == 6  # one each way, whatever was retried


@pytest.mark.parametrize("model", [*OTHER_APIS, *CUT])
def test_so_does_an_async_one(server: Server, fake: FakeMirror, model: str) -> None:
    async def both() -> tuple[list[Any], list[Any]]:
        bare = client_of(server, model, asynchronous=True)
        wrapped = fake.mirror.wrap(client_of(server, model, asynchronous=True))
        async with bare, wrapped:
            return await seen_async(wrapped, model), await seen_async(bare, model)

    one, other = asyncio.run(both())
    assert one == other
    assert len(fake.sent().requests) == 3


@pytest.mark.parametrize(
    ("model", "protocol", "route"),
    [
        ("messages", "anthropic.messages", "messages"),
        ("messages-stream", "anthropic.messages", "messages"),
        ("messages-stream-gzip", "anthropic.messages", "messages"),
        ("responses", "openai.responses", "responses"),
        ("responses-stream", "openai.responses", "responses"),
    ],
)
def test_an_answer_is_mirrored(
    server: Server, fake: FakeMirror, model: str, protocol: str, route: str
) -> None:
    api, request = asking(fake.mirror.wrap(client_of(server, model)), model)
    streamed = "stream" in model
    answer = api.create(**request, stream=streamed)
    if streamed:
        assert list(answer)
    mirrored, served = fake.one()
    assert mirrored.body == request | {"stream": streamed}
    assert (mirrored.protocol, mirrored.route, mirrored.model) == (protocol, route, model)
    assert (served.output, served.finish_reason, served.model) == (TEXT, "tool_calls", model)
    assert [call["name"] for call in served.tool_calls] == ["look_up"]
    assert (served.input_tokens, served.output_tokens, served.error, served.status) == (7, 9, "", 200)
    assert (served.ttft_ms is not None) == streamed


@pytest.mark.parametrize(
    ("model", "error", "status", "attempts", "text"),
    [
        ("messages-stream-error", "throttled", 200, 1, "Overloaded"),
        ("messages-overloaded", "throttled", 529, 2, "Overloaded"),
        ("responses-bad", "http", 400, 1, "no such thing"),
        ("cut-responses-stream", "connection", 200, 1, ""),
    ],
)
def test_a_failure_is_mirrored_as_what_the_service_got(
    server: Server, fake: FakeMirror, model: str, error: str, status: int, attempts: int, text: str
) -> None:
    api, request = asking(fake.mirror.wrap(client_of(server, model)), model)
    with pytest.raises((anthropic.APIError, openai.APIError, httpx2.HTTPError)):
        list(api.create(**request, stream="stream" in model))
    _, served = fake.one()
    assert (served.error, served.status, served.attempts) == (error, status, attempts)
    assert text in served.error_message


def _azure(server: Server, http_client: httpx2.Client | None) -> openai.AzureOpenAI:
    return openai.AzureOpenAI(
        azure_endpoint=server.url.removesuffix("/v1"),
        api_key="k",
        api_version="2024-10-21",
        http_client=http_client,
    )


def test_azures_addresses_are_seen(server: Server, fake: FakeMirror) -> None:
    client = fake.mirror.wrap(_azure(server, None))
    client.chat.completions.create(model="plain", messages=MESSAGES)
    assert server.seen[-1][0].startswith("/openai/deployments/plain/chat/completions?api-version=")
    mirrored, served = fake.one()
    assert (mirrored.model, mirrored.protocol, served.error) == ("plain", "openai.chat", "")


@pytest.mark.parametrize("model", ["plain", "messages", "responses"])
@pytest.mark.parametrize("route", [None, "support"])
def test_any_sdk_that_is_given_a_wrapped_http_client(
    server: Server, fake: FakeMirror, model: str, route: str | None
) -> None:
    http_client = fake.mirror.wrap(httpx2.Client(), route=route)
    ask: dict[str, Callable[[], Any]] = {
        "plain": lambda: _azure(server, http_client).chat.completions.create(model=model, messages=MESSAGES),
        "messages": lambda: anthropic.Anthropic(
            base_url=server.url.removesuffix("/v1"), api_key="k", http_client=http_client
        ).messages.create(model=model, messages=MESSAGES, max_tokens=9),
        "responses": lambda: openai.OpenAI(
            base_url=server.url, api_key="k", http_client=http_client
        ).responses.create(model=model, input="Hi"),
    }
    ask[model]()
    mirrored, served = fake.one()
    default = {"plain": "chat.completions", "messages": "messages", "responses": "responses"}[model]
    assert (mirrored.route, served.error, bool(served.output)) == (route or default, "", True)


def test_a_bare_async_http_client(server: Server, fake: FakeMirror) -> None:
    async def ask() -> int:
        async with fake.mirror.wrap(httpx2.AsyncClient()) as client:
            body = {"model": "messages", "messages": MESSAGES}
            answer = await client.post(f"{server.url}/messages", json=body)
            await client.get(f"{server.url}/models")
            return answer.status_code

    assert asyncio.run(ask()) == 200
    assert fake.one()[1].output == TEXT


def test_who_shares_a_wrapped_clients_http_client_is_not_mirrored_with_it(
    server: Server, fake: FakeMirror
) -> None:
    """Some libraries share one among all clients of an address."""
    shared = httpx2.Client()
    mine, other = (openai.OpenAI(base_url=server.url, api_key="k", http_client=shared) for _ in range(2))
    fake.mirror.wrap(mine)
    other.chat.completions.create(model="plain", messages=MESSAGES)
    assert fake.mirror.stats()["eligible"] == 0
    mine.chat.completions.create(model="plain", messages=MESSAGES)
    assert fake.one()[0].model == "plain"
    fake.mirror.wrap(shared)
    other.chat.completions.create(model="plain", messages=MESSAGES)
    assert len(fake.sent().requests) == 2
