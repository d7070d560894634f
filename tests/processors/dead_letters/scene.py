"""Topics and a database of a test's own, components as processes of the command line, and what came of it."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from clickhouse_connect.driver.client import Client
from confluent_kafka import TopicPartition
from confluent_kafka.cimpl import Consumer, Producer

from shadowlane.processors.kafka import consumer_options, ensure_topics, producer_options
from shadowlane.processors.store import connect, migrate
from shadowlane.schemas.codec import decode, unpack
from shadowlane.schemas.config import Settings, load
from shadowlane.schemas.events import DeadLetter
from tests.reading import messages
from tests.services import ClickHouseAddress, KafkaAddress

PARTITIONS = 2
PATIENCE_S = 120.0
SHADOWLANE = [sys.executable, "-m", "shadowlane.cli"]


class Scene:
    """One deployment. ``sections`` are of its configuration, beside the servers' addresses."""

    def __init__(
        self, folder: Path, kafka: KafkaAddress, clickhouse: ClickHouseAddress | None = None, **sections: Any
    ) -> None:
        name = f"dlq{uuid.uuid4().hex[:10]}"
        self.folder = folder
        content = {
            "kafka": {
                "bootstrap_servers": kafka.bootstrap_servers,
                "topic_prefix": name,
                "partitions": PARTITIONS,
                "session_timeout_s": kafka.session_s,
            },
            "sink": {"max_wait_s": 0.2},
            "envelope": {"linger_ms": 5},
            "monitoring": {f"{part}_port": 0 for part in ("worker", "pairing", "sink", "controller")},
            **sections,
        }
        self.environment = {}
        if clickhouse is not None:
            content["clickhouse"] = {
                "host": clickhouse.host,
                "port": clickhouse.port,
                "username": clickhouse.username,
                "database": name,
            }
            self.environment["SHADOWLANE_CLICKHOUSE__PASSWORD"] = clickhouse.password
        self.file = folder / "shadowlane.yaml"
        self.file.write_bytes(orjson.dumps(content))
        self.settings: Settings = load(self.file)
        self.topics = self.settings.kafka.topics
        ensure_topics(self.settings.kafka)

    def store(self) -> Client:
        client = connect(self.settings.clickhouse)
        migrate(client, self.settings.clickhouse.database)
        return client

    def produce(
        self, topic: str, *values: bytes, partition: int = 0, stamps: list[int] | None = None
    ) -> None:
        """One message for each value, in order. ``stamps`` are their times in Kafka, Unix milliseconds."""
        producer = Producer(producer_options(self.settings.kafka, "test"))
        for number, value in enumerate(values):
            producer.produce(topic, value, partition=partition, timestamp=stamps[number] if stamps else 0)
        assert producer.flush(30) == 0

    @contextmanager
    def running(self, component: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A component until the end of the block; then it is stopped, if it has not ended by itself."""
        with self.log(component).open("ab") as log:
            process = subprocess.Popen(
                [*SHADOWLANE, "run", component, "--config", str(self.file)],
                stderr=log,
                env=os.environ | self.environment | environment,
            )
        try:
            yield process
            if process.poll() is None:
                process.terminate()
                assert process.wait(60) == 0, self.log(component).read_text()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def log(self, component: str) -> Path:
        return self.folder / f"{component}.log"

    def shadowlane(self, *arguments: str, code: int = 0, **more: Any) -> str:
        """The output of one command. ``more`` is for subprocess.run."""
        done = subprocess.run(
            [*SHADOWLANE, *arguments, "--config", str(self.file)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=os.environ | self.environment,
            **more,
        )
        assert done.returncode == code, done.stderr + done.stdout
        said: str = done.stdout if code == 0 else done.stderr
        return said

    def letters(self) -> list[DeadLetter]:
        """All that are in Kafka, the repeated ones too."""
        return [decode(DeadLetter, line) for line in self.lines(self.topics.dead_letters)]

    def lines(self, topic: str) -> list[bytes]:
        """All records of a topic."""
        return [
            line
            for message in messages(self.settings.kafka.bootstrap_servers, topic)
            for _, line in unpack(message.value())
        ]

    def committed(self, component: str, topic: str) -> int:
        """How many messages of all partitions the component's group has committed."""
        group = f"{self.topics.prefix}-{component}"
        consumer = Consumer(consumer_options(self.settings.kafka, "test", group))
        try:
            places = [TopicPartition(topic, p) for p in range(PARTITIONS)]
            return sum(max(0, place.offset) for place in consumer.committed(places, timeout=30))
        finally:
            consumer.close()


def until(true: Callable[[], bool], what: str) -> None:
    """Waits for what another process does."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.1)
