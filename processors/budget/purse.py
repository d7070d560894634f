"""What one worker may still spend of the blocks that it has: reserved before a call, settled after it. Pure."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from shadowlane.processors.budget.amounts import NOTHING, Amount, Limits
from shadowlane.processors.budget.book import BLOCKS, Book, Entry, Span, Window

AHEAD = 1
"""Blocks asked for beyond what is needed, so that the next calls need not wait for the log."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call may cost at most, in each window that it counts in."""

    amount: Amount
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Exhausted:
    """There is not enough left, and nothing that could come back."""

    window: Window
    why: str


@dataclass(frozen=True, slots=True)
class Later:
    """Not now: ``entries`` go into the log, if any, and then, or as soon as a call is settled, it may do."""

    entries: tuple[Entry, ...] = ()


class Purse:
    """A worker's part of the budgets. What was reserved and never settled, since the process died, is spent."""

    def __init__(self, worker: str, book: Book) -> None:
        self._worker = worker
        self._book = book
        self._spent: dict[Window, Amount] = defaultdict(lambda: NOTHING)
        self._reserved: dict[Window, Amount] = defaultdict(lambda: NOTHING)
        self._number = 0
        self._asked: dict[Window, int] = {}  # window -> the number of the line that asks for more of it

    def reserve(
        self, rollout: str, epoch: str, limits: Mapping[Span, Limits], amount: Amount, now: float
    ) -> Reservation | Exhausted | Later:
        """Before a call that costs ``amount`` at most. ``now``: Unix seconds."""
        windows = tuple(Window.at(rollout, epoch, span, now) for span in limits)
        asked: list[Entry] = []
        waits = False
        for window in windows:
            found = self._missing(window, limits[window.span], amount)
            if isinstance(found, Exhausted):
                return found
            waits = waits or found is not None
            if found:
                asked.append(self._ask(window, found))
        if waits:
            return Later(tuple(asked))
        for window in windows:
            self._reserved[window] = self._reserved[window].plus(amount)
        return Reservation(amount, windows)

    def settle(self, reservation: Reservation, actual: Amount) -> None:
        """After the call. It may have cost more than was reserved: then what is left is less than nothing, and the
        next calls wait."""
        for window in reservation.windows:
            self._reserved[window] = self._reserved[window].minus(reservation.amount)
            self._spent[window] = self._spent[window].plus(actual)

    def lost(self, entry: Entry) -> None:
        """A line that asked for more did not come into the log: the next call asks again. Should it be there all the
        same, the worker has more than it needs, and no more than there is."""
        if self._asked.get(entry.window) == entry.number:
            del self._asked[entry.window]

    def waits(self) -> bool:
        """Whether the log has not answered to all that was asked for."""
        return any(number > self._book.heard(self._worker) for number in self._asked.values())

    def windows(self, rollout: str, epoch: str) -> list[Window]:
        """Those of a rollout's epoch in which something was spent or reserved."""
        known = {*self._spent, *self._reserved}
        return [window for window in known if (window.rollout, window.epoch) == (rollout, epoch)]

    def report(self, now: float) -> list[Entry]:
        """Lines that say what was spent, of each window in which something was; windows that are over are let go."""
        lines = []
        for window, spent in self._spent.items():
            lines.append(Entry(window, self._worker, self._next(), spent=spent))
        for window in [window for window in self._spent if window.over(now)]:
            if self._reserved.get(window, NOTHING) == NOTHING:
                del self._spent[window]
                self._reserved.pop(window, None)
                self._asked.pop(window, None)
        return lines

    def give_back(self, limits: Mapping[Window, Limits]) -> list[Entry]:
        """At a clean stop, once all is settled: the lines that give back the blocks of which nothing was spent."""
        lines = []
        for window, limit in limits.items():
            needed = limit.blocks_for(self._spent[window], BLOCKS)
            if (left := self._book.owned(window, self._worker) - needed) > 0:
                lines.append(Entry(window, self._worker, self._next(), blocks=-left))
        return lines

    def _missing(self, window: Window, limits: Limits, amount: Amount) -> int | Exhausted | None:
        """None: there is enough. A number: so many blocks more, to be asked for; 0 is to wait."""
        held = self._spent[window].plus(self._reserved[window])
        if measure := limits.exceeded_by(amount):
            return Exhausted(window, f"one call may take more {measure} than the whole {window.span} has")
        missing = limits.blocks_for(held.plus(amount), BLOCKS) - self._book.owned(window, self._worker)
        if missing <= 0:
            return None
        if self._asked.get(window, -1) > self._book.heard(self._worker):
            return 0  # the log has not answered yet
        free = self._book.free(window)
        if missing > free:
            # What others reserved may come back when they stop; what this one did, when its calls are settled.
            return (
                0 if self._reserved[window] != NOTHING else Exhausted(window, f"the {window.span} is used up")
            )
        return min(missing + AHEAD, free)

    def _ask(self, window: Window, blocks: int) -> Entry:
        entry = Entry(window, self._worker, self._next(), blocks=blocks)
        self._asked[window] = entry.number
        return entry

    def _next(self) -> int:
        self._number += 1
        return self._number
