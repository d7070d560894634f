"""A stream of an async client on its way through the tee: what the service and its event loop see of it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.producers.support import FakeMirror

URL = "http://m/v1/chat/completions"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"la "}}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Body(httpx2.AsyncByteStream):
    """``pieces``, of which an exception is raised; ``closed`` says that the generator was closed before its end."""

    def __init__(self, pieces: list[bytes | BaseException]) -> None:
        self._pieces = pieces
        self.closed = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for piece in self._pieces:
                await asyncio.sleep(0)
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        except GeneratorExit:
            self.closed.set()
            raise


class Unreadable(Body):
    def __aiter__(self) -> AsyncIterator[bytes]:
        raise OSError("no body")


async def answered(fake: FakeMirror | None, body: Body) -> httpx2.Response:
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=body)
    )
    client = httpx2.AsyncClient(transport=transport)
    if fake is not None:
        fake.mirror.wrap(client)
    return await client.send(client.build_request("POST", URL, json={}), stream=True)


def test_an_event_loop_has_no_generator_of_the_tee_to_close() -> None:
    fake = FakeMirror()

    async def generators(wrapping: FakeMirror | None) -> list[str]:
        begun: list[Any] = []
        response = await answered(wrapping, Body([EVENT, EVENT, DONE]))
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=begun.append)
        try:
            async for piece in response.aiter_raw():
                assert piece == EVENT
                break
        finally:
            sys.set_asyncgen_hooks(*hooks)
        await response.aclose()
        return [one.__qualname__ for one in begun]

    assert asyncio.run(generators(fake)) == asyncio.run(generators(None))
    assert fake.one()[1].output == "la "


def test_a_stream_that_nobody_reads_on_is_over_though_its_response_is_kept() -> None:
    fake = FakeMirror()

    async def leave() -> httpx2.Response:
        body = Body([EVENT] * 9)
        response = await answered(fake, body)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        async for _ in response.stream:
            break
        await body.closed.wait()  # as without the tee
        return response

    kept = asyncio.run(leave())
    _, served = fake.one()
    assert (served.error, served.output) == ("abandoned", "la ")
    assert not kept.is_closed


@pytest.mark.parametrize("body", [Body([EVENT, OSError("no body")]), Unreadable([])])
def test_what_a_body_raises_is_raised(body: Body) -> None:
    fake = FakeMirror()

    async def read() -> None:
        await (await answered(fake, body)).aread()

    with pytest.raises(OSError, match=r"^no body$"):
        asyncio.run(read())
    assert fake.one()[1].error == "connection"


def test_a_task_cancelled_while_it_waits_for_a_piece() -> None:
    fake = FakeMirror()

    async def cancel() -> None:
        asked = asyncio.Event()

        class Stalled(Body):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield EVENT
                asked.set()
                await asyncio.Event().wait()

        response = await answered(fake, Stalled([]))
        task = asyncio.create_task(response.aread())
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    _, served = fake.one()
    assert (served.error, served.output) == ("abandoned", "la ")
