"""Who leads: one controller at a time folds, decides and tells, the others stand by.

A convenience, not what correctness rests on: decisions are compare and swap (:mod:`shadowlane.rollout.log`), so that
two that lead at once for a moment do no harm. A term is a row under the insert token ``name:term``, of which the store
keeps the first; times are of the store's clock.
"""

import orjson

from shadowlane.rollout.store import Store

_LAST = """
SELECT term, holder, until FROM lease_log WHERE name = {name:String} ORDER BY term DESC LIMIT 1
"""


class Lease:
    """One name's lease, as one holder sees it. Every method raises StoreError."""

    def __init__(self, store: Store, name: str, holder: str, seconds: float) -> None:
        self._store = store
        self._name = name
        self._holder = holder
        self._ms = round(seconds * 1000)

    def hold(self, now: int) -> bool:
        """Whether this holder leads at ``now``: takes a lease that is over, renews its own in time."""
        term, holder, until = self._last()
        if holder == self._holder and until - now > self._ms // 2:
            return True
        if holder != self._holder and until > now:
            return False
        return self._take(term + 1, now + self._ms)

    def release(self, now: int) -> None:
        """Gives up what it holds, so that another need not wait."""
        term, holder, until = self._last()
        if holder == self._holder and until > now:
            self._take(term + 1, now)

    def leader(self) -> str:
        """The last holder; ``""`` where nobody ever led."""
        return self._last()[1]

    def _last(self) -> tuple[int, str, int]:
        rows = self._store.rows(_LAST, {"name": self._name})
        return (int(rows[0]["term"]), rows[0]["holder"], int(rows[0]["until"])) if rows else (0, "", 0)

    def _take(self, term: int, until: int) -> bool:
        line = orjson.dumps({"name": self._name, "term": term, "holder": self._holder, "until": until})
        self._store.insert("lease_log", line, f"{self._name}:{term}")
        last, holder, _ = self._last()
        return last == term and holder == self._holder
