"""Receivers of alerts that are as strict as the real ones: each refuses what breaks its wire format.

Written from the services' own documents and not from the code under test. A check gives the reason why it refuses,
``""`` where it accepts.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

ROUTING_KEY = "R0UT1NGKEY0123456789abcdefABCDEF"
SLACK_PATH = "/services/T00000000/B00000000/s3cretT0kenS3cretT0ken"
TOKEN = "bearer-t0ken-bearer-t0ken"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjU"
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


class Receivers:
    """All four, told apart by path, with what they keep."""

    def __init__(self) -> None:
        self.incidents: dict[str, list[str]] = {}  # PagerDuty: by dedup key, what happened: page, again, over
        self.changes: list[dict[str, Any]] = []
        self.active: dict[str, dict[str, Any]] = {}  # Alertmanager: by labels, the alert as it stands
        self.messages: list[dict[str, Any]] = []  # Slack
        self.events: dict[str, dict[str, Any]] = {}  # webhook: by id

    def receive(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """Status and body of the answer."""
        if headers.get("content-type") != "application/json":
            return 415, "this is no JSON"
        if path in ("/v2/enqueue", "/v2/change/enqueue"):
            return self._pagerduty(path, body)
        if path == "/api/v2/alerts":
            return self._alertmanager(headers, body)
        if path == SLACK_PATH:
            return self._slack(body)
        if path == "/hook":
            return self._webhook(headers, body)
        return 404, "no such path"

    def firing(self, now: int) -> list[dict[str, Any]]:
        """What Alertmanager shows as active at a time (Unix ms)."""
        moment = datetime.fromtimestamp(now / 1000, UTC)
        return [
            alert
            for alert in self.active.values()
            if datetime.fromisoformat(alert["startsAt"]) <= moment < datetime.fromisoformat(alert["endsAt"])
        ]

    def _pagerduty(self, path: str, body: bytes) -> tuple[int, str]:
        change = path == "/v2/change/enqueue"
        event = json.loads(body)
        if reason := pagerduty_refuses(event, body, change=change):
            return 400, json.dumps({"status": "invalid event", "errors": [reason]})
        if change:
            self.changes.append(event)
            return 202, json.dumps({"status": "success"})
        happened = self.incidents.setdefault(event["dedup_key"], [])
        is_open = bool(happened) and happened[-1] != "over"
        if event["event_action"] == "trigger":
            happened.append("again" if is_open else "page")
        elif is_open:
            happened.append("over")
        return 202, json.dumps({"status": "success", "dedup_key": event["dedup_key"]})

    def _alertmanager(self, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, "no token"
        alerts = json.loads(body)
        if reason := alertmanager_refuses(alerts):
            return 400, json.dumps(reason)
        for alert in alerts:
            self.active[json.dumps(alert["labels"], sort_keys=True)] = alert
        return 200, ""

    def _slack(self, body: bytes) -> tuple[int, str]:
        message = json.loads(body)
        if reason := slack_refuses(message):
            return 400, f"invalid_blocks: {reason}"
        self.messages.append(message)
        return 200, "ok"

    def _webhook(self, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        try:
            event = Webhook(WHSEC).verify(body, headers)
        except WebhookVerificationError as exc:
            return 401, str(exc)
        if "." in headers["webhook-id"] or not re.fullmatch(r"[a-zA-Z0-9_.]+", event["type"]):
            return 400, "id or type"
        if not _RFC3339.fullmatch(event["timestamp"]) or not isinstance(event["data"], dict):
            return 400, "timestamp or data"
        self.events.setdefault(headers["webhook-id"], event)
        return 204, ""


def pagerduty_refuses(event: dict[str, Any], body: bytes, *, change: bool) -> str:
    known = {"routing_key", "payload", "links"} | (
        set() if change else {"event_action", "dedup_key", "client", "client_url", "images"}
    )
    fields = {"summary", "source", "timestamp", "custom_details"} | (
        set() if change else {"severity", "component", "group", "class"}
    )
    payload = event.get("payload", {})
    checks = {
        "larger than 512 KB": len(body) <= 512 * 1024,
        "unknown fields": set(event) <= known and set(payload) <= fields,
        "length of routing_key": len(event.get("routing_key", "")) == 32,
        "summary": isinstance(payload.get("summary"), str) and 1 <= len(payload["summary"]) <= 1024,
        "source": isinstance(payload.get("source"), str) and bool(payload["source"]),
        "timestamp": bool(_RFC3339.fullmatch(payload.get("timestamp", ""))),
        "custom_details": isinstance(payload.get("custom_details", {}), dict),
        "links": all(set(link) <= {"href", "text"} and link["href"] for link in event.get("links", [])),
    }
    if not change:
        checks |= {
            "event_action": event.get("event_action") in ("trigger", "acknowledge", "resolve"),
            "severity": payload.get("severity") in ("critical", "error", "warning", "info"),
            "dedup_key": 1 <= len(event.get("dedup_key", "")) <= 255,
        }
    return _first_broken(checks)


def alertmanager_refuses(alerts: Any) -> str:
    if not isinstance(alerts, list):
        return "no array"
    for alert in alerts:
        labels, annotations = alert.get("labels", {}), alert.get("annotations", {})
        names = [*labels, *annotations]
        values = [*labels.values(), *annotations.values()]
        times = [alert.get("startsAt", ""), alert.get("endsAt", "")]
        checks = {
            "at least one label pair required": any(labels.values()),
            "alertname": bool(labels.get("alertname")),
            "names": all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) for name in names),
            "values": all(isinstance(value, str) for value in values),
            "times": all(_RFC3339.fullmatch(time) for time in times),
            "start time must be before end time": times[0] <= times[1],
            "unknown fields": set(alert) <= {"labels", "annotations", "startsAt", "endsAt", "generatorURL"},
        }
        if reason := _first_broken(checks):
            return reason
    return ""


def slack_refuses(message: dict[str, Any]) -> str:
    blocks = message.get("blocks", [])
    checks = {
        "text": bool(message.get("text"))
        and len(message["text"]) <= 40_000
        and not _marked_up(message["text"]),
        "number of blocks": 1 <= len(blocks) <= 50,
        "unknown fields": set(message) <= {"text", "blocks", "mrkdwn", "unfurl_links", "unfurl_media"},
    }
    for number, block in enumerate(blocks):
        texts = block["elements"] if block["type"] == "context" else [block["text"]]
        limit = 150 if block["type"] == "header" else 3000
        checks |= {
            f"block {number}: type": block["type"] in ("header", "section", "context"),
            f"block {number}: header is plain": block["type"] != "header" or texts[0]["type"] == "plain_text",
            f"block {number}: length": all(1 <= len(text["text"]) <= limit for text in texts),
            f"block {number}: markup": not any(_marked_up(text["text"]) for text in texts),
            f"block {number}: verbatim": all(
                text.get("verbatim") is True for text in texts if text["type"] == "mrkdwn"
            ),
            f"block {number}: fences": all(
                text["text"].count("```") in (0, 2) for text in texts if text["type"] == "mrkdwn"
            ),
        }
    return _first_broken(checks)


def slack_shows(text: str) -> str:
    """What a reader sees of an escaped text."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _marked_up(text: str) -> bool:
    """Whether Slack finds anything between angle brackets that is not a plain link, or half an entity."""
    without_links = re.sub(r"<https?://[^<>|\s]+>", "", text)
    entities_gone = re.sub(r"&(amp|lt|gt);", "", re.sub(r"(?<=<)https?://[^>]*", "", without_links))
    return bool(re.search(r"[<>&]", entities_gone))


def _first_broken(checks: dict[str, bool]) -> str:
    return next((name for name, holds in checks.items() if not holds), "")
