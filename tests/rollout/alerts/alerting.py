"""Alerts for tests, and a store in memory that keeps them as the log does."""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from shadowlane.errors import StoreError
from shadowlane.rollout.state import Action, Alert

MINUTE, HOUR = 60_000, 3_600_000
INCIDENT = "shadowlane/to-b/0123456789ab/regression"


def alert(number: int, action: Action, at: int, incident: str = INCIDENT, **changes: Any) -> Alert:
    """Alert ``to-b:NUMBER:0``; a trigger is critical, the rest are infos."""
    content: dict[str, Any] = {
        "alert_id": f"to-b:{number}:0",
        "incident": incident,
        "action": action,
        "severity": "critical" if action is Action.TRIGGER else "info",
        "cause": "regression",
        "rollout": "to-b",
        "epoch": "0123456789ab",
        "stage": "canary",
        "at": at,
        "summary": "to-b: a → b regressed in language=de: error_rate > 2%",
        "what": ("error_rate > 2% in language=de (0.05 over 525 pairs)",),
        "slices": ("language=de",),
        "since": at - 5 * MINUTE,
        "sure": "evidence 256 of 100 after 525 pairs",
        "done": "rolled back: all traffic goes to a",
        "look": ("shadowlane report to-b", "https://grafana.example/d/x?rollout=to-b&a=1"),
    }
    return Alert(**(content | changes))


@dataclass
class MemoryStore:
    """``down``: every call raises; ``refuses_inserts``: inserts raise."""

    alerts: list[Alert] = field(default_factory=list)
    rows_by_token: dict[str, dict[str, Any]] = field(default_factory=dict)
    down: bool = False
    refuses_inserts: bool = False
    lock: Any = field(default_factory=threading.Lock)

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self.down:
            raise StoreError("ClickHouse does not answer")
        assert "rollout_log" in sql
        assert set(parameters) == {"since"}
        with self.lock:
            return [
                {
                    "alert_id": a.alert_id,
                    "alert": orjson.dumps(asdict(a)).decode(),
                    "tries": self._tries(a.alert_id),
                }
                for a in self.alerts
            ]

    def insert(self, table: str, lines: bytes, token: str) -> None:
        if self.down or self.refuses_inserts:
            raise StoreError("ClickHouse does not answer")
        assert table == "alert_log"
        with self.lock:
            self.rows_by_token.setdefault(token, orjson.loads(lines))

    def outcomes(self, channel: str) -> list[tuple[str, int, str]]:
        """The attempts on a channel: alert id, attempt, outcome."""
        return [
            (row["alert_id"], row["attempt"], row["outcome"])
            for row in self.rows_by_token.values()
            if row["channel"] == channel
        ]

    def _tries(self, alert_id: str) -> list[tuple[str, int, str, int, int]]:
        mine = [row for row in self.rows_by_token.values() if row["alert_id"] == alert_id]
        tries = []
        for channel in dict.fromkeys(row["channel"] for row in mine):
            of_channel = sorted(
                (row for row in mine if row["channel"] == channel), key=lambda r: int(r["attempt"])
            )
            outcomes = [row["outcome"] for row in of_channel]
            last = "sent" if "sent" in outcomes else outcomes[-1]
            times = [row["at"] for row in of_channel]
            tries.append((channel, of_channel[-1]["attempt"], last, min(times), max(times)))
        return tries
