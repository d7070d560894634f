"""The mirror's books: how many requests it saw, and what became of each. Pure; the caller locks.

Every eligible request is booked as ``eligible`` when it comes, and once more as ``sampled_out``, ``dropped``
or ``mirrored`` when that is known. Counts are by (minute of the request, service, route), cumulative, and
sent again until Kafka has acknowledged them; so a lost or doubled message changes nothing in the end.
"""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from shadowlane.schemas.events import LedgerCell

MINUTE_MS = 60_000
OTHER_ROUTES = "(other)"
FORGET_EVERY_S = 300.0
"""How often :meth:`Ledger.forget` is to be called: each minute has cells of its own, and they stay for up to twice as
long. With half an hour the cells of 200 routes were too many after fifty minutes."""


class Row(StrEnum):
    ELIGIBLE = "eligible"
    SAMPLED_OUT = "sampled_out"
    DROPPED = "dropped"
    MIRRORED = "mirrored"


class Drop(StrEnum):
    """Why a request was not mirrored: the reasons of the row ``dropped``."""

    BUFFER_FULL = "buffer_full"  # Kafka is away or slow, and the buffer has no room left
    TOO_LARGE = "too_large"  # over what one Kafka message holds, even without its content
    ENCODE_FAILED = "encode_failed"
    DELIVERY_FAILED = "delivery_failed"  # Kafka refused it, or did not acknowledge it in time
    UNREACHABLE = "unreachable"  # Kafka, or the topics, could not be reached for as long as that
    NO_KAFKA = "no_kafka"  # no address was given
    MISCONFIGURED = "misconfigured"  # the configuration is wrong: the log says what
    SHUTDOWN = "shutdown"  # the process ended before Kafka acknowledged it


Key = tuple[int, str, str, str, str]  # minute, service, route, row, reason


class _Cell:
    __slots__ = ("count", "instance", "marked")

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.count = 0
        self.marked = -1  # the count when forget() last came by


class Ledger:
    """The cells of one mirror in one process.

    At most about ``max_cells`` are kept: past that, new routes are booked as ``(other)``, so that a service
    whose routes hold ids does not grow without bound; the sums stay right.
    """

    def __init__(self, instance: str, *, max_cells: int = 20_000) -> None:
        self.instance = instance
        self.totals: Counter[tuple[str, str]] = Counter()
        self._max_cells = max_cells
        self._cells: dict[Key, _Cell] = {}
        self._dirty: set[Key] = set()  # cells whose count Kafka has not acknowledged
        self._forgotten_until = -1  # the latest minute of which a cell was forgotten
        self._generation = 0

    def add(self, ts: int, service: str, route: str, row: str, reason: str = "", count: int = 1) -> None:
        """Book ``count`` requests that came at ``ts`` (Unix milliseconds)."""
        self.totals[row, reason] += count
        minute = ts - ts % MINUTE_MS
        key = (minute, service, route, row, reason)
        cell = self._cells.get(key)
        if cell is None:
            if len(self._cells) >= self._max_cells:
                key = (minute, service, OTHER_ROUTES, row, reason)
                cell = self._cells.get(key)
            if cell is None:
                # A minute that was forgotten starts from 0 again; under its old name the store, which
                # keeps the largest count, would take that for an old message.
                late = minute <= self._forgotten_until
                cell = _Cell(f"{self.instance}.{self._generation}" if late else self.instance)
                self._cells[key] = cell
        cell.count += count
        self._dirty.add(key)

    def total(self, row: str) -> int:
        """Requests in one row, over all reasons, since the start."""
        return sum(count for (name, _), count in self.totals.items() if name == row)

    def dropped(self) -> dict[str, int]:
        """Dropped requests by reason, since the start."""
        return {str(reason): count for (row, reason), count in self.totals.items() if row == Row.DROPPED}

    def unacknowledged(self) -> list[tuple[Key, LedgerCell]]:
        """The cells that Kafka has not acknowledged with their present count."""
        return [(key, self._record(key)) for key in self._dirty]

    def _record(self, key: Key) -> LedgerCell:
        minute, service, route, row, reason = key
        cell = self._cells[key]
        return LedgerCell(
            instance=cell.instance,
            minute=minute,
            service=service,
            route=route,
            row=row,
            reason=reason,
            count=cell.count,
        )

    def clean(self) -> bool:
        """Whether Kafka has acknowledged every count."""
        return not self._dirty

    def acknowledge(self, sent: Iterable[tuple[Key, LedgerCell]]) -> None:
        for key, record in sent:
            cell = self._cells.get(key)
            if cell is not None and cell.instance == record.instance and cell.count == record.count:
                self._dirty.discard(key)

    def forget(self) -> None:
        """Drop the cells that are acknowledged and have not changed since the last call."""
        still: dict[Key, _Cell] = {}
        for key, cell in self._cells.items():
            if cell.count == cell.marked and key not in self._dirty:
                self._forgotten_until = max(self._forgotten_until, key[0])
            else:
                cell.marked = cell.count
                still[key] = cell
        if len(still) < len(self._cells):
            self._generation += 1
            self._cells = still
