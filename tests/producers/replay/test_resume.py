"""A replay that is killed and begun again: every request once by its ID, and a ledger that adds up; on both brokers."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import yaml
from confluent_kafka.cimpl import Consumer, TopicPartition

from shadowlane.processors.kafka import ensure_topics
from shadowlane.schemas.config import Settings
from shadowlane.schemas.topics import Topics
from tests.producers.support import Sent
from tests.services import KafkaAddress

COUNT = 3000
MINUTE = 1_772_323_200_000


def log(path: Path, count: int = COUNT) -> None:
    lines = [
        {
            "request": {
                "model": "m",
                "messages": [{"role": "user", "content": f"question {n} " + "x" * 400}],
            },
            "response": f"answer {n} " + "y" * 400,
            "ts": MINUTE + n * 100,
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def settings(kafka: KafkaAddress, tmp_path: Path) -> Settings:
    kept = {
        "kafka": {
            "bootstrap_servers": kafka.bootstrap_servers,
            "topic_prefix": f"t{uuid.uuid4().hex[:8]}",
            "partitions": 4,
        }
    }
    (tmp_path / "shadowlane.yaml").write_text(yaml.safe_dump(kept))
    found = Settings.model_validate(kept)
    ensure_topics(found.kafka)
    return found


def begin(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    config = str(folder / "shadowlane.yaml")
    command = [sys.executable, "-m", "shadowlane.cli", "replay", *arguments, "--config", config]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        # What a shell starts in the background ignores it, and so would all that we start.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def acknowledged(state: Path) -> int:
    return int(json.loads(state.read_bytes())["acknowledged"]) if state.exists() else 0


def all_of(settings: Settings, count: int) -> Sent:
    """Everything that Kafka has, once it is ``count`` requests by the ledger; a request may be there twice."""
    topics = settings.kafka.topics
    names = {
        topics.requests: Topics().requests,
        topics.served: Topics().served,
        topics.ledger: Topics().ledger,
    }
    bootstrap = {"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": "reads"}
    with closing(Consumer({**bootstrap, "auto.offset.reset": "earliest"})) as consumer:
        found = consumer.list_topics(timeout=10).topics
        consumer.assign([TopicPartition(name, p, 0) for name in names for p in found[name].partitions])
        messages: list[tuple[str, int, bytes]] = []
        for _ in range(300):  # of a tenth of a second; a test that waits in vain fails on what is missing
            for message in consumer.consume(1000, 0.1):
                topic, partition, value = message.topic(), message.partition(), message.value()
                assert topic is not None
                assert partition is not None
                assert value is not None
                messages.append((names[topic], partition, value))
            sent = Sent(messages)
            halves = (sent.requests, sent.served)
            if sent.rows["mirrored"] >= count and all(
                len({half.request_id for half in side}) >= count for side in halves
            ):
                break
    return Sent(messages)


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_every_request_is_there_once_and_counted_once(
    settings: Settings, tmp_path: Path, stop: signal.Signals
) -> None:
    path, state = tmp_path / "log.jsonl", tmp_path / ".log.jsonl.replay.json"
    log(path)
    for _ in range(2):
        before = acknowledged(state)
        process = begin(tmp_path, str(path), "--rate", "1500")
        while acknowledged(state) <= before:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        os.kill(process.pid, stop)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == (-signal.SIGKILL if stop is signal.SIGKILL else 130), said
        assert before < acknowledged(state) < COUNT
    process = begin(tmp_path, str(path))
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert "going on after the" in said
    assert not state.exists(), "it was sent to its end"

    sent = all_of(settings, COUNT)
    assert len({request.request_id for request in sent.requests}) == COUNT
    assert {request.request_id for request in sent.requests} == {r.request_id for r in sent.served}
    assert sent.rows == {"eligible": COUNT, "mirrored": COUNT}
    assert {key[1] for key in sent.cells} == {MINUTE + minute * 60_000 for minute in range(5)}
