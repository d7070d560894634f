"""A worker in a process of its own, between a Kafka and a candidate; and what the tests look at."""

import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, TopicPartition

from shadowlane.processors.kafka import consumer_options, ensure_topics
from shadowlane.processors.produce import EnvelopeProducer
from shadowlane.schemas.codec import decode, encode, unpack
from shadowlane.schemas.config import Envelope, Kafka
from shadowlane.schemas.events import DeadLetter, MirroredRequest, Response
from shadowlane.schemas.topics import partition_of
from tests.services import KafkaAddress

PARTITIONS = 2
RUN = (
    "import logging, sys, pathlib; from shadowlane.schemas import config; "
    "from shadowlane.processors.worker import run; logging.basicConfig(level='INFO'); "
    "run(config.load(pathlib.Path(sys.argv[1])))"
)


class Scene:
    """Starts workers, writes requests, reads what comes out."""

    def __init__(
        self,
        directory: Path,
        address: KafkaAddress,
        prefix: str,
        base_url: str,
        *,
        partitions: int = PARTITIONS,
        **sections: Any,
    ) -> None:
        self.directory = directory
        self.partitions = partitions
        self.kafka = Kafka(
            bootstrap_servers=address.bootstrap_servers,
            topic_prefix=prefix,
            partitions=partitions,
            session_timeout_s=address.session_s,
            client={"log_level": 0},
        )
        ensure_topics(self.kafka)
        kafka = self.kafka.model_dump()
        kafka["client"] |= sections.pop("client", {})
        self.config = {
            "kafka": kafka,
            "worker": {"timeout_s": 60, "concurrency": 8, "retry_base_s": 0.01} | sections.pop("worker", {}),
            "envelope": sections.pop("envelope", {"linger_ms": 5}),
            "prices": sections.pop("prices", {}),
            "monitoring": sections.pop("monitoring", {}),
            "rollouts": sections.pop("rollouts", None)
            or [
                {
                    "name": "r",
                    "match": {"service": "s"},
                    "stable": {"model": "old"},
                    "candidate": {"base_url": base_url, "model": "new"},
                }
            ],
        }
        self.file = directory / "shadowlane.yaml"
        self.file.write_bytes(orjson.dumps(self.config))
        self.workers: list[subprocess.Popen[bytes]] = []
        self.consumer = Consumer(consumer_options(self.kafka, "test", f"{prefix}-test"))
        topics = (self.kafka.topics.shadow, self.kafka.topics.dead_letters)
        self.consumer.assign([TopicPartition(t, p, 0) for t in topics for p in range(partitions)])
        self.responses: dict[str, list[Response]] = defaultdict(list)
        self.dead_letters: list[DeadLetter] = []

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()
        self.consumer.close()

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            worker = subprocess.Popen([sys.executable, "-c", RUN, str(self.file)], stderr=log)
        self.workers.append(worker)
        return worker

    @property
    def log(self) -> Path:
        return self.directory / "worker.log"

    def terminate(self, worker: subprocess.Popen[bytes]) -> int:
        worker.send_signal(signal.SIGTERM)
        return worker.wait(60)

    def write(self, *records: MirroredRequest | bytes, one_by_one: bool = False, partition: int = 0) -> None:
        """Requests to their partitions, raw lines to the one given."""
        envelope = Envelope(linger_ms=0) if one_by_one else Envelope()
        producer = EnvelopeProducer(self.kafka, envelope, "test")
        for record in records:
            topic = self.kafka.topics.requests
            if isinstance(record, bytes):
                producer.send(topic, partition, record)
            else:
                producer.send(topic, partition_of(record.request_id, self.partitions), encode(record))
            if one_by_one:
                assert producer.flush(30) == 0
        assert producer.close(30) == 0

    def read_until(self, enough: Callable[[], bool]) -> None:
        """Collects responses and dead letters until there is enough."""
        deadline = time.monotonic() + 90
        while not enough():
            assert time.monotonic() < deadline, f"{len(self.responses)} responses; {self.log.read_text()}"
            message = self.consumer.poll(0.2)
            if message is None:
                continue
            assert message.error() is None
            value, partition = message.value(), message.partition()
            assert isinstance(value, bytes)
            for _, line in unpack(value):
                if message.topic() == self.kafka.topics.shadow:
                    response = decode(Response, line)
                    assert partition == partition_of(response.request_id, self.partitions)
                    self.responses[response.request_id].append(response)
                else:
                    self.dead_letters.append(decode(DeadLetter, line))

    def committed(self) -> dict[int, int]:
        """Partition -> the committed offset of the workers' group; -1001 where there is none."""
        group = f"{self.kafka.topic_prefix}-worker"
        consumer = Consumer(consumer_options(self.kafka, "test", group))
        try:
            topic = self.kafka.topics.requests
            found = consumer.committed([TopicPartition(topic, p) for p in range(self.partitions)], timeout=30)
            return {position.partition: position.offset for position in found}
        finally:
            consumer.close()


def request(request_id: str, says: str = "ok", **more: Any) -> MirroredRequest:
    body = {"model": "old", "messages": [{"role": "user", "content": says}]}
    values = {"service": "s", "route": "/r", "protocol": "openai.chat", "model": "old", "body": body} | more
    return MirroredRequest(request_id=request_id, ts=1, **values)


def ids_of_partition(partition: int, count: int) -> list[str]:
    """Request ids that all belong to one partition."""
    found = (f"q{n}" for n in range(100_000))
    return [i for i in found if partition_of(i, PARTITIONS) == partition][:count]
