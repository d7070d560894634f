"""Places: never more tasks have one than there are, and each one that wants one gets it. Lines: in order."""

import asyncio
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.worker.line import Line
from shadowlane.processors.worker.places import Places
from shadowlane.processors.worker.progress import Progress

Steps = list[str]
STEPS = st.lists(st.sampled_from(["works", "waits", "waits long", "ends without"]), max_size=4)


class Shop:
    """Works on lists of steps as the worker does on records: a task goes from one to the next."""

    def __init__(self, most: int, records: list[Steps]) -> None:
        self.progress = Progress()
        self.places = Places(most, self.progress, self.start)
        self.most = most
        self.records = deque(records)
        self.tasks: set[asyncio.Task[None]] = set()
        self.done = 0

    def start(self) -> None:
        for _ in range(min(self.places.free, len(self.records))):
            task = asyncio.get_running_loop().create_task(self.work())
            self.places.take()
            self.tasks.add(task)
            task.add_done_callback(self.ended)

    def ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self.places.ended(task)

    async def work(self) -> None:
        while self.records:
            steps = self.records.popleft()
            self.progress.in_flight += 1
            try:
                await self.one(steps)
                self.done += 1
            finally:
                if self.places.seated():
                    self.progress.in_flight -= 1
            if self.places.without and not self.places.keeps():
                break
            await asyncio.sleep(0)

    async def one(self, steps: Steps) -> None:
        for step in steps:
            if step != "works":
                self.places.leave()
                for _ in range(20 if step == "waits long" else 2):
                    await asyncio.sleep(0)
                if step == "ends without":
                    return
                await self.places.again()
            assert 0 <= self.progress.in_flight <= self.most
            await asyncio.sleep(0)
            assert 0 <= self.progress.in_flight <= self.most


@given(st.integers(1, 4), st.lists(STEPS, max_size=30), st.lists(st.integers(0, 200), max_size=6))
def test_no_more_than_there_are_and_all_come_to_their_end(
    most: int, records: list[Steps], cancelled: list[int]
) -> None:
    async def run() -> None:
        shop = Shop(most, records)
        shop.start()
        lost, turn = 0, 0
        while shop.tasks:
            if turn in cancelled:
                task = next(iter(shop.tasks))
                lost += task.cancel()
            turn += 1
            await asyncio.sleep(0)
            shop.start()
        assert shop.done + lost >= len(records)
        assert (shop.progress.in_flight, shop.places.free, shop.places.without) == (0, most, set())

    asyncio.run(run())


def test_who_comes_back_and_who_is_new_take_turns() -> None:
    async def run() -> None:
        order: list[str] = []
        shop = Shop(1, [])

        async def back(name: str) -> None:
            shop.places.leave()
            await shop.places.again()
            order.append(name)

        shop.records.extend([["works"]] * 8)
        for name in ("a", "b"):
            shop.places.take()
            task = asyncio.get_running_loop().create_task(back(name))
            shop.tasks.add(task)
            task.add_done_callback(shop.ended)
        while shop.tasks:
            await asyncio.sleep(0)
            order.extend(["new"] * (shop.done - order.count("new")))
        assert order.count("new") == 8
        assert order.index("b") < len(order) - 1  # not after all that is new

    asyncio.run(run())


def test_once_it_closes_who_leaves_is_cancelled() -> None:
    async def run() -> None:
        shop = Shop(2, [["waits long"], ["works", "works", "waits"], ["works"]])
        shop.start()
        await asyncio.sleep(0)
        shop.places.close()
        while shop.tasks:
            await asyncio.sleep(0)
        assert shop.done == 1

    asyncio.run(run())


@given(st.lists(st.sampled_from(["new", "again", "cancelled", "away"]), max_size=12))
def test_a_line_keeps_the_order(comers: list[str]) -> None:
    async def run() -> None:
        line, order = Line(), []
        assert await line.first()

        async def come(number: int, kind: str) -> None:
            if await line.first(again=kind == "again"):
                order.append(number)
                await asyncio.sleep(0)
                line.go()

        tasks = [asyncio.create_task(come(*each)) for each in enumerate(comers)]
        await asyncio.sleep(0)
        assert len(line) == 1 + len(comers)
        gone = {n for n, kind in enumerate(comers) if kind == "cancelled"}
        for number in gone:
            tasks[number].cancel()
        await asyncio.sleep(0)
        again = [n for n, kind in enumerate(comers) if kind == "again"]
        others = [n for n, kind in enumerate(comers) if kind != "again" and n not in gone]
        expected = again + others
        for _ in range(comers.count("away")):
            assert line.send_away()
            expected.pop(0)
        line.go()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == expected
        assert not line
        assert not line.send_away()

    asyncio.run(run())
