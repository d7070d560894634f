"""Who has how much of which window, as the log of budgets says. Pure.

A worker that needs some of a window says in the log how much, and how much the window has; the log is one topic with
one partition, and there the worker reads its own line again. What stands before it went before, and it has what it
asked for where that was left. So all workers agree, by the order of the log alone, and what they have taken together
is never more than there is. A worker that dies keeps what it took until the window ends: nobody can know what it spent
of it.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from shadowlane.processors.budget.amounts import NOTHING, Amount, Limits

Span = Literal["hour", "day", "rollout"]
SECONDS: dict[Span, int] = {"hour": 3600, "day": 86_400}
KEPT_S = 86_400
"""How long after its end a window is still known: clocks may differ by as much."""


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
        """Whether it has ended so long ago that nobody may take it for the present one; a rollout's never does."""
        seconds = SECONDS.get(self.span)
        return seconds is not None and now >= self.start + seconds + KEPT_S


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log. ``number`` grows with each line of a worker, so that one that came twice counts once."""

    window: Window
    worker: str
    number: int
    take: Amount = NOTHING  # asked for; below zero: given back
    limits: Limits = UNLIMITED  # what the window has, as this worker is configured
    spent: Amount | None = None  # by this worker in this window so far, for people to see


class Book:
    """What the log says, line by line."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """The log is read from its beginning again."""
        self._taken: dict[Window, dict[str, Amount]] = defaultdict(dict)
        self._spent: dict[Window, dict[str, Amount]] = defaultdict(dict)
        self._last: dict[str, int] = {}

    def apply(self, entries: Iterable[Entry]) -> None:
        """Further lines, in the log's order."""
        for entry in entries:
            if entry.number <= self._last.get(entry.worker, -1):
                continue
            self._last[entry.worker] = entry.number
            if entry.take != NOTHING:
                self._take(entry)
            if entry.spent is not None:
                self._spent[entry.window][entry.worker] = entry.spent

    def heard(self, worker: str) -> int:
        """The number of this worker's last line that is in the log; −1 where none is."""
        return self._last.get(worker, -1)

    def taken(self, window: Window) -> Amount:
        """By all workers."""
        return _total(self._taken.get(window, {}).values())

    def owned(self, window: Window, worker: str) -> Amount:
        """What this worker has taken."""
        return self._taken.get(window, {}).get(worker, NOTHING)

    def spent(self, window: Window) -> Amount:
        """By all workers, as they last said."""
        return _total(self._spent.get(window, {}).values())

    def windows(self) -> list[Window]:
        """Of which anything was said."""
        return sorted({*self._taken, *self._spent})

    def forget(self, now: float) -> None:
        """Windows that are over."""
        for windows in (self._taken, self._spent):
            for window in [window for window in windows if window.over(now)]:
                del windows[window]

    def _take(self, entry: Entry) -> None:
        had = self.owned(entry.window, entry.worker)
        wanted = self.taken(entry.window).plus(entry.take)
        asks = any(part > 0 for part in entry.take)
        # Of a measure that it does not ask for there may be too little already: another's limit was higher.
        measures = zip(entry.take, wanted, entry.limits, strict=True)
        if asks and any(part > 0 and most is not None and of > most for part, of, most in measures):
            return
        self._taken[entry.window][entry.worker] = Amount(*(max(0, part) for part in had.plus(entry.take)))


def _total(amounts: Iterable[Amount]) -> Amount:
    total = NOTHING
    for amount in amounts:
        total = total.plus(amount)
    return total
