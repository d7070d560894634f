"""The provider changed the model under you: a server begins to answer by another name of the same model that is asked.

An alias (``gpt-4o``) is resolved to a snapshot by whoever serves it. A new snapshot is a new version that no rollout
named: what was measured before it says nothing of it. Names are facts, so one answer is enough, and each is told of
once: a server that goes to and fro between two snapshots is told of at the second one's first answer, if at all. What
comes within `LEARN_MS` of a model's first answer is what it began with.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

Rows = Callable[[str, Mapping[str, Any]], list[dict[str, Any]]]

LOOK_MS = 60_000
"""How often the newest pairs are looked at."""
WINDOW_MS = 3_600_000
"""How far back then: inserts that take long are seen at a later look."""
LEARN_MS = 600_000
FRESH_MS = 24 * 3_600_000
"""A change that is older is no news: no controller ran then, or none that looked."""
MOST = 5
"""Changes of one model that are told of. A server that gives each answer a name of its own tells nothing by it."""

_NAMES = """
SELECT asked, served, min(stored_at) AS first, max(stored_at) AS last, count() AS pairs
FROM (
    SELECT
        stored_at,
        arrayJoin([(stable_model, stable_served_model), (candidate_model, candidate_served_model)]) AS names,
        toString(names.1) AS asked,
        toString(names.2) AS served
    FROM pair_log
    WHERE rollout = {rollout:String} AND stored_at >= {since:Int64}
)
WHERE asked != '' AND served != ''
GROUP BY asked, served
ORDER BY asked, first, served
"""
_ARMS = """
SELECT arm, asked, served, count() AS pairs, min(ts) AS first, max(ts) AS last
FROM (
    SELECT
        ts,
        arrayJoin([
            ('stable', stable_model, stable_served_model), ('candidate', candidate_model, candidate_served_model)
        ]) AS names,
        names.1 AS arm, toString(names.2) AS asked, toString(names.3) AS served
    FROM pairs
    WHERE rollout = {rollout:String} AND epoch = {epoch:String}
)
WHERE served != ''
GROUP BY arm, asked, served
ORDER BY arm DESC, asked, first
"""


@dataclass(frozen=True, slots=True)
class Name:
    """Under which name a server answered for a model that was asked. Times are when its pairs were stored, Unix ms."""

    asked: str
    served: str
    first: int
    last: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Change:
    """``asked`` is answered as ``served`` since ``since`` (Unix ms), and was answered as ``before``. The ``last`` one
    that is told of that model: names change all the time."""

    asked: str
    before: str
    served: str
    since: int
    last: bool = False

    @property
    def key(self) -> str:
        """For the state: what was told."""
        return f"{self.asked} → {self.served}"


def changes(names: Iterable[Name], told: Collection[str], now: int) -> list[Change]:
    """What is to be told at ``now`` (Unix ms), oldest first. ``told`` are the keys of what was. Pure."""
    found: list[Change] = []
    for asked, group in groupby(sorted(names, key=lambda n: (n.asked, n.first, n.served)), lambda n: n.asked):
        first, *others = group
        many = sum(key.startswith(f"{asked} → ") for key in told)
        before = first
        for name in others:
            change = Change(asked, before.served, name.served, name.first, last=many + 1 == MOST)
            before = name
            late = name.first - first.first < LEARN_MS or now - name.first > FRESH_MS
            if late or change.key in told or many >= MOST:
                continue
            many += 1
            found.append(change)
    return sorted(found, key=lambda change: change.since)


def read_names(rows: Rows, rollout: str, since: int) -> list[Name]:
    """Of all epochs of a rollout, in the pairs stored from ``since`` on (Unix ms). Raises StoreError."""
    return [
        Name(str(r["asked"]), str(r["served"]), int(r["first"]), int(r["last"]), int(r["pairs"]))
        for r in rows(_NAMES, {"rollout": rollout, "since": since})
    ]


def answered_as(rows: Rows, rollout: str, epoch: str) -> tuple[dict[str, Any], ...]:
    """For the report: by which names the servers of each arm answered in an epoch. Raises StoreError."""
    found = rows(_ARMS, {"rollout": rollout, "epoch": epoch})
    return tuple(
        {name: row[name] for name in ("arm", "asked", "served", "pairs", "first", "last")} for row in found
    )


class Models:
    """Looks at the newest pairs now and then; at all of them only where a name is new to it."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._known: dict[str, set[tuple[str, str]]] = {}
        self._looked: dict[str, int] = {}

    def look(self, rollout: str, told: Collection[str], now: int) -> list[Change]:
        """What is to be told at ``now`` (Unix ms). Raises StoreError."""
        if rollout in self._looked and now - self._looked[rollout] < LOOK_MS:
            return []
        known = self._known.get(rollout)
        if known is not None:
            seen = read_names(self._rows, rollout, now - WINDOW_MS)
            if known.issuperset((name.asked, name.served) for name in seen):
                self._looked[rollout] = now
                return []
        names = read_names(self._rows, rollout, 0)
        found = changes(names, told, now)
        # What is told is written down before it is known here: a decision that fails is made again.
        if not found:
            self._known[rollout] = {(name.asked, name.served) for name in names}
            self._looked[rollout] = now
        return found
