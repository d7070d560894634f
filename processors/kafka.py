"""Kafka at the edge: the clients' options, the topics, and the start-up checks."""

import logging
import time
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from shadowlane.errors import BrokerError
from shadowlane.schemas.addresses import in_flight
from shadowlane.schemas.config import Kafka
from shadowlane.schemas.topics import Topics

log = logging.getLogger("shadowlane.kafka")


def client_options(kafka: Kafka, client_id: str) -> dict[str, Any]:
    """What every client of librdkafka is made with."""
    return {"bootstrap.servers": kafka.bootstrap_servers, "client.id": client_id, **kafka.client}


def producer_options(kafka: Kafka, client_id: str) -> dict[str, Any]:
    """Of the components' producers: every record acknowledged by all replicas, in order, without twins."""
    return {
        "acks": "all",
        "enable.idempotence": True,
        "max.in.flight": in_flight(kafka.bootstrap_servers),
        "compression.type": "lz4",
        "linger.ms": 5,
        "message.max.bytes": 8 * 2**20,
        **client_options(kafka, client_id),
    }


def consumer_options(kafka: Kafka, client_id: str, group: str, wait_ms: int = 20) -> dict[str, Any]:
    """Of the components' consumers: from the first record on, offsets committed by hand alone.

    ``wait_ms``: how long a fetch waits where nothing is new.
    """
    return {
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "session.timeout.ms": int(kafka.session_timeout_s * 1000),
        "heartbeat.interval.ms": int(kafka.session_timeout_s * 1000 / 4),
        # Above the broker's own wait it costs latency; the embedded broker gives nothing at 1 ms.
        "fetch.wait.max.ms": wait_ms,
        # After a long absence each fetch is full, and one comes on top of what is queued already; of both the client
        # holds the answer as it came beside the messages that it unpacked from it. A larger message comes nevertheless.
        "fetch.message.max.bytes": 2**20,
        "fetch.max.bytes": 8 * 2**20,
        "queued.max.messages.kbytes": 16 * 1024,
        # How long no fetch is made once that much is queued: the default of 1 s lets the queue run dry long before.
        "fetch.queue.backoff.ms": 20,
        **client_options(kafka, client_id),
    }


# Kafka compacts what is older than the segment that it writes to: without a limit, after a week.
COMPACTED = {"cleanup.policy": "compact", "segment.ms": str(3_600_000)}


def ensure_topics(kafka: Kafka, timeout: float = 30.0) -> dict[str, int]:
    """Creates the topics that are not there; gives each topic's number of partitions.

    Blocks for up to ``timeout`` seconds, so that a component may be started before its broker.

    Raises:
        BrokerError: no broker answers, it refuses, or the topics that pair differ in their partitions.
    """
    topics, admin = kafka.topics, AdminClient(client_options(kafka, "shadowlane-admin") | {"log_level": 0})
    deadline = time.monotonic() + timeout
    present = _partitions(admin, topics, kafka, deadline)
    missing = [name for name in topics.all if name not in present]
    if missing:
        # A topic that joins existing ones takes their number of partitions, or the pairs would never meet.
        known = {present[name] for name in topics.copartitioned if name in present}
        count = max(known, default=kafka.partitions)
        new = [
            NewTopic(
                name,
                num_partitions=1 if name in topics.compacted else count,
                replication_factor=kafka.replication_factor,
                config=COMPACTED if name in topics.compacted else {},
            )
            for name in missing
        ]
        for name, future in admin.create_topics(new, operation_timeout=timeout).items():
            try:
                future.result()
            except KafkaException as exc:
                if exc.args[0].name() != "TOPIC_ALREADY_EXISTS":  # another component was faster
                    raise BrokerError(f"topic {name} can't be created: {exc.args[0].str()}") from exc
        while not set(topics.all) <= set(present := _partitions(admin, topics, kafka, deadline)):
            if time.monotonic() > deadline:
                raise BrokerError(f"the topics {', '.join(missing)} were created and do not appear")
            time.sleep(0.05)
    check_copartitioned(topics, present)
    return present


def check_copartitioned(topics: Topics, partitions: dict[str, int]) -> None:
    """Raises BrokerError where the topics that pair have different numbers of partitions."""
    counts = {name: partitions[name] for name in topics.copartitioned}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise BrokerError(
            f"these topics must have one number of partitions, or pairs never meet: {listed}; "
            "add partitions to the smaller ones, or start with a new kafka.topic_prefix"
        )


def _partitions(admin: AdminClient, topics: Topics, kafka: Kafka, deadline: float) -> dict[str, int]:
    told = False
    while True:
        try:
            # A short call: no signal is seen within it.
            listed = admin.list_topics(timeout=min(1.0, max(0.1, deadline - time.monotonic())))
            return {
                name: len(meta.partitions)
                for name, meta in listed.topics.items()
                if name in topics.all and meta.error is None and meta.partitions
            }
        except KafkaException as exc:
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"no broker answers at {kafka.bootstrap_servers} ({exc.args[0].str()}): "
                    "is it running, and is kafka.bootstrap_servers right?"
                ) from exc
            if not told:
                told = True
                left = deadline - time.monotonic()
                log.warning("no broker answers at %s yet; trying for %.0f s", kafka.bootstrap_servers, left)
            time.sleep(0.2)
