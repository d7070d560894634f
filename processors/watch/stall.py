"""When a consumer no longer progresses: a state machine of what is seen at each look. Pure; no clock, no Kafka.

Time counts only while whoever looks is awake itself: the owner hands in how long it was since the look before, and
never more than a few seconds. So a process that was stopped (SIGSTOP, a suspended machine) does not find itself
stalled when it goes on.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from shadowlane.processors.lag import Lag, Place


@dataclass(frozen=True, slots=True)
class Reading:
    """One partition that this process reads.

    ``next`` is the offset to be taken next, None where none was taken since the partition was assigned.
    ``may_commit`` is up to where all is done, None where that is not known. ``paused``: not read, on purpose.
    """

    next: int | None = None
    may_commit: int | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """One look. ``loops`` has the turns of each loop and how long one may take, ``lags`` what Kafka said; without a
    fresh word from it there are none. ``work`` are steps that are made within one turn of a loop. ``held``: what is
    written waits for Kafka, so that nothing is read on purpose. ``overdue`` tells which half should have gone out by
    now, None where none should. ``assigned``: whether its group has given it partitions, None where it is in
    none.
    """

    loops: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    readings: Mapping[Place, Reading] = field(default_factory=dict)
    lags: Mapping[Place, Lag] = field(default_factory=dict)
    work: int = 0
    held: bool = False
    overdue: Hashable = None
    assigned: bool | None = None


@dataclass(frozen=True, slots=True)
class Stall:
    """What does not progress. ``unread`` is the message that ought to have been taken, where it is that.

    ``unowned``: nobody seems to have the partitions of the group.
    """

    what: str
    seconds: float
    unread: tuple[Place, int] | None = None
    unowned: bool = False


class Stalls:
    """Looks again and again. ``after_s`` is how long something may stand still that should move."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._turns: dict[str, int] = {}
        self._still: dict[Hashable, tuple[Hashable, float]] = {}
        self._known: set[Hashable] = set()

    def look(self, seen: Seen, elapsed: float) -> list[Stall]:
        """What stands still now. ``elapsed``: seconds awake since the last look."""
        self._known = set()
        found = list(self._hung(seen, elapsed))
        turned = all(self._turns.get(name) != turns for name, (turns, _) in seen.loops.items())
        self._turns = {name: turns for name, (turns, _) in seen.loops.items()}
        if seen.lags and not seen.held:
            # While a loop is busy with one turn, nothing else is to be expected of it: then that time does not count.
            found += self._idle(seen, elapsed if turned else 0.0)
        for key in set(self._still) - self._known:  # explained, or not to be known now: it begins anew
            del self._still[key]
        return found

    def excuse(self, stall: Stall) -> None:
        """There is no message to take after all (a transaction's marker, say), or another has it: it begins anew."""
        self._still.pop(("unread", stall.unread[0]) if stall.unread else "unowned", None)

    def _hung(self, seen: Seen, elapsed: float) -> Iterator[Stall]:
        for name, (turns, within) in seen.loops.items():
            seconds = self._since(("loop", name), (turns, seen.work), elapsed)
            if seconds >= max(self._after_s, within):
                yield Stall(f"its {name} does not turn", seconds)

    def _idle(self, seen: Seen, elapsed: float) -> Iterator[Stall]:
        for place, reading in seen.readings.items():
            lag = seen.lags.get(place)
            if lag is None:
                continue
            where = f"partition {place[1]} of {place[0]}"
            follows = lag.next if reading.next is None else reading.next
            if lag.end > follows and not reading.paused:
                seconds = self._since(("unread", place), follows, elapsed)
                if seconds >= self._after_s:
                    text = f"no message of {where} is taken, though offset {follows} is there"
                    yield Stall(text, seconds, (place, follows))
            done = reading.may_commit
            if done is not None and lag.next < done <= lag.end:
                seconds = self._since(("uncommitted", place), lag.next, elapsed)
                if seconds >= self._after_s:
                    text = f"{where} is not committed beyond {lag.next}, though all before {done} is done"
                    yield Stall(text, seconds)
        if seen.assigned is False and any(lag.messages for lag in seen.lags.values()):
            committed = frozenset((place, lag.next) for place, lag in seen.lags.items())
            seconds = self._since("unowned", committed, elapsed)
            # A group may take its time to form.
            if seconds >= 2 * self._after_s:
                text = "its group gives it no partition, and nobody commits any of what is there"
                yield Stall(text, seconds, unowned=True)
        if seen.overdue is not None:
            seconds = self._since("overdue", seen.overdue, elapsed)
            if seconds >= self._after_s:
                yield Stall("a half whose time is over does not go out", seconds)

    def _since(self, key: Hashable, value: Hashable, elapsed: float) -> float:
        """For how many seconds ``key`` has had this value."""
        self._known.add(key)
        before, seconds = self._still.get(key, (None, 0.0))
        seconds = seconds + elapsed if before == value else 0.0
        self._still[key] = (value, seconds)
        return seconds
