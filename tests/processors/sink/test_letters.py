"""How the sink writes dead letters, without Kafka and a store."""

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from clickhouse_connect.driver.client import Client

from shadowlane.errors import BrokerError
from shadowlane.processors.sink import service
from shadowlane.processors.sink.service import Sink
from shadowlane.schemas.codec import dead_letter
from shadowlane.schemas.config import Settings


class FakeProducer:
    """The first one is one of which Kafka takes nothing any more."""

    made: list["FakeProducer"] = []

    def __init__(self, *_: Any) -> None:
        self.fenced = not self.made
        self.made.append(self)
        self.open = True

    def send(
        self, _topic: str, _partition: int, _line: bytes, done: Callable[[Exception | None], None]
    ) -> None:
        assert self.open
        done(BrokerError("fenced") if self.fenced else None)

    def flush(self, _timeout: float) -> int:
        return 0

    def close(self, _timeout: float) -> int:
        self.open = False
        return 0


def test_letters_that_kafka_did_not_take_are_given_to_another_producer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeProducer, "made", [])
    monkeypatch.setattr(service, "EnvelopeProducer", FakeProducer)
    settings = Settings()
    sink = Sink(settings, cast(Client, None), {settings.kafka.topics.dead_letters: 1}, threading.Event())
    sink._producer = sink._new_producer()
    letter = dead_letter(
        b"x", "it is none", component="sink", topic="t", partition=0, offset=1, number=0, ts=1
    )
    with pytest.raises(BrokerError, match="1 dead letters are not written"):
        sink._bury([letter])
    sink._bury([letter])
    assert [producer.open for producer in FakeProducer.made] == [False, True]
