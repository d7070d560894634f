"""What the mirror costs on a service's path, beside encoding and producing there.

    python benchmarks/mirror.py

One thread plays the service: 5,000 calls a second, each with a request and an answer of 2 KB together, paced,
each call timed by itself. The ways take turns in short rounds in one run, and the table is the median over the
rounds of each round's p50, p99 and p99.9, in microseconds; what the machine adds (scheduling, the clock) is in
every row alike, and the row "nothing" says how much that is. Kafka is the embedded broker, in a process of
its own, unless ``SHADOWLANE_TEST_KAFKA`` gives another.
"""

import gc
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import confluent_kafka
import orjson
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

sys.path.insert(0, str(Path(__file__).parents[1]))

from shadowlane import Mirror
from shadowlane.schemas.events import MirroredRequest, Protocol, Response
from shadowlane.schemas.topics import Topics
from tests.services import KafkaAddress, embedded_broker

RATE = 5_000
ROUND_S = 0.6
ROUNDS = 7
QUESTION = "Where is my order? It was promised for Tuesday and nobody answers the phone. " * 12
ANSWER = "I'm sorry about the delay. Your order left the warehouse and is on its way to you. " * 12
BODY = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": QUESTION}]})
REPLY = orjson.dumps({"choices": [{"message": {"content": ANSWER}, "finish_reason": "stop"}], "model": "m"})


def run() -> dict[str, Any]:
    """Microseconds by way and quantile, and what became of the mirror's requests."""
    given = os.environ.get("SHADOWLANE_TEST_KAFKA")
    broker: AbstractContextManager[KafkaAddress] = (
        nullcontext(KafkaAddress(given, "environment")) if given else embedded_broker()
    )
    with broker as kafka:
        topics = Topics(f"bench-{os.getpid()}")
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
        for made in admin.create_topics([NewTopic(t, 4, 1) for t in topics.all]).values():
            made.result(30)
        found = _measure(kafka.bootstrap_servers, topics)
    _print(found)
    return found


def _measure(bootstrap: str, topics: Topics) -> dict[str, Any]:
    mirror = Mirror("bench", kafka=bootstrap, topic_prefix=topics.prefix)
    away = Mirror("bench", kafka="127.0.0.1:1", topic_prefix=topics.prefix, buffer_bytes=4_000_000)
    logging.getLogger("shadowlane.mirror").setLevel(logging.CRITICAL)  # that Kafka is away is meant
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 5, "acks": "all", "log_level": 0}
    )

    def mirrored(mirror: Mirror) -> None:
        exchange = mirror.begin("/ask", Protocol.OPENAI_CHAT)
        if exchange is not None:
            exchange.request(BODY)
            exchange.respond(200, "application/json")
            exchange.chunk(REPLY)
            mirror.finish(exchange)

    def produced() -> None:
        now = time.time_ns() // 1_000_000
        request = MirroredRequest(
            request_id=os.urandom(16).hex(),
            ts=now,
            service="bench",
            route="/ask",
            protocol="openai.chat",
            body=orjson.Fragment(BODY),
        )
        response = Response(
            request_id=request.request_id,
            ts=now,
            completed_at=now,
            service="bench",
            route="/ask",
            role="served",
            output=ANSWER,
        )
        producer.produce(topics.requests, orjson.dumps(request))
        producer.produce(topics.served, orjson.dumps(response))
        producer.poll(0)

    ways: dict[str, Callable[[], None]] = {
        "nothing": lambda: None,
        "mirror": lambda: mirrored(mirror),
        "mirror, Kafka away, buffer full": lambda: mirrored(away),
        "orjson.dumps and Producer.produce": produced,
    }
    for _ in range(2_000):
        mirrored(away)  # full from the start
    took: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for way in ways.values():
        _round(way, 0.2)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            took[name].append(_round(way, ROUND_S))
            mirror.flush(30)  # so that one way's leftovers are no load on the next
            producer.flush(30)
    stats = mirror.stats()
    mirror.close()
    away.close(0)
    return {
        "calls_per_second": RATE,
        "bytes_per_call": len(BODY) + len(REPLY),
        "microseconds": {
            name: dict(
                zip(("p50", "p99", "p99.9"), map(statistics.median, zip(*rounds, strict=True)), strict=True)
            )
            for name, rounds in took.items()
        },
        "mirror": {k: stats[k] for k in ("eligible", "mirrored", "dropped")},
    }


def _round(way: Callable[[], None], seconds: float) -> tuple[float, float, float]:
    """(p50, p99, p99.9) in microseconds of calls that come evenly, late ones at once."""
    calls = int(RATE * seconds)
    times = [0.0] * calls
    gc.collect()
    clock = time.perf_counter
    begun = clock()
    for n in range(calls):
        due = begun + n / RATE
        while (left := due - clock()) > 0:
            time.sleep(left)
        before = clock()
        way()
        times[n] = clock() - before
    times.sort()
    return tuple(1e6 * times[min(calls - 1, int(q * calls))] for q in (0.5, 0.99, 0.999))  # type: ignore[return-value]


def _print(found: dict[str, Any]) -> None:
    print(f"{'on the path, µs a call':36}{'p50':>8}{'p99':>8}{'p99.9':>8}")
    for name, row in found["microseconds"].items():
        print(f"{name:36}" + "".join(f"{value:8.1f}" for value in row.values()))
    print(f"mirror: {json.dumps(found['mirror'])}")


if __name__ == "__main__":
    run()
