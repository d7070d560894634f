"""The formats against receivers that are strict, for alerts that are not."""

import base64
import hmac
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shadowlane.errors import ConfigError
from shadowlane.rollout.alerts.channel import Channel
from shadowlane.rollout.alerts.signing import signed
from shadowlane.rollout.alerts.text import bounded, cut, key
from shadowlane.rollout.state import Action, Alert
from tests.rollout.alerts.alerting import HOUR, alert
from tests.rollout.alerts.receivers import (
    ROUTING_KEY,
    SLACK_PATH,
    TOKEN,
    WHSEC,
    alertmanager_refuses,
    pagerduty_refuses,
    slack_refuses,
    slack_shows,
)

NOW = 1_772_366_400_000  # 2026-03-01 12:00 UTC
PAGERDUTY = Channel("pages", "pagerduty", 10, "", ROUTING_KEY)
ALERTMANAGER = Channel("metrics", "alertmanager", 10, "http://am.example:9093/", TOKEN)
SLACK = Channel("chat", "slack", 10, f"https://hooks.slack.com{SLACK_PATH}", "")
WEBHOOK = Channel("hook", "webhook", 10, "https://example.com/hook", WHSEC)

NASTY = [
    "tenant=<!channel>",
    "<@U123>|x",
    "```\n*bold* <http://evil|click>",
    "&amp;&lt;",
    '"},{"',
    "\u202eevil",
    "\x00\x1b[31m",
    "a" * 5000,
    "<&>" * 2000,
    "\ud800",
    "@here :bomb: _x_ ~y~",
    "https://evil.example/<!here>|a b",
    "ü" * 3000,
    "",
    " \n\t ",
]
texts = st.sampled_from(NASTY) | st.text(st.characters(), max_size=30)
alerts: st.SearchStrategy[Alert] = st.builds(
    Alert,
    alert_id=texts.filter(bool),
    incident=texts.filter(bool),
    action=st.sampled_from(Action),
    severity=st.sampled_from(["info", "warning", "critical"]),
    cause=st.sampled_from(["regression", "undecided", "test"]),
    rollout=st.just("to-b"),
    epoch=st.just("0123456789ab"),
    stage=texts,
    at=st.integers(NOW - 48 * HOUR, NOW),
    summary=texts,
    what=st.lists(texts, max_size=25).map(tuple),
    slices=st.lists(texts, max_size=25).map(tuple),
    since=st.none() | st.integers(NOW - 48 * HOUR, NOW),
    sure=texts,
    done=texts,
    look=st.lists(texts | texts.map("https://x.example/".__add__), max_size=25).map(tuple),
)

LONG = '<&>`" ' * 2000
HUGE = alert(
    1,
    Action.TRIGGER,
    NOW,
    incident="x" * 5000,
    alert_id="y" * 5000,
    stage=LONG,
    summary=LONG,
    sure=LONG,
    what=(LONG,) * 100,
    slices=(LONG,) * 100,
    done=LONG,
    look=(LONG, "https://x.example/" + "z" * 5000) * 20,
)


def sent(channel: Channel, told: Alert, began: Alert | None = None, now: int = NOW) -> Any:
    return json.loads(channel.request(told, began or told, now).body)


@settings(max_examples=60, deadline=None)
@given(alerts)
@example(HUGE)
@example(replace(HUGE, action=Action.NOTE))
def test_pagerduty_accepts_whatever_is_in_an_alert(told: Alert) -> None:
    request = PAGERDUTY.request(told, told, NOW)
    change = told.action is Action.NOTE
    assert request.url == f"https://events.pagerduty.com/v2/{'change/' if change else ''}enqueue"
    assert not pagerduty_refuses(json.loads(request.body), request.body, change=change)


@settings(max_examples=60, deadline=None)
@given(alerts, st.integers(0, 48 * HOUR))
@example(HUGE, HOUR)
def test_alertmanager_accepts_whatever_is_in_an_alert(told: Alert, later: int) -> None:
    over = replace(told, action=Action.RESOLVE, at=told.at + later, summary="it is over")
    fires, ends = sent(ALERTMANAGER, told), sent(ALERTMANAGER, over, told)
    assert not alertmanager_refuses(fires)
    assert not alertmanager_refuses(ends)


@settings(max_examples=60, deadline=None)
@given(alerts)
@example(HUGE)
@example(replace(HUGE, action=Action.NOTE))
def test_slack_accepts_whatever_is_in_an_alert(told: Alert) -> None:
    message = sent(SLACK, told)
    assert slack_refuses(message) == ""


@settings(max_examples=60, deadline=None)
@given(alerts)
@example(HUGE)
@example(replace(HUGE, action=Action.NOTE))
def test_a_webhook_says_what_the_alert_says(told: Alert) -> None:
    request = WEBHOOK.request(told, told, NOW)
    document = json.loads(request.body)
    assert document["type"].startswith("shadowlane.rollout.")
    assert document["data"]["incident"] == key(told.incident)
    assert len(request.body) < 512 * 1024
    assert "." not in request.headers["webhook-id"]
    assert all(value.isascii() and value.isprintable() for value in request.headers.values())


@settings(deadline=None)
@given(st.text(st.characters()), st.integers(1, 50))
def test_a_cut_text_is_one_line_that_can_be_sent(text: str, limit: int) -> None:
    line = cut(text, limit)
    assert len(line) <= limit
    line.encode()
    assert "\n" not in line


