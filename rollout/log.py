"""The log of decisions: the one truth about every rollout. Appended to one entry at a time, by compare and swap.

An entry carries the state after it, the evidence it rested on and the alerts that tell of it, in one row: all of it
is there or nothing is, whenever the writer dies. Entry ``seq`` of a rollout goes in under the insert token
``rollout:seq``, and of several inserts under one token ClickHouse keeps the first: whoever finds another's entry
there has lost, and was decided before him. So two controllers, or a controller and a person, do no harm to each other.
"""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import orjson
from pydantic import TypeAdapter

from shadowlane.errors import RefusedError
from shadowlane.rollout.models import Change
from shadowlane.rollout.state import Alert, Entry, State
from shadowlane.rollout.store import Rows, Store

_STATE = TypeAdapter(State)
_ALERTS = TypeAdapter(tuple[Alert, ...])

_ENTRY = """
SELECT entry_id, event, actor, reason, state, evidence, alerts FROM rollout_log
WHERE rollout = {rollout:String}
"""
_HEADS = """
SELECT argMax(state, seq) AS state FROM rollout_log
WHERE empty({rollouts:Array(String)}) OR rollout IN {rollouts:Array(String)}
GROUP BY rollout
"""
_CHANGES = """
SELECT rollout, evidence FROM rollout_log
WHERE event = 'model_changed' AND rollout IN {rollouts:Array(String)} AND (rollout, epoch) IN (
    SELECT rollout, argMax(epoch, seq) FROM rollout_log GROUP BY rollout
)
ORDER BY rollout, seq
"""


class LostError(RefusedError):
    """Somebody else decided first. ``winner`` is what stands in the log in the place of what was to be appended."""

    def __init__(self, winner: Entry) -> None:
        after = winner.state
        super().__init__(
            f"{winner.actor} was faster: {winner.event.replace('_', ' ')} ({winner.reason}); {after.rollout} is "
            f"{after.phase.value.replace('_', ' ')} in stage {after.stage} now. Look at it, and say again what you want"
        )
        self.winner = winner


class Log:
    """The table ``rollout_log``. Every method raises StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def heads(self) -> dict[str, State]:
        """The present state of every rollout that ever began, by name."""
        return read_heads(self._store.rows, ())

    def head(self, rollout: str) -> State | None:
        """The present state of a rollout; None where it has not begun."""
        return read_heads(self._store.rows, [rollout]).get(rollout)

    def append(self, entry: Entry) -> Entry:
        """Appends an entry that follows the state it was made from; gives it with its id.

        Raises:
            LostError: the log has another entry in its place.
        """
        entry = replace(entry, entry_id=uuid.uuid4().hex)
        state = entry.state
        self._store.insert("rollout_log", _line(entry), f"{state.rollout}:{state.seq}")
        stored = self._at(state.rollout, state.seq)
        if stored.entry_id != entry.entry_id:
            raise LostError(stored)
        return entry

    def history(self, rollout: str, limit: int = 1000) -> list[Entry]:
        """The last entries of a rollout, oldest first."""
        return read_history(self._store.rows, rollout, limit)

    def _at(self, rollout: str, seq: int) -> Entry:
        query = f"{_ENTRY} AND seq = {{seq:UInt64}} ORDER BY entry_id LIMIT 1"
        return _entry(self._store.rows(query, {"rollout": rollout, "seq": seq})[0])


def read_heads(rows: Rows, rollouts: Sequence[str]) -> dict[str, State]:
    """The present state of each of these rollouts that has one, by name; of all without names. Raises StoreError."""
    found = rows(_HEADS, {"rollouts": list(rollouts)})
    states = [_STATE.validate_json(row["state"]) for row in found]
    return {state.rollout: state for state in states}


def read_history(rows: Rows, rollout: str, limit: int = 1000) -> list[Entry]:
    """The last entries of a rollout, oldest first. Raises StoreError."""
    query = f"{_ENTRY} ORDER BY seq DESC LIMIT {{limit:UInt32}}"
    return [_entry(row) for row in reversed(rows(query, {"rollout": rollout, "limit": limit}))]


def read_changes(rows: Rows, rollouts: Sequence[str]) -> dict[str, list[Change]]:
    """The models that a provider changed in the present epoch of each of these rollouts, oldest first. Raises
    StoreError."""
    found: dict[str, list[Change]] = {}
    for row in rows(_CHANGES, {"rollouts": list(rollouts)}):
        told = orjson.loads(row["evidence"])["models"]
        found.setdefault(str(row["rollout"]), []).extend(Change(**each) for each in told)
    return found


def _line(entry: Entry) -> bytes:
    state = entry.state
    return orjson.dumps(
        {
            "rollout": state.rollout,
            "seq": state.seq,
            "entry_id": entry.entry_id,
            "at": state.at,
            "epoch": state.epoch,
            "event": entry.event,
            "actor": entry.actor,
            "reason": entry.reason,
            "phase": state.phase,
            "stage": state.stage,
            "traffic_pct": state.traffic_pct,
            "evidence": _text(entry.evidence),
            "alerts": _text([asdict(alert) for alert in entry.alerts]),
            "state": _text(asdict(state)),
        }
    )


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()


def _entry(row: dict[str, Any]) -> Entry:
    return Entry(
        entry_id=row["entry_id"],
        event=row["event"],
        actor=row["actor"],
        reason=row["reason"],
        state=_STATE.validate_json(row["state"]),
        evidence=orjson.loads(row["evidence"]),
        alerts=_ALERTS.validate_json(row["alerts"]),
    )
