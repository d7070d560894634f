"""What calls hold is bounded, they come in turn, and one can always go on."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.worker.room import COPIES, FADE, FIRST, LEAST, Room

LIMIT = COPIES * 4 * FIRST


class Calls:
    """Some calls in one room, each of a question, some reads of its answer, and its end."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.room = Room(limit, lambda: self.elsewhere)
        self.elsewhere = 0
        self.ended: list[int] = []

    async def make(self, number: int, question: int, reads: list[int], *, rests: bool = False) -> None:
        share = self.room.begin(question) or await self.room.enter(question)
        try:
            size = 0
            for read in reads:
                if rests:
                    self.room.rest(share)
                    await asyncio.sleep(0)
                    await self.room.again(share)
                    size = 0  # asked anew
                await asyncio.sleep(0)
                size += read
                await self.room.grow(share, size)
                self.check()
                share.received = size
        finally:
            self.room.leave(share)
        self.ended.append(number)

    def check(self) -> None:
        over = self.room._over
        assert self.room.held - (over.holds if over else 0) <= self.room._limit


@given(
    st.lists(
        st.tuples(
            st.integers(0, FIRST),
            st.lists(st.sampled_from([10, FIRST, LIMIT // COPIES, LIMIT]), max_size=4),
            st.integers(0, 6),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_whatever_the_answers_are_the_bound_holds_and_all_come_to_their_end(calls: list[Any]) -> None:
    async def run() -> None:
        room = Calls()
        tasks = []
        for number, (question, reads, cancelled) in enumerate(calls):
            rests = number % 3 == 0
            tasks.append(asyncio.create_task(room.make(number, question, reads, rests=rests)))
            if cancelled == 0:
                await asyncio.sleep(0)
                tasks[number // 2].cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        gone = [task.cancelled() for task in tasks]
        assert sorted(room.ended) == [number for number, lost in enumerate(gone) if not lost]
        assert (room.room.held, room.room.waiting, room.room.resting) == (0, 0, 0)

    asyncio.run(run())


def test_calls_begin_in_turn_where_there_is_room_for_a_few() -> None:
    async def run() -> None:
        calls, gate = Calls(), asyncio.Event()

        async def make(number: int) -> None:
            share = calls.room.begin(0) or await calls.room.enter(0)
            began.append(number)
            await gate.wait()
            calls.room.leave(share)

        began: list[int] = []
        tasks = [asyncio.create_task(make(number)) for number in range(12)]
        await asyncio.sleep(0)
        assert began == [0, 1, 2, 3]
        assert calls.room.waiting == 8
        gate.set()
        await asyncio.gather(*tasks)
        assert began == list(range(12))

    asyncio.run(run())


def test_what_waits_elsewhere_takes_of_the_room_until_it_is_gone() -> None:
    async def run() -> None:
        calls = Calls()
        calls.elsewhere = LIMIT
        share = calls.room.begin(0)
        assert share is not None  # one may always begin
        assert calls.room.begin(0) is None
        entering = asyncio.create_task(calls.room.enter(0))
        await asyncio.sleep(0)
        calls.elsewhere = 0  # nobody says so
        calls.room.leave(await entering)
        calls.room.leave(share)
        assert calls.room.held == 0

    asyncio.run(run())


def test_the_next_answer_is_expected_to_be_as_large_as_the_larger_ones_of_late() -> None:
    room = Room(LIMIT)

    def answer(size: int) -> None:
        share = room.begin(0)
        assert share is not None
        share.received = size
        room.leave(share)

    assert room.expected == FIRST
    answer(10 * FIRST)
    assert room.expected == 10 * FIRST
    for _ in range(FADE):
        answer(10)
    assert 3 * FIRST < room.expected < 4 * FIRST
    for _ in range(10 * FADE):
        answer(10)
    assert room.expected == LEAST


def test_who_waits_for_room_for_an_answer_says_how_long() -> None:
    async def run() -> None:
        room = Room(LIMIT)
        one, two = room.begin(0), room.begin(0)
        assert one
        assert two
        await room.grow(one, 8 * FIRST)  # more than there is room for, as one may
        growing = asyncio.create_task(room.grow(two, 8 * FIRST))
        await asyncio.sleep(0.01)  # so long at least
        assert (room.waiting, growing.done()) == (1, False)
        room.leave(one)
        await growing
        assert two.waited_s >= 0.01
        assert two.answer == 8 * FIRST
        room.leave(two)

    asyncio.run(run())


def test_an_older_call_that_waits_for_its_retry_holds_up_no_answer() -> None:
    async def run() -> None:
        room = Room(LIMIT)
        older, younger = room.begin(0), room.begin(0)
        assert older
        assert younger
        await room.grow(younger, 8 * FIRST)
        room.leave(younger)
        room.leave(older)
        assert younger.waited_s == 0

    asyncio.run(run())


@pytest.mark.parametrize("large", [False, True])
def test_a_call_that_is_given_up_while_it_waits_leaves_nothing_behind(large: bool) -> None:
    async def run() -> None:
        room = Room(LIMIT)
        shares = [room.begin(0) for _ in range(4)]
        last = shares[-1]
        assert last is not None
        if large:
            assert shares[0] is not None
            await room.grow(shares[0], 8 * FIRST)
        waits = room.grow(last, 8 * FIRST) if large else room.enter(0)
        task = asyncio.create_task(waits)
        await asyncio.sleep(0)
        assert room.waiting == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert room.waiting == 0
        for share in shares:
            assert share is not None
            room.leave(share)
        assert room.held == 0

    asyncio.run(run())
