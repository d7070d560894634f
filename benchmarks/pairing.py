"""Pairs per second through the Faust app, beside a plain consumer loop and what orjson alone would need.

    python benchmarks/pairing.py

Both topics are full before the clock starts: 32 records an envelope, 1 KB of output on each side, four
partitions, the embedded broker. The clock of the app and of the loop runs from the first message that they
read to the time at which Kafka has the last pair; medians of the rounds, in one run.

The loop is what one would write by hand: confluent-kafka, a dict, produce. It keeps no promise: what it has
read and not paired is lost when it stops, and it knows no scores, no expiry and no repetitions.
"""

import multiprocessing
import multiprocessing.process
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import orjson
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.cimpl import Producer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from shadowlane.processors.kafka import client_options, ensure_topics, producer_options
from shadowlane.schemas.codec import encode, pack
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import Response
from shadowlane.schemas.topics import partition_of
from tests.services import embedded_broker  # found where the script is run from

PAIRS = 32_000
ENVELOPE = 32
PARTITIONS = 4
ROUNDS = 3
Lines = dict[int, tuple[list[bytes], list[bytes]]]  # by partition: served, shadow


def run() -> dict[str, Any]:
    """Pairs per second by way of pairing; prints a table."""
    with embedded_broker() as broker:
        lines = records(configure(broker.bootstrap_servers, "none", scored=True))
        rates: dict[str, list[float]] = {
            "faust_scored": [],
            "faust": [],
            "plain_loop": [],
            "orjson_floor": [],
        }
        for number in range(ROUNDS):
            for name in rates:
                if name == "orjson_floor":
                    rates[name].append(floor(lines))
                    continue
                settings = configure(
                    broker.bootstrap_servers,
                    f"bench-{name.replace('_', '-')}-{number}",
                    scored=name == "faust_scored",
                )
                fill(settings, lines)
                target = plain_loop if name == "plain_loop" else faust_app
                with process(target, settings) as (child, started):
                    end = last_pair(settings, child)
                    rates[name].append(PAIRS / (end - started.value))
    result = {name: round(statistics.median(values)) for name, values in rates.items()}
    print(f"{'pairs per second':<44}{'median':>9}   {'lowest':>9} {'highest':>9}")
    for name, label in (
        ("faust_scored", "the Faust app, default scorers"),
        ("faust", "the Faust app, no scorers"),
        ("plain_loop", "a plain confluent-kafka loop, no promises"),
        ("orjson_floor", "orjson alone: decode two, encode the pair"),
    ):
        print(f"{label:<44}{result[name]:>9,}   {min(rates[name]):>9,.0f} {max(rates[name]):>9,.0f}")
    return {"pairs": PAIRS, "records_per_envelope": ENVELOPE, "rounds": ROUNDS, "pairs_per_second": result}


def configure(bootstrap: str, prefix: str, *, scored: bool) -> Settings:
    rollout: dict[str, Any] = {"name": "bench", "candidate": {"base_url": "http://127.0.0.1"}}
    if not scored:
        rollout["scorers"] = []
    return Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": bootstrap, "topic_prefix": prefix, "partitions": PARTITIONS},
            "rollouts": [rollout],
        }
    )


def records(settings: Settings) -> Lines:
    epochs = {scored: configure("none", "none", scored=scored).rollouts[0].epoch for scored in (True, False)}
    assert epochs[True] != epochs[False]
    lines: Lines = {partition: ([], []) for partition in range(PARTITIONS)}
    common: dict[str, Any] = {"ts": 1_700_000_000_000, "completed_at": 1_700_000_000_900, "service": "s"}
    common |= {"route": "/v1/chat", "model": "m", "finish_reason": "stop", "status": 200, "latency_ms": 512.5}
    common |= {"input_tokens": 200, "output_tokens": 220, "attributes": {"tenant": "t1"}}
    random, prose = Random(7), sentences(Random(8))  # noqa: S311
    for number in range(PAIRS):
        request_id = f"{number:032x}"
        chosen = random.choices(prose, k=8)
        stable, candidate = "".join(chosen), "".join([random.choice(prose), *chosen[1:]])
        served = Response(request_id=request_id, role="served", output=stable, **common)
        shadow = Response(
            request_id=request_id,
            role="shadow",
            arm="candidate",
            rollout="bench",
            epoch="EPOCH",
            output=candidate,
            request={"model": "m", "messages": [{"role": "user", "content": "where is my order?"}]},
            **common,
        )
        for side, record in zip(lines[partition_of(request_id, PARTITIONS)], (served, shadow), strict=True):
            side.append(encode(record))
    return lines


