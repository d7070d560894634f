"""One timer for many calls, each of which ends when its own time is over."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shadowlane.processors.worker.deadline import Deadlines

SECONDS = 0.05


def within(body: Callable[[Deadlines], Awaitable[None]], seconds: float = SECONDS) -> None:
    async def run() -> None:
        await body(Deadlines(seconds))

    asyncio.run(run())


async def forever(deadlines: Deadlines) -> None:
    with deadlines.within():
        await asyncio.Event().wait()


def test_what_is_late_ends_and_its_task_goes_on() -> None:
    async def body(deadlines: Deadlines) -> None:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await forever(deadlines)
        await asyncio.sleep(0)  # nothing is left of the cancellation
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    within(body)


def test_each_has_its_own_time() -> None:
    async def body(deadlines: Deadlines) -> None:
        loop = asyncio.get_running_loop()
        took = []

        async def late(after: float) -> None:
            await asyncio.sleep(after)
            began = loop.time()
            with pytest.raises(TimeoutError):
                await forever(deadlines)
            took.append(loop.time() - began)

        await asyncio.gather(*(late(after * SECONDS / 4) for after in range(6)))
        assert len(took) == 6
        assert min(took) >= SECONDS

    within(body)


def test_what_is_in_time_is_let_be() -> None:
    async def body(deadlines: Deadlines) -> None:
        for _ in range(3):
            with deadlines.within():
                await asyncio.sleep(SECONDS / 10)
        await asyncio.sleep(2 * SECONDS)  # past the end of what was first
        with pytest.raises(TimeoutError):
            await forever(deadlines)

    within(body)


def test_an_error_passes_through() -> None:
    async def body(deadlines: Deadlines) -> None:
        with pytest.raises(ValueError, match="as it came"), deadlines.within():
            raise ValueError("as it came")

    within(body)


def test_who_cancels_the_task_is_obeyed() -> None:
    async def body(deadlines: Deadlines) -> None:
        task = asyncio.create_task(forever(deadlines))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    within(body, 60)


def test_who_cancels_the_task_when_its_time_is_over_is_obeyed_too() -> None:
    async def body(deadlines: Deadlines) -> None:
        async def stubborn() -> None:
            with deadlines.within():
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                    raise

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(stubborn())

    within(body)


class Still:
    """A loop's clock that can be put forward, as if the process had stood still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        clock = loop.time
        self._seconds = 0.0
        monkeypatch.setattr(loop, "time", lambda: clock() + self._seconds)

    def stand(self, seconds: float) -> None:
        self._seconds += seconds


def test_time_in_which_the_process_stood_still_is_not_held_against_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body(deadlines: Deadlines) -> None:
        still = Still(monkeypatch)
        answer = asyncio.get_running_loop().create_future()

        async def asked() -> str:
            with deadlines.within():
                found: str = await answer
                return found

        tasks = [asyncio.create_task(asked()) for _ in range(3)]
        await asyncio.sleep(0)
        still.stand(60.0)
        await asyncio.sleep(2 * SECONDS)  # the timer has come, far too late
        answer.set_result("it lay there unread")
        assert await asyncio.gather(*tasks) == ["it lay there unread"] * 3

    within(body)


def test_it_is_forgiven_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(deadlines: Deadlines) -> None:
        still = Still(monkeypatch)
        task = asyncio.create_task(forever(deadlines))
        for _ in range(2):
            await asyncio.sleep(SECONDS)
            still.stand(60.0)
        with pytest.raises(TimeoutError):
            await task

    within(body)