@settings(deadline=None)
@example("x" * 300 + "1", "x" * 300 + "2")
@given(st.text(st.characters(), min_size=200), st.text(st.characters(), min_size=200))
def test_two_incidents_never_share_a_key(one: str, other: str) -> None:
    assert (key(one) == key(other)) == (one == other)
    assert len(key(one)) <= 255


def test_a_page_says_what_on_call_asks() -> None:
    event = sent(PAGERDUTY, alert(7, Action.TRIGGER, NOW))
    assert event["routing_key"] == ROUTING_KEY
    assert event["event_action"] == "trigger"
    assert event["dedup_key"] == "shadowlane/to-b/0123456789ab/regression"
    payload = event["payload"]
    assert payload["severity"] == "critical"
    assert payload["timestamp"] == "2026-03-01T12:00:00.000Z"
    assert (payload["component"], payload["group"], payload["class"]) == ("to-b", "canary", "regression")
    assert payload["custom_details"] == {
        "what": "error_rate > 2% in language=de (0.05 over 525 pairs)",
        "slices": "language=de",
        "since": "2026-03-01T11:55:00.000Z",
        "how sure": "evidence 256 of 100 after 525 pairs",
        "what was done": "rolled back: all traffic goes to a",
        "where to look": "shadowlane report to-b",
        "rollout": "to-b",
        "stage": "canary",
        "epoch": "0123456789ab",
        "alert_id": "to-b:7:0",
    }
    assert [link["href"] for link in event["links"]] == ["https://grafana.example/d/x?rollout=to-b&a=1"]


def test_alertmanager_gets_the_same_labels_all_along() -> None:
    began = alert(7, Action.TRIGGER, NOW)
    over = alert(9, Action.RESOLVE, NOW + HOUR, stage="partial")
    fires, ends = sent(ALERTMANAGER, began), sent(ALERTMANAGER, over, began, NOW + HOUR)
    again = json.loads(ALERTMANAGER.repetition([began], NOW + HOUR // 2).body)
    assert fires[0]["labels"] == again[0]["labels"] == ends[0]["labels"]
    assert fires[0]["labels"]["severity"] == "critical"
    assert fires[0]["labels"]["alertname"] == "ShadowlaneRegression"
    assert fires[0]["startsAt"] == again[0]["startsAt"] == ends[0]["startsAt"] == "2026-03-01T12:00:00.000Z"
    assert fires[0]["endsAt"] == "2026-03-01T12:15:00.000Z"
    assert again[0]["endsAt"] == "2026-03-01T12:45:00.000Z"
    assert ends[0]["endsAt"] == "2026-03-01T13:00:00.000Z"
    assert ends[0]["annotations"]["stage"] == "partial"


def test_alertmanager_takes_an_end_that_a_slow_clock_has_ahead_of_it_as_an_end() -> None:
    began, over = alert(7, Action.TRIGGER, NOW), alert(8, Action.RESOLVE, NOW + HOUR)
    assert sent(ALERTMANAGER, over, began, now=NOW + HOUR - 5000)[0]["endsAt"] == "2026-03-01T12:59:55.000Z"


def test_slack_shows_a_hostile_slice_as_it_is_called() -> None:
    told = alert(
        7, Action.TRIGGER, NOW, summary="regressed in tenant=<!channel>", slices=("tenant=<!channel>",)
    )
    message = sent(SLACK, told)
    assert "<!" not in json.dumps(message)
    assert slack_shows(message["text"]) == "Critical: regressed in tenant=<!channel>"
    sections = [slack_shows(b["text"]["text"]) for b in message["blocks"] if b["type"] == "section"]
    assert "*Slices*\n```\ntenant=<!channel>\n```" in sections
    assert "<https://grafana.example/d/x?rollout=to-b&a=1>" in sections


@pytest.mark.parametrize(
    ("action", "begins"),
    [(Action.TRIGGER, "Critical: "), (Action.RESOLVE, "Resolved: "), (Action.NOTE, "Note: ")],
)
def test_slack_says_which_kind_it_is(action: Action, begins: str) -> None:
    message = sent(SLACK, alert(7, action, NOW))
    assert message["text"].startswith(begins)
    assert message["blocks"][0]["text"]["text"].startswith(begins)


def test_slack_has_a_long_summary_in_full_below_its_header() -> None:
    message = sent(SLACK, alert(7, Action.TRIGGER, NOW, summary="word " * 60))
    assert message["blocks"][0]["text"]["text"].endswith("…")
    assert ("word " * 60).strip() in message["blocks"][2]["text"]["text"]


def test_what_is_too_much_is_counted() -> None:
    told = bounded(alert(7, Action.TRIGGER, NOW, what=tuple(f"claim {n}" for n in range(30))))
    assert told.what[-2:] == ("claim 18", "and 11 more")


def test_a_signature_is_what_the_standard_says() -> None:
    headers = signed(WHSEC, "to.b:7:0", 1_772_366_400, b'{"a": 1}')
    secret = base64.b64decode(WHSEC.removeprefix("whsec_"))
    expected = hmac.digest(secret, b'to%2Eb:7:0.1772366400.{"a": 1}', "sha256")
    assert headers == {
        "webhook-id": "to%2Eb:7:0",
        "webhook-timestamp": "1772366400",
        "webhook-signature": f"v1,{base64.b64encode(expected).decode()}",
    }


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!", "whsec_c2hvcnQ=", "hunter2hunter2"])
def test_a_weak_secret_is_refused_and_not_quoted(secret: str) -> None:
    with pytest.raises(ConfigError, match="at least 24 random bytes") as caught:
        signed(secret, "1", int(time.time()), b"")
    assert not secret or secret == "whsec_" or secret not in str(caught.value)
