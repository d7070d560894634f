"""Answers larger than the worker has room for: each comes whole, one after the other, from a candidate that waits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import web

from shadowlane.processors.worker.caller import Caller
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.config import Rollout, Worker
from shadowlane.schemas.events import Failure
from tests.processors.worker.serving import asked, responded

WORKER = Worker(max_bytes=32 * 2**20, max_attempts=1)
QUESTION = asked({"model": "old", "messages": [{"role": "user", "content": "how much?"}]})
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def body(size: int) -> bytes:
    message = {"role": "assistant", "content": "x" * size}
    return orjson.dumps({"model": "new", "choices": [{"index": 0, "message": message}]})


@asynccontextmanager
async def candidate(handler: Handler) -> AsyncIterator[tuple[Caller, Callable[[float], Plan]]]:
    """Who asks it, and how with a timeout."""
    app = web.Application()
    app.router.add_post("/chat/completions", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    version = {"model": "new", "base_url": f"http://127.0.0.1:{runner.addresses[0][1]}"}

    def plan(timeout_s: float) -> Plan:
        rollout = {"name": "r", "candidate": version | {"timeout_s": timeout_s}}
        return Plan.of(Rollout.model_validate(rollout), WORKER)

    caller = Caller(WORKER)
    try:
        yield caller, plan
    finally:
        await caller.close()
        await runner.cleanup()


@pytest.mark.parametrize("chunked", [False, True])
def test_they_come_whole_and_the_calls_after_them_are_fewer(chunked: bool) -> None:
    size = 5 * 2**20

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse()
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = len(body(size))
        await response.prepare(request)
        await response.write(body(size))
        await response.write_eof()
        return response

    async def run() -> None:
        async with candidate(handler) as (caller, plan):
            asking = [responded(caller, QUESTION, plan(60.0)) for _ in range(12)]
            found = await asyncio.gather(*asking)
            assert [len(response.output) for response in found] == [size] * 12
            assert caller.room.held == 0
            assert caller.room.expected == len(body(size))
            assert caller.room.begin(0) is not None
            assert caller.room.begin(0) is None  # one such answer and no other

    asyncio.run(run())


def test_one_that_had_to_wait_for_its_room_is_not_called_slow() -> None:
    """The first drips, and holds all the room; the second was there in time."""
    whole = body(6 * 2**20)

    async def run() -> None:
        both, held, going_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
        come = 0

        async def handler(request: web.Request) -> web.StreamResponse:
            nonlocal come
            come += 1
            first = come == 1
            await request.read()
            await (both if first else held).wait()
            response = web.StreamResponse()
            response.content_length = len(whole)
            await response.prepare(request)
            if first:
                await response.write(whole[:1000])
                await going_on.wait()
            await response.write(whole[1000 if first else 0 :])
            return response

        async def until(true: Callable[[], bool]) -> None:
            while not true():
                await asyncio.sleep(0.001)

        async with candidate(handler) as (caller, plan):
            first = asyncio.create_task(responded(caller, QUESTION, plan(60.0)))
            await until(lambda: come == 1)
            second = asyncio.create_task(responded(caller, QUESTION, plan(0.5)))
            await until(lambda: come == 2)
            both.set()
            await until(lambda: caller.room.held > len(whole))
            held.set()
            late = await second
            assert late.error == Failure.OVER_BUDGET
            assert "for room (worker.max_bytes)" in late.error_message
            going_on.set()
            assert len((await first).output) == 6 * 2**20
            assert caller.room.held == 0

    asyncio.run(run())
