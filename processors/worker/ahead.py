"""Makes questions of the requests that wait, some at a time, before there is a call free for them.

Between two of a call's steps run those of hundreds of others, and nothing stays in the processor's caches: to make a
question takes three times as long there as in a loop that makes one after the other.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple

from shadowlane.processors.worker.reader import Work
from shadowlane.schemas.events import Response

AT_ONCE = 64
AT_ONCE_BYTES = 2**20  # of requests: what is made holds a request once more

Ending = Callable[[], Response]
"""Reads the answer of a call that is over."""
Asking = Callable[[], Coroutine[Any, Any, Ending]]
"""Makes the call, once."""


class Made(NamedTuple):
    """What became of a record: how to ask, or why that could not be made. Neither: no rollout takes it."""

    work: Work
    request_id: str = ""
    asking: Asking | None = None
    error: Exception | None = None


class Ahead:
    """The records that wait for a call, in order. ``make`` may raise anything: its record alone is concerned."""

    def __init__(self, make: Callable[[Work], Made]) -> None:
        self._make = make
        self._waiting: deque[Work] = deque()
        self._made: deque[Made] = deque()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._made)

    def add(self, works: Iterable[Work]) -> None:
        self._waiting.extend(works)

    def next(self) -> Made | None:
        """The first; None where none waits."""
        if not self._made:
            self._make_some()
        return self._made.popleft() if self._made else None

    def clear(self) -> int:
        """Lets go of all; how many they were."""
        count = len(self)
        self._waiting.clear()
        self._made.clear()
        return count

    def _make_some(self) -> None:
        waiting, made, size = self._waiting, self._made, 0
        while waiting and len(made) < AT_ONCE and size < AT_ONCE_BYTES:
            work = waiting.popleft()
            size += len(work.line)
            try:
                made.append(self._make(work))
            except Exception as exc:
                made.append(Made(work, error=exc))
