"""The mirror's link to Kafka: a producer that its broker takes nothing from any more is replaced."""

from collections.abc import Callable
from typing import Any

import confluent_kafka
import pytest

from shadowlane.producers.link import KafkaLink
from shadowlane.schemas.topics import Topics

Delivered = Callable[[confluent_kafka.KafkaError | None, object], None]


class Client:
    """What the link needs of a producer. The first one made answers each message with ``answer``."""

    made: list["Client"] = []
    answer = 0

    def __init__(self, _options: dict[str, Any]) -> None:
        self.waiting: list[Delivered] = []
        self.first = not self.made
        self.made.append(self)

    def produce(self, _topic: str, *, value: bytes, partition: int, on_delivery: Delivered) -> None:
        self.waiting.append(on_delivery)

    def poll(self, _timeout: float) -> None:
        waiting, self.waiting = self.waiting, []
        for delivered in waiting:
            delivered(confluent_kafka.KafkaError(self.answer) if self.first else None, None)

    def purge(self) -> None:
        """Nothing waits after a poll."""

    def flush(self, _timeout: float) -> None:
        """Nothing waits after a poll."""


@pytest.mark.parametrize(
    ("answer", "producers"),
    [
        (confluent_kafka.KafkaError.PRODUCER_FENCED, 2),
        (confluent_kafka.KafkaError.INVALID_PRODUCER_EPOCH, 2),
        (confluent_kafka.KafkaError.UNKNOWN_PRODUCER_ID, 2),
        (confluent_kafka.KafkaError._MSG_TIMED_OUT, 1),  # Kafka was away: the client goes on by itself
    ],
)
def test_a_fenced_producer_is_replaced_and_what_comes_after_it_arrives(
    answer: int, producers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "made", [])
    monkeypatch.setattr(Client, "answer", answer)
    monkeypatch.setattr(confluent_kafka, "Producer", Client)
    link = KafkaLink(
        "127.0.0.1:1",
        Topics("t"),
        buffer_bytes=1 << 20,
        delivery_timeout_s=1,
        options={},
        log=lambda _level, _text: None,
    )
    told: list[str] = []
    link.send("t.requests", 0, b"1", told.append)
    link.poll(0)
    assert told[0]
    assert len(Client.made) == producers
    link.send("t.requests", 0, b"2", told.append)
    link.poll(0)
    assert (told[1] == "") == (producers == 2)


def test_of_every_message_something_is_told_though_its_client_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent(Client):
        """Tells of the first message that it is fenced, and of the others nothing."""

        def poll(self, _timeout: float) -> None:
            if self.waiting:
                self.waiting.pop(0)(confluent_kafka.KafkaError(self.answer) if self.first else None, None)

    monkeypatch.setattr(Client, "made", [])
    monkeypatch.setattr(Client, "answer", confluent_kafka.KafkaError.PRODUCER_FENCED)
    monkeypatch.setattr(confluent_kafka, "Producer", Silent)
    link = KafkaLink(
        "127.0.0.1:1",
        Topics("t"),
        buffer_bytes=1 << 20,
        delivery_timeout_s=1,
        options={},
        log=lambda _level, _text: None,
    )
    told: list[str] = []
    for _ in range(3):  # the same waits for all of them
        link.send("t.requests", 0, b"1", told.append)
    old = Client.made[0]
    link.poll(0)
    assert len(Client.made) == 2
    assert len(told) == 3
    assert all(told)
    old.waiting.pop()(None, None)  # too late
    assert len(told) == 3
