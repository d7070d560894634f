"""A candidate that behaves as the last message of the request tells it to."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from tests.processors.worker.threaded import Threaded

Behaviour = Callable[["FakeCandidate", web.Request, int], Awaitable[web.StreamResponse]]


def completion(content: str | None = "fine", **message: Any) -> dict[str, Any]:
    return {
        "id": "x",
        "model": "resolved-name",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, **message},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


async def ok(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    return web.json_response(completion())


async def tools(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    function = {"name": "search", "arguments": '{"q": 1}'}
    calls = [{"id": "1", "type": "function", "function": function}]
    return web.json_response(completion(None, tool_calls=calls))


async def slow(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    await asyncio.sleep(0.02)
    return web.json_response(completion())


async def held(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    await server.released.wait()
    return web.json_response(completion())


async def hang(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError


async def broken(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    key = request.headers.get("authorization", "")
    return web.json_response({"error": {"message": f"it\nbroke for {key} " + "x" * 1000}}, status=500)


async def broken_once(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    return await (broken if call == 1 else ok)(server, request, call)


async def refused(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    return web.json_response({"error": {"message": "no such parameter", "code": None}}, status=400)


async def picky(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    """As OpenAI's models that reason: they take neither, and say so one at a time."""
    body = await request.json()
    for name in ("temperature", "top_p"):
        if name in body:
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            error = {"message": message, "param": name, "code": "unsupported_parameter"}
            return web.json_response({"error": error}, status=400)
    return web.json_response(completion())


async def moved(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    return web.Response(status=307, headers={"location": "/elsewhere"})


async def throttled(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    headers = {"retry-after-ms": "10"}
    return web.json_response({"error": {"message": "slow down"}}, status=429, headers=headers)


async def throttled_once(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    return await (throttled if call == 1 else ok)(server, request, call)


async def spent(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    error = {"message": "You exceeded your current quota", "code": "insufficient_quota"}
    return web.json_response({"error": error}, status=429)


async def garbage(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    return web.Response(body=b"\x00\xff<html>", content_type="application/json")


async def no_choices(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    return web.json_response({"choices": [], "error": {"message": "overloaded"}})


async def cut(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json"})
    await response.prepare(request)
    await response.write(orjson.dumps(completion())[:40])
    assert request.transport is not None
    request.transport.abort()
    return response


async def drip(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


async def huge(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json"})
    await response.prepare(request)
    for _ in range(9 * 16):
        await response.write(b" " * 65536)
    return response


async def large(server: "FakeCandidate", request: web.Request, call: int) -> web.StreamResponse:
    return web.json_response(completion("y" * 300_000))


BEHAVIOURS: dict[str, Behaviour] = {
    f.__name__: f
    for f in (
        ok,
        tools,
        slow,
        held,
        hang,
        broken,
        broken_once,
        refused,
        picky,
        moved,
        throttled,
        throttled_once,
        spent,
        garbage,
        no_choices,
        cut,
        drip,
        huge,
        large,
    )
}


class FakeCandidate(Threaded):
    """An OpenAI-compatible server in a thread, and what it saw. Other paths echo the body."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()  # by what the last message says
        self.bodies: dict[str, Any] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.in_flight = 0
        self.most_in_flight = 0
        self.ended_at = 0.0  # of the last call that is over, by the monotonic clock
        self._changed = threading.Condition()

    def release(self) -> None:
        """Lets the calls that are held, and all later ones, be answered."""
        self.loop.call_soon_threadsafe(self.released.set)

    def wait_for_calls(self, count: int) -> None:
        """Until so many calls came in all."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.calls.total() >= count, timeout=60), self.calls

    def wait_until_idle(self) -> None:
        """Until no call is under way, as the server sees its connections."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self.in_flight, timeout=60), self.in_flight

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        text = body["messages"][-1]["content"]
        with self._changed:
            self.calls[text] += 1
            self.bodies[text] = body
            self.headers[text] = {k.lower(): v for k, v in request.headers.items()}
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            self._changed.notify_all()
        try:
            return await BEHAVIOURS[text.split()[0]](self, request, self.calls[text])
        finally:
            with self._changed:
                self.in_flight -= 1
                self.ended_at = time.monotonic()
                self._changed.notify_all()

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read(), content_type="application/json")

    def app(self) -> web.Application:
        self.released = asyncio.Event()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/echo", self._echo)
        return app
