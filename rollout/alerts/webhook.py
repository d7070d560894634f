"""A webhook of one's own: the body of a message; `signing` has the headers. Pure."""

from dataclasses import asdict
from typing import Any

from shadowlane.rollout.alerts.text import rfc3339
from shadowlane.rollout.state import Action, Alert

TYPES = {
    Action.TRIGGER: "shadowlane.rollout.triggered",
    Action.RESOLVE: "shadowlane.rollout.resolved",
    Action.NOTE: "shadowlane.rollout.noted",
}


def message(alert: Alert) -> dict[str, Any]:
    """The body of one message: ``data`` has the alert's fields, times as texts."""
    data = asdict(alert) | {
        "at": rfc3339(alert.at),
        "since": None if alert.since is None else rfc3339(alert.since),
    }
    return {"type": TYPES[alert.action], "timestamp": rfc3339(alert.at), "data": data}
