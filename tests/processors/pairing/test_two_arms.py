"""A canary stage through Kafka, the worker and pairing: each side of a pair is the version that it says it is."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition
from pydantic import SecretStr

from shadowlane.processors.kafka import consumer_options
from shadowlane.processors.produce import EnvelopeProducer
from shadowlane.processors.store import connect, insert_lines, migrate
from shadowlane.rollout.ledger import Entry, Ledger, add_up
from shadowlane.schemas.codec import decode, encode, unpack
from shadowlane.schemas.config import ClickHouse, Envelope, Rollout
from shadowlane.schemas.events import LedgerCell, MirroredRequest, Pair, Response
from shadowlane.schemas.fingerprint import fingerprint
from shadowlane.schemas.topics import partition_of
from tests.processors.worker.fake_candidate import FakeCandidate
from tests.processors.worker.scene import PARTITIONS, Scene
from tests.services import ClickHouseAddress, KafkaAddress

REQUESTS = 200
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
TS = int((NOW - timedelta(hours=1)).timestamp() * 1000)
TEMPERATURE = {"old": 0, "new": 0.7}
PAIR = (
    "import logging, pathlib, sys; from shadowlane.processors.app import run; "
    "from shadowlane.schemas.config import load; logging.basicConfig(level='INFO'); "
    "run(load(pathlib.Path(sys.argv[1])))"
)


def traffic() -> Iterator[tuple[MirroredRequest, Response]]:
    """5% to the candidate; every tenth request is of a tier that the rollout does not take; two mistakes."""
    for number in range(REQUESTS):
        arm, model = ("candidate", "new") if number % 20 == 0 else ("stable", "old")
        body: dict[str, Any] = {"model": model, "temperature": TEMPERATURE[model], "stream": True}
        body["messages"] = [{"role": "user", "content": f"ok {number}"}]
        if number == 41:
            body["temperature"] = 0.3
        if number == 42:
            body["model"] = model = "third"
        common: dict[str, Any] = {"request_id": f"q{number}", "ts": TS, "service": "s", "route": "/r"}
        common |= {"key": f"k{number}", "arm": arm, "model": model, "stage": "canary"}
        common["attributes"] = {"tier": "silver" if number % 10 == 5 else "gold"}
        request = MirroredRequest(protocol="openai.chat", body=body, **common)
        yield (
            request,
            Response(role="served", completed_at=TS + 9, output=f"of {model}", status=200, **common),
        )


def rollout(stable: FakeCandidate, candidate: FakeCandidate) -> dict[str, Any]:
    sides = {"stable": ("old", stable), "candidate": ("new", candidate)}
    versions = {
        arm: {"model": model, "base_url": server.base_url, "overrides": {"temperature": TEMPERATURE[model]}}
        for arm, (model, server) in sides.items()
    }
    match = {"service": "s", "attributes": {"tier": "gold"}}
    stages = [{"name": "canary", "traffic_pct": 5}]
    return {"name": "r", "match": match, "sampling": {"rate": 0.8}, "stages": stages, **versions}


@contextmanager
def pairing(scene: Scene) -> Iterator[subprocess.Popen[bytes]]:
    with scene.log.open("ab") as log:
        process = subprocess.Popen([sys.executable, "-c", PAIR, str(scene.file)], stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def write(scene: Scene) -> None:
    producer = EnvelopeProducer(scene.kafka, Envelope(), "test")
    topics = scene.kafka.topics
    for request, response in traffic():
        partition = partition_of(request.request_id, PARTITIONS)
        producer.send(topics.requests, partition, encode(request))
        producer.send(topics.served, partition, encode(response))
    assert producer.close(30) == 0


def read_pairs(scene: Scene, process: subprocess.Popen[bytes]) -> dict[str, Pair]:
    """Until every request has one."""
    consumer = Consumer(consumer_options(scene.kafka, "test", f"{scene.kafka.topic_prefix}-pairs"))
    consumer.assign([TopicPartition(scene.kafka.topics.pairs, p, 0) for p in range(PARTITIONS)])
    pairs: dict[str, Pair] = {}
    deadline = time.monotonic() + 90
    while len(pairs) < REQUESTS:
        assert time.monotonic() < deadline, f"{len(pairs)} pairs; {scene.log.read_text()}"
        assert process.poll() is None, scene.log.read_text()
        message = consumer.poll(0.2)
        if message is not None:
            value = message.value()
            assert isinstance(value, bytes)
            for _, line in unpack(value):
                pair = decode(Pair, line)
                assert pairs.setdefault(pair.request_id, pair) == pair
    consumer.close()
    return pairs


@pytest.mark.e2e
def test_each_side_of_a_pair_is_what_it_claims_and_the_ledger_adds_up(
    tmp_path: Path, kafka: KafkaAddress, clickhouse: ClickHouseAddress
) -> None:
    with FakeCandidate().running() as stable, FakeCandidate().running() as candidate:
        wanted = rollout(stable, candidate)
        scene = Scene(tmp_path, kafka, f"two-arms-{uuid4().hex[:8]}", "", rollouts=[wanted])
        try:
            write(scene)
            scene.start()
            with pairing(scene) as process:
                pairs = read_pairs(scene, process)
        finally:
            scene.close()
    asked = {record.request_id: record for record, _ in traffic()}
    scored = [pair for pair in pairs.values() if pair.outcome == "scored"]
    prints = {m: fingerprint({"model": m, "temperature": t}) for m, t in TEMPERATURE.items()}
    for pair in scored:
        said = f"ok {pair.request_id[1:]}"
        mirrored = asked[pair.request_id]
        servers = {"stable": stable.bodies.get(said), "candidate": candidate.bodies.get(said)}
        assert servers.pop(mirrored.arm) is None  # it served, so nobody asked it again
        (shadowed,) = servers.values()
        saw = {mirrored.arm: fingerprint(mirrored.body)} | {arm: fingerprint(shadowed) for arm in servers}
        assert saw == {"stable": pair.stable_fingerprint, "candidate": pair.candidate_fingerprint}
        assert saw == {"stable": prints["old"], "candidate": prints["new"]}
        assert (pair.stable_model, pair.candidate_model) == ("old", "new")
        assert (pair.served_arm, pair.stage, pair.key) == (mirrored.arm, "canary", mirrored.key)
        outputs = {"stable": pair.stable_output, "candidate": pair.candidate_output}
        assert outputs.pop(mirrored.arm) == f"of {mirrored.model}"
        assert set(outputs.values()) == {"fine"}
    assert {pair.served_arm for pair in scored} == {"stable", "candidate"}
    found = Counter((pair.outcome, pair.reason) for pair in pairs.values())
    sampled_out = found["abstained", "sampled_out"]
    assert 5 < sampled_out < 70
    assert found["unpaired", "no_rollout"] == 20
    mistakes = {pairs[name].reason for name in ("q41", "q42")}
    assert mistakes <= {"other_parameters", "other_model", "sampled_out"}
    assert mistakes - {"sampled_out"}

    ledger = stored_ledger(clickhouse, list(pairs.values()), Rollout.model_validate(wanted).epoch)
    assert ledger.adds_up
    assert (ledger.eligible, ledger.scored, ledger.other_epoch) == (REQUESTS, len(scored), 20)
    assert ledger.abstained == REQUESTS - 20 - len(scored)
    assert ledger.unpaired == 0


def stored_ledger(clickhouse: ClickHouseAddress, pairs: list[Pair], epoch: str) -> Ledger:
    """The ledger of the rollout, as the store's view has it, beside what a mirror has counted."""
    settings = ClickHouse(
        host=clickhouse.host,
        port=clickhouse.port,
        username=clickhouse.username,
        password=SecretStr(clickhouse.password),
        database=f"two_arms_{uuid4().hex[:12]}",
    )
    client = connect(settings)
    migrate(client, settings.database)
    cells = [
        LedgerCell(instance="i", minute=TS - TS % 60_000, service="s", route="/r", row=row, count=REQUESTS)
        for row in ("eligible", "mirrored")
    ]
    insert_lines(client, settings, "pair_log", b"\n".join(map(encode, pairs)), "pairs")
    insert_lines(client, settings, "ledger_log", b"\n".join(map(encode, cells)), "cells")
    rows = client.query(
        f"SELECT minute, row, reason, requests FROM ledger_of(rollout = 'r', epoch = '{epoch}')"
    ).result_rows
    client.command(f"DROP DATABASE {settings.database}")
    entries = [Entry(minute.replace(tzinfo=UTC), *rest) for minute, *rest in rows]
    return add_up(entries, NOW, timedelta(minutes=10))
