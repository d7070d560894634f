"""The pager takes what the controller's webhooks send, and nothing from anybody else."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.support_desk import pager, walk
from shadowlane.rollout.alerts.signing import signed
from shadowlane.rollout.alerts.webhook import message
from shadowlane.rollout.state import Action, Alert

SECRET = pager.new_secret()
NOW = 1_770_000_000
ALERT = Alert(
    alert_id="desk-2-mini:2:0",
    incident="shadowlane/desk-2-mini/0123456789ab/regression",
    action=Action.TRIGGER,
    severity="warning",
    cause="regression",
    rollout="desk-2-mini",
    epoch="0123456789ab",
    stage="shadow",
    at=NOW * 1000,
    summary="desk-2-mini: desk-1 → desk-2-mini regressed in language=de: quality_score < 0.985",
    what=(
        "quality_score < 0.985 in language=de (0.95 over 150 pairs)",
        "error_rate > 5% (0.06 over 500 pairs)",
    ),
    slices=("language=de",),
    since=NOW * 1000 - 60_000,
    sure="evidence 120 of 100",
    done="the candidate serves 0%",
    look=("shadowlane report desk-2-mini",),
)
BODY = json.dumps(message(ALERT)).encode()


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    return tmp_path / "pages.jsonl"


@pytest.fixture
def address(pages: Path) -> Iterator[str]:
    server = pager.make_server(0, SECRET, pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def send(address: str, headers: dict[str, str], body: bytes = BODY) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body, headers)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def test_a_page_is_taken_once(address: str, pages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    headers = signed(SECRET, ALERT.alert_id, NOW, BODY)
    assert [send(address, headers), send(address, headers)] == [204, 204]
    assert [page["data"]["alert_id"] for page in walk.pages_in(pages)] == ["desk-2-mini:2:0"]


def test_nothing_is_taken_from_others(address: str, pages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    headers = signed(SECRET, ALERT.alert_id, NOW, BODY)
    assert send(address, {}) == 401
    assert send(address, headers, BODY.replace(b"desk-2-mini", b"desk-2")) == 401
    assert send(address, signed(pager.new_secret(), ALERT.alert_id, NOW, BODY)) == 401
    assert send(address, headers | {"webhook-id": "another"}) == 401
    assert send(address, signed(SECRET, ALERT.alert_id, NOW - pager.OLDEST_S - 1, BODY)) == 401
    assert walk.pages_in(pages) == []


def test_a_page_has_what_on_call_asks_first() -> None:
    assert pager.text(json.loads(BODY)).splitlines() == [
        "WARNING  desk-2-mini: desk-1 → desk-2-mini regressed in language=de: quality_score < 0.985",
        "what    quality_score < 0.985 in language=de (0.95 over 150 pairs)",
        "        error_rate > 5% (0.06 over 500 pairs)",
        "slices  language=de",
        "since   2026-02-02 02:39:00 UTC",
        "sure    evidence 120 of 100",
        "done    the candidate serves 0%",
        "look    shadowlane report desk-2-mini",
    ]


def test_a_page_that_is_being_written_comes_later(pages: Path) -> None:
    pages.write_text('{"data": 1}\n{"da')
    assert walk.pages_in(pages) == [{"data": 1}]
