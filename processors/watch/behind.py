"""What a group's lag looks like over time: a commit that stalls, the oldest message's age, the pace. Pure."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from shadowlane.processors.lag import Lag, Place

KEPT = 256
"""Ends of a partition that are remembered: with them the oldest message's age is told."""

PACE_S = 30.0
"""Over how long rates are taken."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Of all partitions of a group: how many messages it is behind, since when, in seconds, and messages a second."""

    behind: int
    oldest_s: float
    come: float
    done: float


class Course:
    """One partition, reading after reading. Time is handed in, in seconds, never going back."""

    def __init__(self) -> None:
        self._ends: deque[tuple[float, int]] = deque()  # when an end was first seen, rising
        self._committed: int | None = None
        self._since = 0.0
        self._now = 0.0
        self._lag: Lag | None = None

    def read(self, lag: Lag, now: float) -> None:
        """Takes in one reading."""
        if not self._lag or not self._lag.messages or not lag.messages or lag.committed != self._committed:
            self._committed, self._since = lag.committed, now
        if self._ends and lag.end < self._ends[-1][1]:
            self._ends.clear()  # the topic was made anew
        if not self._ends or lag.end > self._ends[-1][1]:
            self._ends.append((now, lag.end))
        while self._ends and self._ends[0][1] <= lag.next:
            self._ends.popleft()
        if len(self._ends) > KEPT:  # thinner, but for the first: it dates the oldest message
            self._ends = deque([self._ends[0], *list(self._ends)[2::2]])
        self._lag, self._now = lag, now

    @property
    def stalled(self) -> float:
        """Seconds for which the committed offset has not moved although there was lag; at the last reading."""
        return self._now - self._since

    @property
    def age(self) -> float:
        """Seconds since a reading first saw the oldest message that is not committed; 0 where there is none.

        It was there at most one interval of readings longer, or from before the first reading on.
        """
        return self._now - self._ends[0][0] if self._ends else 0.0


class Courses:
    """Every partition of a group."""

    def __init__(self) -> None:
        self.lags: Mapping[Place, Lag] = {}
        self.courses: dict[Place, Course] = {}
        self._sums: deque[tuple[float, int, int]] = deque()  # when, all that is done, all that is there

    def read(self, lags: Mapping[Place, Lag], now: float) -> None:
        for place, lag in lags.items():
            if place not in self.courses:
                self.courses[place] = Course()
            self.courses[place].read(lag, now)
        done, end = sum(lag.next for lag in lags.values()), sum(lag.end for lag in lags.values())
        if lags.keys() != self.lags.keys() or (self._sums and end < self._sums[-1][2]):
            self._sums.clear()  # other partitions, or topics made anew
        while len(self._sums) > 1 and now - self._sums[1][0] >= PACE_S:
            self._sums.popleft()
        self._sums.append((now, done, end))
        self.lags = lags

    def pace(self) -> Pace | None:
        """At the last reading; None before the second one. From any thread."""
        sums = list(self._sums)
        if len(sums) < 2:
            return None
        (since, done, end), (now, done_now, end_now) = sums[0], sums[-1]
        behind = sum(lag.messages for lag in self.lags.values())
        oldest = max((course.age for course in list(self.courses.values())), default=0.0)
        seconds = now - since
        return Pace(behind, oldest, (end_now - end) / seconds, max(0, done_now - done) / seconds)
