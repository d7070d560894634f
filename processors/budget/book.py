"""Who has how much of which window, as the log of budgets says. Pure.

A window's limits are cut into equal blocks. A worker that needs some says so in the log, one topic with one
partition, and reads it there again: what stands before it in the log went before. So all workers agree, by the order
of the log alone, and what they have taken together is never more than there is. A worker that dies keeps what it
took until the window ends: nobody can know what it spent of it.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from shadowlane.processors.budget.amounts import NOTHING, Amount

BLOCKS = 64
"""Of each window. A worker that dies takes some with it; one that asks often waits for the log each time."""

Span = Literal["hour", "day", "rollout"]
SECONDS: dict[Span, int] = {"hour": 3600, "day": 86_400}


class Window(NamedTuple):
    """One hour or day (UTC), or all of a rollout's epoch."""

    rollout: str
    epoch: str
    span: Span
    start: int  # Unix seconds; 0 of a rollout's

    @classmethod
    def at(cls, rollout: str, epoch: str, span: Span, now: float) -> "Window":
        seconds = SECONDS.get(span)
        return cls(rollout, epoch, span, 0 if seconds is None else int(now // seconds) * seconds)

    def over(self, now: float) -> bool:
        """Whether it has ended; a rollout's never does."""
        seconds = SECONDS.get(self.span)
        return seconds is not None and now >= self.start + seconds


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log. ``number`` grows with each line of a worker, so that one that came twice counts once."""

    window: Window
    worker: str
    number: int
    blocks: int = 0  # asked for; below zero: given back
    spent: Amount | None = None  # by this worker in this window so far, for people to see


class Book:
    """What the log says, line by line."""

    def __init__(self) -> None:
        self._taken: dict[Window, dict[str, int]] = defaultdict(dict)
        self._spent: dict[Window, dict[str, Amount]] = defaultdict(dict)
        self._last: dict[str, int] = {}

    def apply(self, entries: Iterable[Entry]) -> None:
        """Further lines, in the log's order."""
        for entry in entries:
            if entry.number <= self._last.get(entry.worker, -1):
                continue
            self._last[entry.worker] = entry.number
            taken = self._taken[entry.window]
            had = taken.get(entry.worker, 0)
            taken[entry.worker] = had + max(-had, min(entry.blocks, self.free(entry.window)))
            if entry.spent is not None:
                self._spent[entry.window][entry.worker] = entry.spent

    def heard(self, worker: str) -> int:
        """The number of this worker's last line that is in the log; −1 where none is."""
        return self._last.get(worker, -1)

    def free(self, window: Window) -> int:
        """Blocks that nobody has."""
        return BLOCKS - sum(self._taken[window].values())

    def owned(self, window: Window, worker: str) -> int:
        """Blocks that this worker has."""
        return self._taken[window].get(worker, 0)

    def spent(self, window: Window) -> Amount:
        """By all workers, as they last said."""
        total = NOTHING
        for amount in self._spent[window].values():
            total = total.plus(amount)
        return total

    def windows(self) -> list[Window]:
        """Of which anything was said."""
        return sorted({*self._taken, *self._spent})

    def forget(self, now: float) -> None:
        """Windows that are over."""
        for windows in (self._taken, self._spent):
            for window in [window for window in windows if window.over(now)]:
                del windows[window]
