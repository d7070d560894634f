"""A replay's ledger: the cells of the requests that Kafka has acknowledged, up to the first one that it has not. Pure.

A replay that is begun again counts its requests from the first one on, in the same order and under the same instance.
So the counts only ever grow towards the same sums, whatever was sent of them before: the store keeps each cell's
largest. That is why a request is booked when it is settled and all before it are, as eligible and as what became of it
at once, where the mirror's ledger (:mod:`shadowlane.producers.ledger`) books each as it comes.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from shadowlane.producers.ledger import MINUTE_MS, Row
from shadowlane.schemas.events import LedgerCell


class Place(NamedTuple):
    """Where a request is booked, and as what: mirrored, sampled out, or dropped, for a reason."""

    instance: str
    minute: int
    service: str
    route: str
    row: Row = Row.MIRRORED
    reason: str = ""


class Books:
    """Counts of requests by place."""

    def __init__(self) -> None:
        self._counts: Counter[Place] = Counter()
        self._eligible: Counter[Place] = Counter()
        self._unsaid: set[Place] = set()
        self.dropped: Counter[str] = Counter()
        """By reason."""

    def book(self, place: Place) -> None:
        self._counts[place] += 1
        self._eligible[_eligible(place)] += 1
        self._unsaid.add(place)
        if place.reason:
            self.dropped[place.reason] += 1

    def unsaid(self) -> list[tuple[Place, int]]:
        """What Kafka has not acknowledged with its present count."""
        return [(place, self._counts[place]) for place in self._unsaid]

    def acknowledge(self, said: Iterable[tuple[Place, int]]) -> None:
        for place, count in said:
            if self._counts[place] == count:
                self._unsaid.discard(place)

    def cells(self, place: Place) -> list[LedgerCell]:
        """What the ledger has of one place. Its ``eligible`` are of all reasons."""
        return [
            _cell(place, Row.ELIGIBLE, "", self._eligible[_eligible(place)]),
            _cell(place, place.row, place.reason, self._counts[place]),
        ]


def _eligible(place: Place) -> Place:
    """Whatever became of its requests."""
    return place._replace(row=Row.ELIGIBLE, reason="")


def _cell(place: Place, row: Row, reason: str, count: int) -> LedgerCell:
    return LedgerCell(
        instance=place.instance,
        minute=place.minute,
        service=place.service,
        route=place.route,
        row=row,
        reason=reason,
        count=count,
    )


def minute_of(ts: int) -> int:
    return ts - ts % MINUTE_MS
