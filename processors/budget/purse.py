"""What one worker may still spend of what it has taken: reserved before a call, settled after it. Pure."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from shadowlane.processors.budget.amounts import NOTHING, Amount, Limits
from shadowlane.processors.budget.book import Book, Entry, Span, Window

PARTS = 64
"""One of so many parts of a window is asked for beyond what is needed, so that the next calls need not wait for the
log. A worker that dies takes what it has left of it along."""
AGAIN_S = 3.0
"""A line that does not come out of the log for so long is written again."""


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
        self._limits: dict[Window, Limits] = {}  # of the windows in which anything was reserved
        self._spent: dict[Window, Amount] = defaultdict(lambda: NOTHING)
        self._reserved: dict[Window, Amount] = defaultdict(lambda: NOTHING)
        self._said: dict[Window, Amount] = {}
        self._number = 0
        self._asked: dict[
            Window, tuple[int, float]
        ] = {}  # the line that asks for more of it, and when it did

    def reserve(
        self, rollout: str, epoch: str, limits: Mapping[Span, Limits], amount: Amount, now: float
    ) -> Reservation | Exhausted | Later:
        """Before a call that costs ``amount`` at most. ``now``: Unix seconds."""
        windows = tuple(Window.at(rollout, epoch, span, now) for span in limits)
        asked: list[Entry] = []
        waits = False
        for window in windows:
            found = self._missing(window, limits[window.span], amount, now)
            if isinstance(found, Exhausted):
                return found
            waits = waits or found is not None
            if found is not None and found != NOTHING:
                asked.append(self._ask(window, limits[window.span], found, now))
        if waits:
            return Later(tuple(asked))
        for window in windows:
            self._limits[window] = limits[window.span]
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
        if self._asked.get(entry.window, (None,))[0] == entry.number:
            del self._asked[entry.window]

    def waits(self) -> bool:
        """Whether the log has not answered to all that was asked for."""
        return any(number > self._book.heard(self._worker) for number, _ in self._asked.values())

    def report(self, now: float) -> list[Entry]:
        """Lines that say what was spent, of each window in which more was; windows that are over are let go."""
        lines = []
        for window, spent in self._spent.items():
            if spent != self._said.get(window):
                self._said[window] = spent
                lines.append(Entry(window, self._worker, self._next(), spent=spent))
        for window in [window for window in self._limits if window.over(now)]:
            if self._reserved[window] == NOTHING:
                for known in (self._limits, self._spent, self._reserved, self._said, self._asked):
                    known.pop(window, None)
        return lines

    def close(self, now: float) -> list[Entry]:
        """At a clean stop, once no call is under way: the lines that say what was spent, and give back the rest.

        What is reserved still is of calls that were cut off, and counts as spent.
        """
        for window, reserved in self._reserved.items():
            self._spent[window] = self._spent[window].plus(reserved)
        self._reserved.clear()
        lines = self.report(now)
        for window, limits in self._limits.items():
            left = self._book.owned(window, self._worker).minus(self._spent[window])
            if (back := limits.limited(left)) != NOTHING:
                lines.append(Entry(window, self._worker, self._next(), NOTHING.minus(back), limits))
        return lines

    def _missing(
        self, window: Window, limits: Limits, amount: Amount, now: float
    ) -> Amount | Exhausted | None:
        """None: there is enough. An amount: so much more is to be asked for; nothing is to wait."""
        if measure := limits.exceeded_by(amount):
            return Exhausted(window, f"one call may take more {measure} than the whole {window.span} has")
        reserved = self._reserved.get(window, NOTHING)
        held = self._spent.get(window, NOTHING).plus(reserved).plus(amount)
        short = limits.limited(held.minus(self._book.owned(window, self._worker)))
        if short == NOTHING:
            return None
        number, asked_at = self._asked.get(window, (-1, 0.0))
        if number > self._book.heard(self._worker) and 0 <= now - asked_at < AGAIN_S:
            return NOTHING  # the log has not answered yet
        left = limits.left(self._book.taken(window))
        if left.exceeded_by(short):
            # What others reserved may come back when they stop; what this one did, when its calls are settled.
            if reserved != NOTHING:
                return NOTHING
            return Exhausted(window, f"the {window.span} is used up")
        wanted = short.plus(limits.part(PARTS))
        return Amount(
            *(
                0 if not needed or most is None else min(of, most)
                for needed, of, most in zip(short, wanted, left, strict=True)
            )
        )

    def _ask(self, window: Window, limits: Limits, take: Amount, now: float) -> Entry:
        entry = Entry(window, self._worker, self._next(), take, limits)
        self._asked[window] = entry.number, now
        return entry

    def _next(self) -> int:
        self._number += 1
        return self._number
