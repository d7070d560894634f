"""Calls that a library tells of by callbacks; the libraries themselves are in tests/clients."""

import atexit
import contextvars
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from shadowlane.errors import ConfigError
from shadowlane.producers.told import ToldCall, chat_body
from tests.producers.model_server import Server, model_server
from tests.producers.support import FakeMirror

ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def completion(finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {
        "model": "m-1",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }


def begun(fake: FakeMirror, **more: Any) -> ToldCall:
    call = ToldCall.begin(fake.mirror, "", lambda: ASKED, **more)
    assert call is not None
    return call


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": "{}"}}


def test_an_answer_that_came_whole(fake: FakeMirror) -> None:
    now = time.time()
    call = begun(fake, began=now - 2)
    call.answered(lambda: completion(content="hello", tool_calls=[tool("f")]), ended=now - 1)
    request, served = fake.one()
    assert (request.body, request.protocol, request.route) == (ASKED, "openai.chat", "chat.completions")
    assert (served.output, served.finish_reason, served.error, served.status) == ("hello", "stop", "", 200)
    assert (served.input_tokens, served.output_tokens, served.ttft_ms) == (7, 3, None)
    assert served.latency_ms == pytest.approx(1000, abs=100)


def test_a_streamed_one_has_its_first_token_and_all_its_tool_calls(fake: FakeMirror) -> None:
    now = time.time()
    call = begun(fake, began=now - 3)
    call.answered(
        lambda: completion("tool_calls", content=None, tool_calls=[tool("f"), tool("g")]),
        first=now - 2,
        ended=now - 1,
    )
    request, served = fake.one()
    assert request.body == {**ASKED, "stream": True}
    assert [each["name"] for each in served.tool_calls or ()] == ["f", "g"]
    assert served.ttft_ms == pytest.approx(1000, abs=100)
    assert served.latency_ms == pytest.approx(2000, abs=100)


class _Refused(Exception):
    status_code = 400


class _Throttled(Exception):
    status_code = 429


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (_Refused("no"), "http", 400),
        (_Throttled("later"), "throttled", 429),
        (TimeoutError("late"), "timeout", 0),
        (ConnectionResetError("gone"), "connection", 0),
        (ValueError("odd"), "exception", 0),
        (GeneratorExit(), "abandoned", 0),
    ],
)
def test_a_failure_is_of_its_kind(fake: FakeMirror, error: BaseException, kind: str, status: int) -> None:
    begun(fake).broke(error)
    _, served = fake.one()
    assert (served.error, served.status, served.attempts) == (kind, status, 1)


def test_what_came_before_a_stream_broke(fake: FakeMirror) -> None:
    call = begun(fake)
    call.token()
    call.broke(ConnectionResetError("gone"), lambda: completion(None, content="hel"))
    _, served = fake.one()
    assert (served.output, served.error) == ("hel", "connection")


def test_attempts_are_one_request_and_the_last_is_its_answer(fake: FakeMirror) -> None:
    call = begun(fake)
    call.broke(_Refused("no"), last=False)
    assert call.failed
    call.again(lambda: {**ASKED, "model": "other"})
    call.answered(lambda: completion(content="hello"))
    request, served = fake.one()
    assert (request.model, served.output, served.error, served.attempts) == ("other", "hello", "", 2)


def test_a_call_that_is_let_go_of(fake: FakeMirror) -> None:
    begun(fake)  # of which nothing more is told
    tried = begun(fake)
    tried.broke(_Refused("first"), last=False)
    tried.again(lambda: ASKED)  # of whose second attempt nothing is told
    del tried
    waits = begun(fake)
    waits.broke(_Throttled("x"), last=False)
    del waits
    assert sorted(served.error for served in fake.sent().served) == ["abandoned", "http", "throttled"]


def test_the_end_of_the_process_is_the_end_of_every_call(
    fake: FakeMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    failed, under_way = begun(fake), begun(fake)
    failed.broke(_Refused("no"), last=False)
    (end,) = at_exit
    end()
    assert sorted(served.error for served in fake.sent().served) == ["abandoned", "http"]
    under_way.answered(lambda: completion(content="too late"))
    assert len(fake.sent().served) == 2


def test_no_call_leaves_anything_to_be_done_at_the_end_of_the_process(fake: FakeMirror) -> None:
    begun(fake).answered(lambda: completion(content="hello"))
    before = atexit._ncallbacks()
    for _ in range(5):
        begun(fake).answered(lambda: completion(content="hello"))
    assert atexit._ncallbacks() == before


def test_what_has_no_json_form_goes_without_content(fake: FakeMirror) -> None:
    call = ToldCall.begin(fake.mirror, "", lambda: {"model": object()})
    assert call is not None
    call.answered(lambda: completion(content="hello"))
    begun(fake).answered(lambda: {"choices": object()})
    assert fake.mirror.flush(20)
    assert fake.mirror.stats()["without_content"] == {"request_not_json": 1, "response_not_json": 1}


def test_tools_in_anthropics_form() -> None:
    given = [{"name": "f", "description": "d", "input_schema": {"type": "object"}}, tool("g")]
    assert chat_body("m", [], {"tools": given})["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
        },
        tool("g"),
    ]


def test_without_the_library_there_is_no_callback(fake: FakeMirror, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("litellm", "langchain_core"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match="needs the package litellm"):
        fake.mirror.litellm()
    with pytest.raises(ConfigError, match="needs the package langchain-core"):
        fake.mirror.langchain()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with model_server() as running:
        yield running


def _asks(server: Server, fake: FakeMirror, messages: Any = ASKED["messages"]) -> None:
    client = fake.mirror.wrap(openai.OpenAI(base_url=server.url, api_key="k", max_retries=0))
    client.chat.completions.create(model="plain", messages=messages)


def test_a_call_that_a_callback_tells_of_and_a_wrapped_client_makes_is_said_once(
    server: Server, fake: FakeMirror
) -> None:
    for _ in range(2):
        call = begun(fake)
        _asks(server, fake)
        call.answered(lambda: completion(content="hello"))
    stats = fake.mirror.stats()
    assert stats["problems"] == {"mirrored_twice": 1}
    assert "attach one of them" in stats["last_problem"]
    assert len(fake.sent().requests) == 4  # noticed, and left as it is


def test_another_call_beside_one_that_is_told_of_is_not_the_same(server: Server, fake: FakeMirror) -> None:
    before = begun(fake)
    before.answered(lambda: completion(content="hello"))
    _asks(server, fake)  # the same again, after the first is over
    call = begun(fake)
    _asks(server, fake, [{"role": "user", "content": "what a tool asks in between"}])
    other = contextvars.Context()
    other.run(_asks, server, fake)  # somebody else's, in another context
    call.answered(lambda: completion(content="hello"))
    assert not fake.mirror.stats()["problems"]
