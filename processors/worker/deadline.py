"""Ends what takes longer than it may, with one timer for all calls: one for each is a tenth of what a call costs."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any

STOOD_STILL_S = 1.0
"""A timer that is so late says that this process stood still (stopped, swapped out, its machine paused)."""


class Deadlines:
    """For what may all take as long: whoever began first is late first, so the timer waits for that one alone.

    ``with deadlines.within():`` cancels the task that is in it after ``seconds``, and raises TimeoutError in place of
    the cancellation, as :func:`asyncio.timeout` does. Time in which the process stood still is not held against what
    was open, once: its answer may have come meanwhile, and lie there unread.
    """

    def __init__(self, seconds: float) -> None:
        """Within a running event loop."""
        self.seconds = seconds
        self._loop = asyncio.get_running_loop()
        self.open: dict[_Within, None] = {}  # in the order of their ends
        self._timer: asyncio.TimerHandle | None = None

    def within(self, what: object = None) -> "_Within":
        """``what`` is it that takes so long, for :meth:`stop`."""
        return _Within(self, what)

    def stop(self, chosen: Callable[[Any], bool]) -> None:
        """Ends at once what is open and ``chosen``: there StoppedError is raised."""
        for one in [one for one in self.open if chosen(one.what)]:
            del self.open[one]
            one.stop()

    def __len__(self) -> int:
        """How many are open."""
        return len(self.open)

    def begin(self, one: "_Within") -> asyncio.Task[Any]:
        task = asyncio.current_task(self._loop)  # to ask which loop it is takes a system call on Python 3.11
        assert task is not None, "a deadline is for a task"
        one.ends = self._loop.time() + self.seconds
        self.open[one] = None
        if self._timer is None:
            self._timer = self._loop.call_at(one.ends, self._end_late)
        return task

    def _end_late(self) -> None:
        now = self._loop.time()
        if self._timer is not None and (still := now - self._timer.when()) >= STOOD_STILL_S:
            for one in self.open:
                one.stood_still(now, still)
        while (first := next(iter(self.open), None)) is not None and first.ends <= now:
            del self.open[first]
            first.expire()
        self._timer = None if first is None else self._loop.call_at(first.ends, self._end_late)


class StoppedError(Exception):
    """It was stopped before it was done."""


class _Within:
    __slots__ = ("_cancelling", "_deadlines", "_end", "_forgiven", "_task", "ends", "what")

    def __init__(self, deadlines: Deadlines, what: object) -> None:
        self._deadlines = deadlines
        self._end: type[Exception] | None = None  # what to raise in place of the cancellation that is ours
        self._forgiven = False
        self.ends = 0.0
        self.what = what

    def stood_still(self, now: float, seconds: float) -> None:
        if not self._forgiven:
            self._forgiven = True
            self.ends = max(self.ends + seconds, now + STOOD_STILL_S)

    def expire(self) -> None:
        self._end = TimeoutError
        self._task.cancel()

    def stop(self) -> None:
        self._end = StoppedError
        self._task.cancel()

    def __enter__(self) -> None:
        self._task = self._deadlines.begin(self)
        self._cancelling = self._task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._deadlines.open.pop(self, None)
        # Where someone else cancelled the task as well, it stays cancelled.
        if self._end and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._end from error
