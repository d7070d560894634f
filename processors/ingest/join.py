"""Joins what was asked to what was served, by the request's id: in any order, twice, or never. Pure.

Time is handed in, in seconds. A half waits for the other one for so long, and all that wait have so many bytes; an id
that has ended is known again for a while, so that what comes late or twice is booked once.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

A = TypeVar("A")
S = TypeVar("S")


class Alone(StrEnum):
    """Why a half goes without the other one: reasons of the ledger's row ``dropped``."""

    NO_RESPONSE = "no_response"  # what was served did not come in time
    NO_REQUEST = "no_request"  # what was asked did not
    FULL = "join_full"  # as much waits as may: the oldest half gave way


class Became(StrEnum):
    """What became of a half as it came."""

    WAITING = "waiting"
    JOINED = "joined"
    REPEATED = "repeated"  # it came before, or its time was over


@dataclass(frozen=True, slots=True)
class Ended(Generic[A, S]):
    """One request to its end: both halves, or one and why it is alone."""

    asked: A | None
    served: S | None
    reason: str = ""


@dataclass(slots=True)
class _Half(Generic[A, S]):
    asked: A | None
    served: S | None
    size: int
    until: float


class Join(Generic[A, S]):
    """Args:
    wait_s: how long a half waits for the other one.
    max_bytes: of all that wait.
    remembered: so many ids that have ended are known again, the latest ones.
    """

    def __init__(self, wait_s: float, max_bytes: int, remembered: int) -> None:
        self._wait_s, self._max_bytes, self._remembered = wait_s, max_bytes, remembered
        self._halves: OrderedDict[str, _Half[A, S]] = OrderedDict()  # by age
        self._ended: OrderedDict[str, None] = OrderedDict()
        self.bytes = 0

    @property
    def waiting(self) -> int:
        """Halves that wait."""
        return len(self._halves)

    def asked(self, request_id: str, asked: A, size: int, now: float) -> tuple[Became, list[Ended[A, S]]]:
        """A request came; what became of it, and the requests that ended by that."""
        return self._came(request_id, _Half(asked, None, size, now + self._wait_s))

    def served(self, request_id: str, served: S, size: int, now: float) -> tuple[Became, list[Ended[A, S]]]:
        """What was served to a request came; likewise."""
        return self._came(request_id, _Half(None, served, size, now + self._wait_s))

    def expire(self, now: float) -> Iterator[Ended[A, S]]:
        """The halves whose time is over."""
        while self._halves and next(iter(self._halves.values())).until <= now:
            half = self._take(next(iter(self._halves)))
            yield _alone(half, Alone.NO_RESPONSE if half.served is None else Alone.NO_REQUEST)

    def close(self, reason: str) -> Iterator[Ended[A, S]]:
        """All that wait."""
        while self._halves:
            yield _alone(self._take(next(iter(self._halves))), reason)

    def _came(self, request_id: str, half: _Half[A, S]) -> tuple[Became, list[Ended[A, S]]]:
        if request_id in self._ended:
            return Became.REPEATED, []
        before = self._halves.get(request_id)
        if before is None:
            self._halves[request_id] = half
            self.bytes += half.size
            return Became.WAITING, list(self._give_way())
        if (before.asked is None) == (half.asked is None):
            return Became.REPEATED, []
        self._take(request_id)
        asked = half.asked if before.asked is None else before.asked
        served = half.served if before.served is None else before.served
        return Became.JOINED, [Ended(asked, served)]

    def _give_way(self) -> Iterator[Ended[A, S]]:
        while self.bytes > self._max_bytes:
            yield _alone(self._take(next(iter(self._halves))), Alone.FULL)

    def _take(self, request_id: str) -> _Half[A, S]:
        half = self._halves.pop(request_id)
        self.bytes -= half.size
        self._ended[request_id] = None
        while len(self._ended) > self._remembered:
            self._ended.popitem(last=False)
        return half


def _alone(half: _Half[A, S], reason: str) -> Ended[A, S]:
    return Ended(half.asked, half.served, reason)