def sentences(random: Random) -> list[str]:
    """20,000 of 128 characters: what they are made of repeats, as in prose, and what was written does not."""
    letters, vocabulary = "etaoinshrdlucmfw", list[str]()
    for _ in range(3000):
        vocabulary.append("".join(random.choices(letters, range(16, 0, -1), k=random.randint(2, 9))))
    weights = [1 / (rank + 5) for rank in range(len(vocabulary))]
    words = iter(random.choices(vocabulary, weights, k=650_000))
    found: list[str] = []
    for _ in range(20_000):
        sentence = next(words).capitalize()
        while len(sentence) < 126:
            sentence += " " + next(words)
        found.append(sentence[:126] + ". ")
    return found


def fill(settings: Settings, lines: Lines) -> None:
    topics, epoch = settings.kafka.topics, settings.rollouts[0].epoch.encode()
    ensure_topics(settings.kafka)
    producer = Producer(producer_options(settings.kafka, "bench"))
    for partition, sides in lines.items():
        for topic, side in zip((topics.served, topics.shadow), sides, strict=True):
            for start in range(0, len(side), ENVELOPE):
                envelope = pack(side[start : start + ENVELOPE]).replace(b"EPOCH", epoch)
                producer.produce(topic, envelope, partition=partition)
                producer.poll(0)
    assert producer.flush(60) == 0


@contextmanager
def process(target: Any, settings: Settings) -> Iterator[tuple[multiprocessing.process.BaseProcess, Any]]:
    context = multiprocessing.get_context("spawn")
    started = context.Value("d")
    child = context.Process(target=target, args=(settings.model_dump_json(), started))
    child.start()
    try:
        yield child, started
    finally:
        assert child.pid is not None
        os.kill(child.pid, signal.SIGTERM)
        child.join(30)
        child.kill()


def last_pair(settings: Settings, child: multiprocessing.process.BaseProcess) -> float:
    """When Kafka got the last pair, in Unix seconds."""
    options = {"group.id": "bench", "fetch.wait.max.ms": 20}
    consumer = Consumer(client_options(settings.kafka, "bench") | options)
    consumer.assign([TopicPartition(settings.kafka.topics.pairs, n, 0) for n in range(PARTITIONS)])
    seen, last = 0, 0
    while seen < PAIRS:
        assert child.is_alive(), f"it stopped with exit code {child.exitcode}"
        for message in consumer.consume(1000, 0.1):
            assert message.error() is None, message.error()
            seen += (message.value() or b"").count(b"\n") + 1
            last = max(last, message.timestamp()[1])
    consumer.close()
    return last / 1000


def faust_app(settings: str, started: Any) -> None:
    from shadowlane.processors.app import run as pair
    from shadowlane.processors.pairing.service import Pairing

    take = Pairing.take

    def first_take(self: Pairing, *arguments: Any) -> None:
        started.value = time.time()
        Pairing.take = take  # type: ignore[method-assign]  # the clock starts once, and costs nothing after
        take(self, *arguments)

    Pairing.take = first_take  # type: ignore[method-assign]
    pair(Settings.model_validate_json(settings))


def plain_loop(raw: str, started: Any) -> None:
    settings = Settings.model_validate_json(raw)
    topics = settings.kafka.topics
    options: dict[str, Any] = {"group.id": "plain", "fetch.wait.max.ms": 20, "enable.auto.commit": False}
    consumer = Consumer(client_options(settings.kafka, "plain") | options)
    consumer.assign(
        [TopicPartition(t, n, 0) for t in (topics.served, topics.shadow) for n in range(PARTITIONS)]
    )
    producer = Producer(producer_options(settings.kafka, "plain"))
    waiting: dict[str, dict[str, Any]] = {}
    out: dict[int, list[bytes]] = {n: [] for n in range(PARTITIONS)}
    while True:
        for message in consumer.consume(1000, 0.05):
            started.value = started.value or time.time()
            for line in (message.value() or b"").split(b"\n"):
                half = orjson.loads(line)
                other = waiting.pop(half["request_id"], None)
                if other is None:
                    waiting[half["request_id"]] = half
                    continue
                partition = message.partition()
                assert partition is not None
                out[partition].append(orjson.dumps(joined(other, half)))
        for partition, pairs in out.items():
            for start in range(0, len(pairs), ENVELOPE):
                producer.produce(topics.pairs, pack(pairs[start : start + ENVELOPE]), partition=partition)
            pairs.clear()
        producer.poll(0)


def floor(lines: Lines) -> float:
    started = time.perf_counter()
    for served, shadow in lines.values():
        for one, two in zip(served, shadow, strict=True):
            orjson.dumps(joined(orjson.loads(one), orjson.loads(two)))
    return PAIRS / (time.perf_counter() - started)


def joined(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    served, shadow = (one, two) if one["role"] == "served" else (two, one)
    return {
        "request_id": one["request_id"],
        "ts": one["ts"],
        "service": one["service"],
        "route": one["route"],
        "request": shadow["request"],
        "stable": served,
        "candidate": shadow,
    }


if __name__ == "__main__":
    run()
