"""The coverage ledger: where every eligible request went, and whether that adds up.

Pure: the rows of the view ``ledger`` in, one :class:`Ledger` out. What a mirror saw (eligible) is counted in
the service; what became of it is counted at the far end, from the pairs. Nothing ties the two together but
the requests themselves, so that adding up is a check and not an identity.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

# How long after its time a half may still be on its way to the store, beyond pairing.wait_s.
SLACK = timedelta(minutes=2)
RESOLVED = ("sampled_out", "dropped", "unpaired", "dead_lettered", "abstained", "other_epoch", "scored")


@dataclass(frozen=True, slots=True)
class Entry:
    """Requests of one minute in one row of the ledger."""

    minute: datetime
    row: str
    reason: str
    requests: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """Requests by row. ``eligible`` = the seven rows below it + ``in_flight`` + ``missing`` − ``excess``.

    ``other_epoch`` requests were resolved while the rollout's configuration was another one. ``in_flight``
    requests are young enough to be still on their way, ``missing`` ones are not: each is a request of which
    the system has lost sight. ``excess``: more answers than requests in some minute, for instance since a
    mirror was killed before it could say what it had seen. A mirror says it each second, so an answer may be
    stored before its request is counted: in a minute that is young enough it counts as eligible already.
    ``reasons``: row -> reason -> requests. ``unreadable``: dead letters that name no request, and so stand
    beside the ledger.
    """

    eligible: int = 0
    sampled_out: int = 0
    dropped: int = 0
    unpaired: int = 0
    dead_lettered: int = 0
    abstained: int = 0
    other_epoch: int = 0
    scored: int = 0
    in_flight: int = 0
    missing: int = 0
    excess: int = 0
    unreadable: int = 0
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def adds_up(self) -> bool:
        """Every eligible request is in exactly one row, or still on its way."""
        return not self.missing and not self.excess


def add_up(entries: Iterable[Entry], now: datetime, wait: timedelta) -> Ledger:
    """The ledger of all ``entries``; ``wait`` is how long one half waits for the other (pairing.wait_s)."""
    totals = dict.fromkeys(("eligible", *RESOLVED, "unreadable"), 0)
    reasons: dict[str, dict[str, int]] = {}
    open_by_minute: dict[datetime, int] = {}
    for entry in entries:
        if entry.row not in totals:
            continue
        totals[entry.row] += entry.requests
        if entry.reason:
            of_row = reasons.setdefault(entry.row, {})
            of_row[entry.reason] = of_row.get(entry.reason, 0) + entry.requests
        if entry.row != "unreadable":
            sign = 1 if entry.row == "eligible" else -1
            open_by_minute[entry.minute] = open_by_minute.get(entry.minute, 0) + sign * entry.requests
    young = now - wait - SLACK
    for minute, n in open_by_minute.items():
        if n < 0 and minute >= young:
            totals["eligible"] -= n
            open_by_minute[minute] = 0
    return Ledger(
        **totals,
        in_flight=sum(n for minute, n in open_by_minute.items() if n > 0 and minute >= young),
        missing=sum(n for minute, n in open_by_minute.items() if n > 0 and minute < young),
        excess=-sum(n for n in open_by_minute.values() if n < 0),
        reasons=reasons,
    )
