"""The outbox against a server with all four receivers: crashes, failures, channels that hang."""

import json
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from shadowlane.errors import ConfigError, StoreError
from shadowlane.rollout.alerts import Outbox, post
from shadowlane.rollout.alerts.outbox import Post
from shadowlane.rollout.alerts.plan import GIVE_UP_MS
from shadowlane.rollout.alerts.send import Answer, Request
from shadowlane.rollout.state import Action
from shadowlane.schemas.config import Settings
from tests.rollout.alerts.alerting import HOUR, INCIDENT, MINUTE, MemoryStore, alert
from tests.rollout.alerts.conftest import Server
from tests.rollout.alerts.receivers import ROUTING_KEY, SLACK_PATH, TOKEN, WHSEC

TRIGGER, RESOLVE, NOTE = Action.TRIGGER, Action.RESOLVE, Action.NOTE
LONG = 30.0  # a step that waits for all that it sends


class Scene:
    """An outbox whose clock stands still until it is set; receivers of signatures want it near the real time."""

    def __init__(self, settings: Settings) -> None:
        self.store, self.settings, self.now = MemoryStore(), settings, int(time.time() * 1000)
        self.outbox = self.made()

    def made(self, send: Post = post, patience_s: float = LONG) -> Outbox:
        store = self.store
        return Outbox(store.rows, store.insert, self.settings, send, lambda: self.now, patience_s=patience_s)

    def again(self, send: Post = post, patience_s: float = LONG) -> None:
        """As a controller that was killed and comes back: all that it knows is in the store."""
        self.outbox.close()
        self.outbox = self.made(send, patience_s)

    def only(self, *names: str) -> None:
        kept = [channel for channel in self.settings.alerts if channel.name in names]
        self.settings = self.settings.model_copy(update={"alerts": kept})
        self.again()


@pytest.fixture
def scene(settings: Settings) -> Iterator[Scene]:
    made = Scene(settings)
    yield made
    made.outbox.close()


def test_an_incident_from_its_trigger_to_its_resolve(scene: Scene, server: Server) -> None:
    scene.store.alerts.append(alert(1, TRIGGER, scene.now - MINUTE))
    report = scene.outbox.step(scene.now)
    assert (report.sent, report.failed, report.waiting, report.next_due) == (4, 0, 0, None)
    assert server.receivers.incidents == {INCIDENT: ["page"]}
    assert len(server.receivers.firing(scene.now)) == 1
    scene.store.alerts.append(alert(2, RESOLVE, scene.now))
    assert scene.outbox.step(scene.now).sent == 4
    assert server.receivers.incidents == {INCIDENT: ["page", "over"]}
    assert not server.receivers.firing(scene.now)
    assert len(server.receivers.messages) == 2
    assert list(server.receivers.events) == ["to-b:1:0", "to-b:2:0"]
    assert scene.outbox.step(scene.now).sent == 0
    assert len(scene.store.rows_by_token) == 8


def test_a_note_is_a_change_on_pagerduty_and_pages_nobody(scene: Scene, server: Server) -> None:
    scene.store.alerts.append(alert(1, NOTE, scene.now, cause="promotion"))
    assert scene.outbox.step(scene.now).sent == 3
    assert (
        len(server.receivers.changes) == len(server.receivers.messages) == len(server.receivers.events) == 1
    )
    assert not server.receivers.incidents


@pytest.mark.parametrize("write_lost", [True, False])
def test_killed_between_sending_and_writing_it_pages_once(
    scene: Scene, server: Server, write_lost: bool
) -> None:
    scene.store.alerts.append(alert(1, TRIGGER, scene.now))
    scene.store.refuses_inserts = write_lost
    scene.outbox.step(scene.now)
    assert bool(scene.store.rows_by_token) is not write_lost
    scene.again()  # the store takes no rows as it closes either, so they are lost
    scene.store.refuses_inserts = False
    scene.outbox.step(scene.now)
    assert server.receivers.incidents[INCIDENT] == (["page", "again"] if write_lost else ["page"])
    assert list(server.receivers.events) == ["to-b:1:0"]
    assert len(server.receivers.active) == 1
    assert len(server.receivers.messages) == (2 if write_lost else 1)  # Slack knows no ids: docs/alerts.md
    scene.store.alerts.append(alert(2, RESOLVE, scene.now))
    scene.outbox.step(scene.now)
    assert server.receivers.incidents[INCIDENT][-1] == "over"


