"""How far a consumer group is behind: what ``shadowlane status`` shows, and what the metrics tell."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TopicPartition
from confluent_kafka import admin as kafka_admin
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import Consumer

from shadowlane.processors.kafka import client_options
from shadowlane.schemas.config import Kafka

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class Lag:
    """One partition, as a group stands in it. ``committed`` is None where the group has committed nothing."""

    committed: int | None
    first: int  # the first offset that is still there
    end: int  # the offset that the next message will have

    @property
    def next(self) -> int:
        """The offset that the group would read next, were it started now."""
        return max(self.committed or 0, self.first, 0)

    @property
    def messages(self) -> int:
        return max(0, self.end - self.next)


def reads(component: str, kafka: Kafka) -> tuple[str, ...]:
    """The topics that a component consumes; none where it is no consumer."""
    topics = kafka.topics
    return {
        "worker": (topics.requests,),
        "pairing": (topics.served, topics.shadow),
        "sink": (topics.pairs, topics.noise, topics.ledger, topics.dead_letters),
    }.get(component, ())


def group_of(component: str, kafka: Kafka) -> str:
    """The consumer group of a component."""
    return f"{kafka.topic_prefix}-{component}"


def committed_offsets(kafka: Kafka, group: str, places: list[Place], timeout: float) -> dict[Place, int]:
    """What a group has committed; a partition without a commit is not there. Blocks for up to ``timeout`` seconds.

    It asks as a consumer that never joins the group. ``AdminClient.list_consumer_group_offsets`` kills the
    process with SIGSEGV while the group's coordinator is loading, as it is where a broker has just started
    (librdkafka 2.16, in rd_kafka_cgrp_op).

    Raises:
        KafkaException: Kafka does not answer, or can't for one of the partitions.
    """
    options = client_options(kafka, "shadowlane-lag") | {"group.id": group, "enable.auto.commit": False}
    consumer = Consumer(options | {"log_level": 0})
    try:
        found = consumer.committed([TopicPartition(*place) for place in places], timeout=timeout)
    finally:
        consumer.close()
    return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}


def read_lag(
    admin: AdminClient, kafka: Kafka, group: str, places: list[Place], timeout: float
) -> dict[Place, Lag]:
    """Asks Kafka. Blocks for up to three times ``timeout`` seconds.

    Raises:
        KafkaException: it does not answer, or can't for one of the partitions.
    """
    if not places:
        return {}
    committed = committed_offsets(kafka, group, places, timeout)
    spans = read_spans(admin, places, timeout)
    return {place: Lag(committed.get(place), *spans[place]) for place in places}


def read_spans(admin: AdminClient, places: Iterable[Place], timeout: float) -> dict[Place, tuple[int, int]]:
    """The first offset and the end of each. Blocks for up to twice ``timeout`` seconds.

    Raises:
        KafkaException: Kafka does not answer, or can't for one of the partitions.
    """
    spec: Any = kafka_admin.OffsetSpec  # type: ignore[attr-defined]  # public, and not in its __all__
    asked = [TopicPartition(*place) for place in places]

    def offsets(which: Any) -> dict[Place, int]:
        answers = admin.list_offsets({partition: which for partition in asked}, request_timeout=timeout)
        return {(tp.topic, tp.partition): future.result().offset for tp, future in answers.items()}

    ends = offsets(spec.latest())  # before the beginnings, which only rise
    return {place: (first, ends[place]) for place, first in offsets(spec.earliest()).items()}
