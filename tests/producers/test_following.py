"""A reader that may miss nothing, on a log in which something is missing."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.cimpl import OFFSET_BEGINNING

from shadowlane.producers import following
from shadowlane.producers.following import Follower
from shadowlane.producers.log import Log

TOPIC = "t"


class FakeLog:
    """Offset -> (what it says, how many seconds ago it was written)."""

    def __init__(self, **messages: tuple[str, float]) -> None:
        self.messages = {int(offset[1:]): message for offset, message in messages.items()}
        self.begun = 0
        self.taken: list[str] = []
        self.changed = threading.Condition()

    def consumer(self, options: dict[str, Any]) -> "FakeConsumer":
        return FakeConsumer(self)

    def take(self, envelope: bytes | None, key: bytes | None) -> list[str]:
        with self.changed:
            self.taken.append((envelope or b"").decode())
            self.changed.notify_all()
        return []

    def begin(self) -> None:
        with self.changed:
            self.begun += 1
            self.taken.clear()
            self.changed.notify_all()


class FakeConsumer:
    def __init__(self, log: FakeLog) -> None:
        self.log = log
        self.next = 0

    def list_topics(self, timeout: float) -> Any:
        return SimpleNamespace(topics={TOPIC: SimpleNamespace(partitions={0: None}, error=None)})

    def assign(self, partitions: list[Any]) -> None:
        assert [partition.offset for partition in partitions] == [OFFSET_BEGINNING]
        self.next = 0

    def poll(self, timeout: float) -> Any:
        ahead = sorted(offset for offset in self.log.messages if offset >= self.next)
        if not ahead:
            time.sleep(0.001)
            return None
        says, age = self.log.messages[ahead[0]]
        self.next = ahead[0] + 1
        made: dict[str, Any] = {
            "error": None,
            "value": says.encode(),
            "key": None,
            "partition": 0,
            "offset": ahead[0],
        }
        made["timestamp"] = (1, int((time.time() - age) * 1000))
        return SimpleNamespace(**{name: lambda value=value: value for name, value in made.items()})

    def close(self) -> None:
        pass


def follow(log: FakeLog, monkeypatch: pytest.MonkeyPatch, whole_s: float | None) -> Follower:
    monkeypatch.setattr(following, "Consumer", log.consumer)
    monkeypatch.setattr(following, "REREAD_S", 0.0)
    follower = Follower("kafka:9092", TOPIC, {}, log, Log(), begun=log.begin, whole_s=whole_s)
    follower.start()
    return follower


def test_what_follows_on_a_missing_message_is_taken_once_that_one_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = FakeLog(_0=("a", 1.0), _2=("c", 1.0))
    follower = follow(log, monkeypatch, 30.0)
    try:
        with log.changed:
            assert log.changed.wait_for(lambda: log.begun > 3, 30)
            assert "c" not in log.taken
        log.messages[1] = ("b", 0.0)
        with log.changed:
            assert log.changed.wait_for(lambda: log.taken == ["a", "b", "c"], 30)
    finally:
        follower.stop(10)


@pytest.mark.parametrize(("whole_s", "age"), [(30.0, 60.0), (None, 1.0)])
def test_what_is_missing_before_an_old_message_was_compacted_away(
    monkeypatch: pytest.MonkeyPatch, whole_s: float | None, age: float
) -> None:
    log = FakeLog(_3=("a", age), _7=("b", age), _8=("c", 0.0))
    follower = follow(log, monkeypatch, whole_s)
    try:
        with log.changed:
            assert log.changed.wait_for(lambda: log.taken == ["a", "b", "c"], 30)
            assert log.begun == 1
    finally:
        follower.stop(10)
