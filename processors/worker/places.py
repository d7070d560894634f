"""How many requests are worked on at once. What only waits for a limit leaves its place to others meanwhile.

A place is a task's. Who left one gets the next that becomes free, in turn with the requests that were not begun yet:
so neither those who come back nor the new ones hold up the others.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from shadowlane.processors.worker.progress import Progress
from shadowlane.processors.worker.room import Room, Share

Task = asyncio.Task[Any]


class Places:
    """Use within one event loop.

    Args:
        most: places.
        progress: its ``in_flight`` counts who has one.
        freed: told that one is free, and nobody has asked for it.
    """

    def __init__(self, most: int, progress: Progress, freed: Callable[[], None] = lambda: None) -> None:
        self._most, self._progress, self._freed = most, progress, freed
        self._taken = 0
        self._wanting: deque[tuple[Task, asyncio.Future[None]]] = deque()
        self._ending: set[Task] = set()  # whose place another has
        self._back = False  # whether the last place that became free went to one who came back
        self._closed = False
        self.without: set[Task] = set()
        """Who has left their place, or waits for one again: nearly always nobody."""

    @property
    def free(self) -> int:
        return self._most - self._taken

    def take(self) -> None:
        """For a task that begins; the caller has looked whether one is free."""
        self._taken += 1

    def leave(self) -> None:
        """The task that runs waits for something. After :meth:`close` it is cancelled."""
        task = _current()
        if task in self.without:
            return
        self.without.add(task)
        self._progress.in_flight -= 1
        self._free_one()
        if self._closed:
            task.cancel()

    async def again(self) -> None:
        """The task that runs has a place from here on. In turn."""
        task = _current()
        if task not in self.without:
            return
        if self._taken < self._most:
            self._taken += 1
            self._has_again(task)
            return
        turn = asyncio.get_running_loop().create_future()
        self._wanting.append(wanting := (task, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if wanting in self._wanting:  # else it has a place all the same, or was passed over
                self._wanting.remove(wanting)
            raise

    def seated(self) -> bool:
        """Whether the task that runs has a place."""
        return _current() not in self.without

    def keeps(self) -> bool:
        """Asked by a task that is done with one request: whether it may begin another, or must end."""
        task = _current()
        if task in self.without:
            return False
        if self._wanting:
            self._back = not self._back
            if self._back and self._hand_over():
                self._ending.add(task)
                return False
        return True

    def ended(self, task: Task) -> None:
        """A task that took a place is over."""
        if task in self.without:
            self.without.discard(task)
        elif task in self._ending:
            self._ending.discard(task)
        else:
            self._free_one()

    def close(self) -> None:
        """Nobody comes back any more: who has left their place is cancelled, now or as they leave it."""
        self._closed = True
        for task in self.without:
            task.cancel()

    def _free_one(self) -> None:
        if not self._hand_over():
            self._taken -= 1
            self._freed()

    def _hand_over(self) -> bool:
        while self._wanting:
            task, turn = self._wanting.popleft()
            if not turn.done():  # else it is being cancelled
                self._has_again(task)
                turn.set_result(None)
                return True
        return False

    def _has_again(self, task: Task) -> None:
        self.without.discard(task)
        self._progress.in_flight += 1


class Seat:
    """What one request takes of what others could have: a place, and room for its answer."""

    __slots__ = ("_places", "_room", "share")

    def __init__(self, places: Places, room: Room, share: Share) -> None:
        self._places, self._room, self.share = places, room, share

    @property
    def left(self) -> bool:
        return self.share.rests

    @property
    def crowded(self) -> bool:
        """Whether as many have left theirs as there is room for."""
        return self._room.crowded

    def leave(self) -> None:
        """It waits for something else."""
        self._room.rest(self.share)
        self._places.leave()

    async def again(self) -> None:
        """It has both again. Where it was not left, at once."""
        await self._places.again()
        await self._room.again(self.share)


def _current() -> Task:
    task = asyncio.current_task()
    assert task is not None, "a place is a task's"
    return task
