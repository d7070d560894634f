"""Prometheus Alertmanager, API v2: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml. Pure.

An alert is its labels: trigger, repetitions and resolve must have exactly the same, so all of them come from the
trigger. Alertmanager keeps nothing for ever, and expects who sends to go on sending while an alert fires. Each time
says until when it holds, and the resolve that it has ended. There are no notes: an alert is something that lasts.
"""

from typing import Any

from shadowlane.rollout.alerts.text import facts, links, rfc3339
from shadowlane.rollout.state import Action, Alert

PATH = "/api/v2/alerts"
REPEAT_MS = 60_000
"""How often what is open is sent again."""
HOLDS_MS = 15 * 60_000
"""How long an alert holds that isn't sent again: longer than a controller takes to be replaced."""


def address(url: str) -> str:
    """Where to post: ``url`` may end with the path or leave it out."""
    return url.rstrip("/").removesuffix(PATH) + PATH


def firing(began: Alert, now: int) -> dict[str, Any]:
    """An incident that is open at ``now`` (Unix ms), which began with ``began``."""
    return _alert(began, began) | {
        "startsAt": rfc3339(began.at),
        "endsAt": rfc3339(max(now, began.at) + HOLDS_MS),
    }


def ended(began: Alert, alert: Alert, now: int) -> dict[str, Any]:
    """An incident that is over with ``alert``."""
    # Alertmanager refuses an end before the beginning, and takes an end in its future for no end.
    end = max(began.at, min(alert.at, now))
    return _alert(began, alert) | {"startsAt": rfc3339(began.at), "endsAt": rfc3339(end)}


def posted(began: Alert, alert: Alert, now: int) -> dict[str, Any]:
    """A trigger or a resolve."""
    return ended(began, alert, now) if alert.action is Action.RESOLVE else firing(began, now)


def _alert(began: Alert, alert: Alert) -> dict[str, Any]:
    labels = {
        "alertname": f"Shadowlane{began.cause.capitalize()}",
        "severity": began.severity,
        "rollout": began.rollout,
        "epoch": began.epoch,
        "cause": began.cause,
        "incident": began.incident,
    }
    annotations = {"summary": alert.summary, "stage": alert.stage}
    for question, lines in facts(alert).items():
        annotations[question.lower().replace(" ", "_")] = "\n".join(lines)
    document: dict[str, Any] = {"labels": labels, "annotations": annotations}
    return document | ({"generatorURL": links(alert)[0]} if links(alert) else {})