def test_while_the_store_takes_no_rows_nothing_is_sent_twice_and_all_is_written_later(
    scene: Scene, server: Server
) -> None:
    scene.store.alerts.append(alert(1, TRIGGER, scene.now))
    scene.store.refuses_inserts = True
    for _ in range(3):
        scene.outbox.step(scene.now)
    assert len(server.receivers.messages) == 1
    scene.store.refuses_inserts = False
    scene.outbox.step(scene.now)
    assert sorted(scene.store.rows_by_token) == [
        f"to-b:1:0:{n}:1" for n in ("chat", "hook", "metrics", "pages")
    ]


def test_a_store_that_is_away_is_the_controllers_matter_and_loses_nothing(
    scene: Scene, server: Server
) -> None:
    scene.store.alerts.append(alert(1, TRIGGER, scene.now))
    scene.store.down = True
    with pytest.raises(StoreError):
        scene.outbox.step(scene.now)
    assert not server.received
    scene.store.down = False
    assert scene.outbox.step(scene.now).sent == 4


def test_two_controllers_at_once_page_once(scene: Scene, server: Server) -> None:
    scene.store.alerts.append(alert(1, TRIGGER, scene.now))
    other = scene.made()
    both = [threading.Thread(target=box.step, args=(scene.now,)) for box in (scene.outbox, other)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    other.close()
    assert server.receivers.incidents[INCIDENT] in (["page"], ["page", "again"])
    assert len(scene.store.rows_by_token) == 4


def test_failures_are_tried_again_by_the_clock_and_a_resolve_waits(scene: Scene, server: Server) -> None:
    scene.only("pages")
    scene.store.alerts += [alert(1, TRIGGER, scene.now), alert(2, RESOLVE, scene.now)]
    server.scripted = [(500, {}, "")] * 3
    waits = []
    for _ in range(3):
        report = scene.outbox.step(scene.now)
        assert (report.sent, report.failed, report.waiting) == (0, 1, 2)
        idle = scene.outbox.step(scene.now)  # nothing is due yet
        assert idle.failed == 0
        assert idle.next_due is not None
        waits.append(idle.next_due - scene.now)
        scene.now = idle.next_due
    assert waits[0] < waits[1] < waits[2] < MINUTE
    assert scene.outbox.step(scene.now).sent == 1
    assert scene.outbox.step(scene.now).sent == 1
    assert server.receivers.incidents == {INCIDENT: ["page", "over"]}
    assert scene.store.outcomes("pages") == [
        ("to-b:1:0", 1, "failed"),
        ("to-b:1:0", 2, "failed"),
        ("to-b:1:0", 3, "failed"),
        ("to-b:1:0", 4, "sent"),
        ("to-b:2:0", 1, "sent"),
    ]


def test_a_channel_that_asks_for_time_gets_it_for_all_its_alerts(scene: Scene, server: Server) -> None:
    scene.only("chat")
    scene.store.alerts.append(alert(1, TRIGGER, scene.now))
    server.scripted = [(429, {"retry-after": "120"}, "")]
    scene.outbox.step(scene.now)
    scene.store.alerts.append(alert(2, TRIGGER, scene.now, incident="another"))
    report = scene.outbox.step(scene.now + 119_000)
    assert (report.sent, report.failed, report.next_due) == (0, 0, scene.now + 120_000)
    assert scene.outbox.step(scene.now + 120_000).sent == 2


def test_after_a_failure_the_rest_of_the_channel_waits_for_the_next_step(
    scene: Scene, server: Server
) -> None:
    scene.only("chat")
    scene.store.alerts += [alert(n, TRIGGER, scene.now, incident=str(n)) for n in (1, 2, 3)]
    server.scripted = [(503, {}, "")]
    scene.outbox.step(scene.now)
    assert len(server.received) == 1
    assert scene.outbox.step(scene.now).sent == 2


def test_a_refused_alert_is_said_loudly_with_what_to_do_and_not_tried_again(
    scene: Scene, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    scene.only("pages")
    scene.store.alerts += [alert(1, TRIGGER, scene.now), alert(2, RESOLVE, scene.now)]
    server.scripted = [(400, {}, '{"errors": ["invalid routing key"]}')]
    report = scene.outbox.step(scene.now)
    assert (report.refused, report.sent) == (1, 0)
    scene.outbox.step(scene.now)
    assert len(server.received) == 1
    assert scene.store.outcomes("pages") == [("to-b:1:0", 1, "refused"), ("to-b:2:0", 1, "gave_up")]
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "check the routing key" in record.getMessage()
    assert "invalid routing key" in record.getMessage()


def test_after_a_day_it_is_given_up_with_a_row(scene: Scene, server: Server) -> None:
    scene.only("chat")
    scene.store.alerts.append(alert(1, TRIGGER, scene.now))
    server.scripted = [(500, {}, "")] * 1000
    scene.outbox.step(scene.now)
    began = scene.now
    while (report := scene.outbox.step(scene.now)).waiting:
        scene.now = max(scene.now + 1, report.next_due or 0)
    assert GIVE_UP_MS <= scene.now - began < GIVE_UP_MS + HOUR
    outcomes = scene.store.outcomes("chat")
    assert [outcome for _, _, outcome in outcomes] == ["failed"] * (len(outcomes) - 1) + ["gave_up"]
    assert 90 < len(outcomes) < 200
    assert [attempt for _, attempt, _ in outcomes] == list(range(1, len(outcomes) + 1))


def test_a_channel_that_hangs_delays_neither_the_others_nor_the_poll(scene: Scene, server: Server) -> None:
    scene.again(patience_s=0.0)
    server.hanging.add(SLACK_PATH)
    scene.store.alerts.append(alert(1, TRIGGER, scene.now))
    scene.outbox.step(scene.now)
    for _ in range(4):
        assert server.arrived.acquire(timeout=30)
    sent = 0
    while sent < 3:  # the store has the others' rows while Slack hangs
        sent += scene.outbox.step(scene.now).sent
        time.sleep(0.01)
    assert not server.receivers.messages
    assert len([path for path, _, _ in server.received if path == SLACK_PATH]) == 1  # not begun twice
    server.release.set()
    scene.outbox.close()
    assert scene.store.outcomes("chat") == [("to-b:1:0", 1, "sent")]


def test_alertmanager_hears_of_what_is_open_as_long_as_it_is(scene: Scene, server: Server) -> None:
    scene.only("metrics")
    scene.store.alerts += [alert(n, TRIGGER, scene.now, incident=f"i{n}") for n in (1, 2)]
    for _ in range(6 * 60):  # an hour of polls
        scene.outbox.step(scene.now)
        assert len(server.receivers.firing(scene.now)) == 2
        scene.now += 10_000
    assert 60 <= len(server.received) <= 65
    scene.store.alerts.append(alert(3, RESOLVE, scene.now, incident="i1"))
    for _ in range(20):
        scene.outbox.step(scene.now)
        assert [a["labels"]["incident"] for a in server.receivers.firing(scene.now)] == ["i2"]
        scene.now += 10_000
    assert len(scene.store.rows_by_token) == 3  # repetitions are no attempts


def test_an_open_incident_of_a_rollout_that_is_gone_lapses(scene: Scene, server: Server) -> None:
    scene.only("metrics")
    scene.store.alerts.append(alert(1, TRIGGER, scene.now))
    scene.outbox.step(scene.now)
    scene.settings = scene.settings.model_copy(update={"rollouts": []})
    scene.again()
    for _ in range(16):
        scene.now += MINUTE
        scene.outbox.step(scene.now)
    assert not server.receivers.firing(scene.now)


def test_no_secret_is_logged_or_stored(
    scene: Scene, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.echoing = True
    scene.store.alerts.append(alert(1, TRIGGER, scene.now))
    assert scene.outbox.step(scene.now).failed == 4
    kept = caplog.text + json.dumps(scene.store.rows_by_token)
    assert "failed (attempt 1, status 500)" in kept
    assert not [s for s in (ROUTING_KEY, SLACK_PATH, TOKEN, WHSEC, "s3cretT0ken") if s in kept]


def test_a_fault_of_our_own_ends_neither_the_controller_nor_the_alert(
    scene: Scene, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(request: Request, timeout_s: float) -> Answer:
        raise ZeroDivisionError

    scene.again(broken)
    scene.store.alerts.append(alert(1, TRIGGER, scene.now))
    report = scene.outbox.step(scene.now)
    assert (report.failed, report.waiting) == (4, 4)
    assert "a fault of shadowlane's own" in caplog.text


def test_a_channel_without_its_secret_is_refused_at_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAGERDUTY_KEY")
    store = MemoryStore()
    with pytest.raises(ConfigError, match="alert channel 'pages': key_env names PAGERDUTY_KEY"):
        Outbox(store.rows, store.insert, settings, post, lambda: 0)


def test_without_channels_nothing_is_to_be_done(scene: Scene) -> None:
    scene.only()
    scene.store.alerts.append(alert(1, TRIGGER, scene.now))
    assert scene.outbox.step(scene.now).waiting == 0
