"""What the outbox reads and writes, on a real store."""

from collections.abc import Iterator
from dataclasses import asdict

import orjson
import pytest

from shadowlane.rollout.alerts.plan import Tries
from shadowlane.rollout.alerts.stored import WINDOW_MS, Attempt, read
from shadowlane.rollout.state import Action, Alert
from shadowlane.rollout.store import ClickHouseStore
from tests.databases import migrated
from tests.rollout.alerts.alerting import HOUR, MINUTE, alert
from tests.services import ClickHouseAddress

NOW = 1_772_366_400_000
OLD = NOW - WINDOW_MS - HOUR
TRIGGER, RESOLVE, NOTE = Action.TRIGGER, Action.RESOLVE, Action.NOTE


@pytest.fixture
def store(clickhouse: ClickHouseAddress) -> Iterator[ClickHouseStore]:
    with migrated(clickhouse) as settings:
        yield ClickHouseStore(settings)


def written(store: ClickHouseStore, seq: int, *alerts: Alert, rollout: str = "to-b") -> None:
    row = {
        "rollout": rollout,
        "seq": seq,
        "entry_id": f"{rollout}-{seq}",
        "at": alerts[0].at if alerts else NOW,
        "alerts": orjson.dumps([asdict(a) for a in alerts]).decode(),
    }
    store.insert("rollout_log", orjson.dumps(row), f"{rollout}:{seq}")


def attempted(store: ClickHouseStore, alert_id: str, attempt: int, outcome: str, at: int = NOW) -> None:
    row = Attempt(alert_id, "chat", attempt, at, outcome, 200, "")
    store.insert("alert_log", row.line, row.token)


def test_alerts_come_back_as_they_were_written_and_in_order(store: ClickHouseStore) -> None:
    nasty = alert(1, TRIGGER, NOW, what=('tenant="<!channel>" \\ \u202e ü \n \x00 👀',), since=None)
    written(store, 2, alert(3, RESOLVE, NOW), alert(4, NOTE, NOW))
    written(store, 1, nasty)
    written(store, 3)
    assert read(store.rows, NOW)[0] == [nasty, alert(3, RESOLVE, NOW), alert(4, NOTE, NOW)]


def test_what_is_old_is_left_out_but_for_what_is_open(store: ClickHouseStore) -> None:
    written(store, 1, alert(1, TRIGGER, OLD, incident="over"), alert(2, NOTE, OLD, incident="note"))
    written(store, 2, alert(3, RESOLVE, OLD, incident="over"))
    written(store, 3, alert(4, TRIGGER, OLD, incident="open"))
    written(store, 4, alert(5, TRIGGER, OLD, incident="open"))
    written(store, 5, alert(6, TRIGGER, OLD, incident="over since"))
    written(store, 6, alert(7, RESOLVE, NOW - MINUTE, incident="over since"))
    written(store, 1, alert(1, TRIGGER, OLD, incident="over", rollout="other"), rollout="other")
    found = [(a.rollout, a.alert_id) for a in read(store.rows, NOW)[0]]
    assert found == [
        ("other", "to-b:1:0"),
        ("to-b", "to-b:4:0"),
        ("to-b", "to-b:5:0"),
        ("to-b", "to-b:6:0"),
        ("to-b", "to-b:7:0"),
    ]


def test_tries_are_the_attempts_by_channel(store: ClickHouseStore) -> None:
    written(store, 1, alert(1, TRIGGER, NOW), alert(2, NOTE, NOW), alert(3, NOTE, NOW))
    attempted(store, "to-b:1:0", 1, "failed", NOW)
    attempted(store, "to-b:1:0", 2, "failed", NOW + MINUTE)
    attempted(store, "to-b:2:0", 1, "failed")
    attempted(store, "to-b:2:0", 2, "sent", NOW + 1)
    attempted(store, "to-b:2:0", 3, "failed", NOW + 2)  # by one that did not know
    attempted(store, "unknown", 1, "sent")
    assert read(store.rows, NOW)[1] == {
        ("to-b:1:0", "chat"): Tries(2, "failed", NOW, NOW + MINUTE),
        ("to-b:2:0", "chat"): Tries(3, "sent", NOW, NOW + 2),
    }


def test_of_two_that_write_the_same_attempt_the_first_stays(store: ClickHouseStore) -> None:
    written(store, 1, alert(1, TRIGGER, NOW))
    attempted(store, "to-b:1:0", 1, "sent")
    attempted(store, "to-b:1:0", 1, "failed")
    assert read(store.rows, NOW)[1] == {("to-b:1:0", "chat"): Tries(1, "sent", NOW, NOW)}
    assert store.rows("SELECT count() AS n FROM alerts", {})[0]["n"] == 1


def test_an_alert_that_can_not_be_read_is_said_and_holds_up_no_other(
    store: ClickHouseStore, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"rollout": "to-b", "seq": 1, "entry_id": "1", "at": NOW, "alerts": '[{"alert_id": "to-b:1:0"}]'}
    store.insert("rollout_log", orjson.dumps(row), "to-b:1")
    written(store, 2, alert(2, TRIGGER, NOW))
    assert [a.alert_id for a in read(store.rows, NOW)[0]] == ["to-b:2:0"]
    assert "alert to-b:1:0 in rollout_log can't be read" in caplog.text
