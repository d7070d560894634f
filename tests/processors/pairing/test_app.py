"""The Faust app in a process of its own, on a real broker."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.cimpl import Producer

from shadowlane.processors.kafka import client_options, ensure_topics, producer_options
from shadowlane.schemas.codec import decode, encode, pack, unpack
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import DeadLetter, Pair, Response, pair_id
from shadowlane.schemas.topics import partition_of
from tests.services import KafkaAddress

PAIR = """
import logging, sys
from shadowlane.processors.app import run
from shadowlane.schemas.config import Settings
logging.basicConfig(level=logging.INFO)
run(Settings.model_validate_json(sys.argv[1]))
"""
PATIENCE_S = 120.0


class System:
    """One deployment's topics: what is sent, what comes out, what is committed."""

    def __init__(self, kafka: KafkaAddress, *, partitions: int, **pairing: Any) -> None:
        self.settings = Settings.model_validate(
            {
                "kafka": {
                    "bootstrap_servers": kafka.bootstrap_servers,
                    "topic_prefix": f"pairing-{uuid.uuid4().hex[:8]}",
                    "partitions": partitions,
                    "session_timeout_s": kafka.session_s,
                },
                "pairing": pairing,
                "rollouts": [
                    {"name": "r", "match": {"service": "shop"}, "candidate": {"base_url": "http://c"}}
                ],
            }
        )
        self.topics = self.settings.kafka.topics
        self.epoch = self.settings.rollouts[0].epoch
        self.partitions = partitions
        ensure_topics(self.settings.kafka)
        self._producer = Producer(producer_options(self.settings.kafka, "test"))
        options = client_options(self.settings.kafka, "test") | {"group.id": f"{self.topics.prefix}-test"}
        self._out = Consumer(options)
        self._out.assign(
            [
                TopicPartition(t, n, 0)
                for t in (self.topics.pairs, self.topics.dead_letters)
                for n in range(partitions)
            ]
        )
        self._group = Consumer(options | {"group.id": f"{self.topics.prefix}-pairing"})
        self.ends: Counter[tuple[str, int]] = Counter()
        self.pairs: dict[str, list[Pair]] = {}
        self.dead_letters: dict[str, DeadLetter] = {}

    def response(self, request_id: str, side: str, **changes: Any) -> bytes:
        values: dict[str, Any] = {"request_id": request_id, "ts": 1, "completed_at": 2, "role": side}
        values |= {"service": "shop", "route": "/", "output": f"answer to {request_id}", "status": 200}
        if side == "shadow":
            values |= {"arm": "candidate", "rollout": "r", "epoch": self.epoch, "request": {"q": request_id}}
        return encode(Response(**values | changes))

    def send(self, topic: str, partition: int, lines: list[bytes] | None) -> None:
        self._producer.produce(topic, None if lines is None else pack(lines), partition=partition)
        self._producer.poll(0)
        self.ends[topic, partition] += 1

    def send_all(self, side: str, request_ids: list[str], per_envelope: int, **changes: Any) -> None:
        topic = self.topics.served if side == "served" else self.topics.shadow
        by_partition: dict[int, list[str]] = {}
        for request_id in request_ids:
            by_partition.setdefault(partition_of(request_id, self.partitions), []).append(request_id)
        for partition, ids in by_partition.items():
            for start in range(0, len(ids), per_envelope):
                chunk = ids[start : start + per_envelope]
                self.send(topic, partition, [self.response(i, side, **changes) for i in chunk])
        assert self._producer.flush(30) == 0

    def read_until(self, done: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert process.poll() is None, f"pairing ended by itself: {process.returncode}"
            assert time.monotonic() < deadline, f"{len(self.pairs)} pairs, {self.outcomes()}"
            for message in self._out.consume(500, 0.05):
                assert message.error() is None, message.error()
                for _, line in unpack(message.value()):
                    if message.topic() == self.topics.pairs:
                        pair = decode(Pair, line)
                        self.pairs.setdefault(pair.request_id, []).append(pair)
                    else:
                        letter = decode(DeadLetter, line)
                        self.dead_letters[letter.dead_letter_id] = letter

    def outcomes(self) -> Counter[str]:
        """Requests by the outcome that counts: scored beats the others."""
        return Counter(
            "scored" if any(p.outcome == "scored" for p in pairs) else pairs[0].outcome
            for pairs in self.pairs.values()
        )

    def scored_more_than(self, count: int) -> bool:
        return self.outcomes()["scored"] > count

    def everything_committed(self) -> bool:
        asked = [TopicPartition(*source) for source in self.ends]
        return {(c.topic, c.partition): c.offset for c in self._group.committed(asked, timeout=10)} == dict(
            self.ends
        )

    @contextmanager
    def pairing(self, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        with log.open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-c", PAIR, self.settings.model_dump_json()], stderr=stderr
            )
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    def close(self) -> None:
        self._out.close()
        self._group.close()


@pytest.fixture
def system(kafka: KafkaAddress, request: pytest.FixtureRequest) -> Iterator[System]:
    made = System(kafka, **request.param)
    yield made
    made.close()


@pytest.mark.e2e
@pytest.mark.parametrize("system", [{"partitions": 2, "wait_s": 4.0}], indirect=True)
def test_no_pair_is_lost_when_it_is_killed_twice(system: System, tmp_path: Path) -> None:
    chance = random.Random(7)
    ids = [f"request-{n}" for n in range(900)]
    parts = [ids[:300], ids[300:600], ids[600:]]
    for number, part in enumerate(parts):
        for side in ("served", "shadow"):
            system.send_all(side, chance.sample(part, len(part)), per_envelope=7)
        with system.pairing(tmp_path / "log") as process:
            if number < 2:
                # In the middle: some are out, the others wait, are in flight, or are not read yet.
                system.read_until(partial(system.scored_more_than, 300 * number + 50), process)
                os.kill(process.pid, signal.SIGKILL)
                continue
            system.read_until(
                lambda: system.outcomes()["scored"] == len(ids) and system.everything_committed(), process
            )
            process.terminate()
            assert process.wait(30) == 0, (tmp_path / "log").read_text()
    for request_id, pairs in system.pairs.items():
        assert {p.pair_id for p in pairs} == {pair_id(request_id, "r", system.epoch)}
        # What is scored again is the same pair, to the byte.
        assert len({encode(p) for p in pairs if p.outcome == "scored"}) == 1


@pytest.mark.e2e
@pytest.mark.parametrize(
    "system", [{"partitions": 4, "wait_s": 12.0, "max_waiting_bytes": 2**20}], indirect=True
)
def test_what_is_more_than_fits_in_memory_is_paired_and_what_is_poison_is_put_aside(
    system: System, tmp_path: Path
) -> None:
    system.send(system.topics.served, 0, [system.response("alone", "served")])
    system.send(system.topics.shadow, 0, [system.response("orphan", "shadow")])
    system.send(system.topics.served, 0, None)  # a tombstone
    system.send(
        system.topics.served, 0, [b"{broken", system.response("first", "served"), b'{"request_id": "half"}']
    )
    system.send(system.topics.shadow, 0, [system.response("first", "shadow")])
    system.send(system.topics.shadow, 0, [system.response("first", "shadow", epoch="before")])
    system.send(system.topics.served, 0, [system.response("elsewhere", "served", service="other")])
    many = [f"request-{n}" for n in range(3000)]
    system.send_all("served", many, per_envelope=20, output="long " * 400)  # 6 MB, and 1 MiB may wait
    with system.pairing(tmp_path / "log") as process:
        system.read_until(lambda: "first" in system.pairs, process)
        system.send_all("shadow", many, per_envelope=20)
        system.read_until(lambda: system.outcomes() == {"scored": 3001, "unpaired": 2}, process)
        system.read_until(system.everything_committed, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, (tmp_path / "log").read_text()
    assert {p.reason for p in system.pairs["alone"]} == {"no_shadow_response"}
    assert {p.reason for p in system.pairs["orphan"]} == {"no_served_response"}
    letters = sorted(system.dead_letters.values(), key=lambda letter: letter.source_line)
    assert [(one.source_offset, one.source_line, one.request_id) for one in letters] == [
        (2, 0, ""),
        (2, 2, "half"),
    ]
    assert letters[0].payload == "{broken"
    assert "dead_lettered=2" in (tmp_path / "log").read_text()


def test_a_group_that_can_not_be_joined_stops_it_loudly(kafka: KafkaAddress) -> None:
    system = System(kafka, partitions=1)
    ensure_topics(system.settings.kafka)
    # No broker lets a member in within no time: as one that refuses it for ever.
    hurried = f"import shadowlane.processors.app as app\napp.JOIN_S = 0.0\n{PAIR}"
    done = subprocess.run(
        [sys.executable, "-c", hurried, system.settings.model_dump_json()], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "has not let pairing join its consumer group" in done.stderr
