"""PagerDuty, Events API v2: https://developer.pagerduty.com/docs/events-api-v2-overview. Pure.

A trigger and its resolve share ``dedup_key``, and a repeated trigger adds to the open incident and pages nobody. A
note is a change event, which shows on the service's timeline and pages nobody either.
"""

from typing import Any

from shadowlane.rollout.alerts.text import cut, facts, links, rfc3339
from shadowlane.rollout.state import Action, Alert

HOST = "https://events.pagerduty.com"
EVENTS, CHANGES = "/v2/enqueue", "/v2/change/enqueue"
MAX_SUMMARY = 1024


def address(url: str, alert: Alert) -> str:
    """Where to post: ``url`` may be the host alone or the whole address of either kind of event."""
    host = (url or HOST).rstrip("/").removesuffix(EVENTS).removesuffix(CHANGES)
    return host + (CHANGES if alert.action is Action.NOTE else EVENTS)


def event(alert: Alert, routing_key: str) -> dict[str, Any]:
    """The body of one event."""
    payload: dict[str, Any] = {
        "summary": cut(alert.summary, MAX_SUMMARY),
        "source": f"shadowlane/{alert.rollout}",
        "timestamp": rfc3339(alert.at),
        "custom_details": _details(alert),
    }
    hrefs = [{"href": link, "text": "Where to look"} for link in links(alert)]
    if alert.action is Action.NOTE:
        return {"routing_key": routing_key, "payload": payload, "links": hrefs}
    payload |= {
        "severity": alert.severity,
        "component": alert.rollout,
        "group": alert.stage,
        "class": alert.cause,
    }
    return {
        "routing_key": routing_key,
        "event_action": alert.action.value,
        "dedup_key": alert.incident,
        "client": "shadowlane",
        "payload": payload,
        "links": hrefs,
    }


def _details(alert: Alert) -> dict[str, Any]:
    named = {"rollout": alert.rollout, "stage": alert.stage, "epoch": alert.epoch, "alert_id": alert.alert_id}
    said = {question.lower(): "\n".join(lines) for question, lines in facts(alert).items()}
    return said | named
