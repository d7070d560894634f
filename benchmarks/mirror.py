"""What the mirror costs on a service's path, and in CPU, beside encoding and producing there.

    python benchmarks/mirror.py
    python benchmarks/mirror.py growth      by partitions, and by processes of one service

One thread plays the service: calls that come evenly, 5,000 a second while that is at most 20 MB, each with a
request and an answer, each timed by itself. The ways take turns in short rounds in one run; the tables are medians
over the rounds: of each round's p50, p99 and p99.9, in microseconds, and of the CPU that the process spent on a
call, over all its threads and until Kafka had acknowledged the last, less what a round of "nothing" spent. What the
machine adds to a call (scheduling, cold caches after a sleep, the clock) is in every row alike: "nothing" and
"deque.append" say how much that is.

The bodies are plain prose, the same with each call; of such prose nothing is remembered. Two rows have other texts with
each call, with numbers, hyphens and colons, at which the redaction has to look closer; in the second of them a system
prompt of 2 KB more comes before each question, the same each time.

The rounds share a process with the clients of all the other ways. So the mirror and the pair are also measured as a
service has them: alone in a process, for five seconds on end, in turns, medians of five processes; the ratios are of
these. One more row has the rounds with all of the process's threads on one core, where none finds its caches changed by
another core.

"a computation" is some 33 µs of Python: what the mirror's thread, which needs the same interpreter, does to a service.

Kafka is the embedded broker and, where it can be fetched, Apache Kafka, each in a process of its own;
``SHADOWLANE_TEST_KAFKA`` gives another address in place of both.
"""

import gc
import itertools
import json
import logging
import multiprocessing
import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import confluent_kafka
import orjson
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.brokers import EMBEDDED, broker, names
from shadowlane import Mirror
from shadowlane.schemas.events import MirroredRequest, Protocol, Response
from shadowlane.schemas.topics import Topics

RATE = 5_000
BYTES_PER_SECOND = 20_000_000
ROUND_S = 0.4
SIZES = {1: 2, 2: 4, 16: 2, 256: 2}  # KB of a request and its answer together -> rounds
QUESTION = "Where is my order? It was promised for Tuesday and nobody answers the phone. "
ANSWER = "I'm sorry about the delay. Your order left the warehouse and is on its way to you. "
PARTITIONS = (1, 16)
DIFFERENT = 4096  # pairs of texts, before the first comes again
CHAT = Protocol.OPENAI_CHAT

PIECES = "mirror, hook by hook"
NOTHING, FLOOR, MIRROR, PAIR = "nothing", "deque.append", "mirror", "orjson.dumps and Producer.produce"
CLOSER, PROMPTED = "mirror, text with numbers", "the same after a prompt of 2 KB"
ALONE, ONE_CORE = "{}, alone in its process", "mirror, the process on one core"
ALONE_S = 5.0
TURNS = 5
UNREDACTED, OBSERVED, FULL = "mirror, content full", "mirror.observe", "mirror, Kafka away, buffer full"
Row = dict[str, float]


def run() -> dict[str, Any]:
    """Microseconds by broker, kilobytes, way and figure; and what became of the mirror's requests."""
    found: dict[str, Any] = {}
    for kind in names():
        found[kind] = {}
        with broker(kind) as bootstrap:
            for kilobytes in SIZES if kind == EMBEDDED else (2,):
                found[kind][kilobytes] = _measure(bootstrap, kilobytes)
                _print(kind, kilobytes, found[kind][kilobytes])
    return found


def growth() -> dict[str, Any]:
    """On the embedded broker: 2 KB with other numbers of partitions, and in two processes of half the calls each."""
    found: dict[str, Any] = {}
    with broker(EMBEDDED) as bootstrap:
        for partitions in PARTITIONS:
            what = f"{partitions} partitions"
            found[what] = _measure(bootstrap, 2, partitions)
            _print(what, 2, found[what])
        _create(bootstrap, topics := Topics(f"bench-{os.getpid()}-processes"), 4)
        for processes in (1, 2):
            rate = RATE // processes
            with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
                idle, *rows = (
                    list(pool.map(_alone, [(bootstrap, topics.prefix, rate, name)] * processes))
                    for name in (NOTHING, *[MIRROR] * TURNS)
                )
            every = [row for turn in rows for row in turn]
            row = {key: statistics.median(r[key] for r in every) for key in every[0]}
            row["cpu"] -= statistics.median(r["cpu"] for r in idle)
            what = f"{processes} processes, {rate} calls a second each"
            print(f"{what:46}" + "".join(f"{value:8.1f}" for value in row.values()))
            found[what] = row
    return found


def _by_themselves(bootstrap: str, topics: Topics) -> dict[str, Row]:
    """The mirror and the pair as a service has them: one alone in a process, for seconds on end, in turns."""
    took: dict[str, list[Row]] = {NOTHING: [], MIRROR: [], PAIR: []}
    for turn in range(TURNS):
        for name in sorted(took, reverse=bool(turn % 2)):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                took[name].append(pool.submit(_alone, (bootstrap, topics.prefix, RATE, name)).result())
    rows = {
        name: {key: statistics.median(r[key] for r in rows) for key in rows[0]} for name, rows in took.items()
    }
    idle = rows.pop(NOTHING)["cpu"]
    return {ALONE.format(name): row | {"cpu": row["cpu"] - idle} for name, row in rows.items()}


def _alone(task: tuple[str, str, int, str]) -> Row:
    """One way, in a process of its own."""
    bootstrap, prefix, rate, name = task
    ways = Ways(bootstrap, Topics(prefix), 2, few=True)
    way = ways.all[name]
    _round(way, way, rate, 1.0, ways.flush)
    row = _round(way, way, rate, ALONE_S, ways.flush)
    ways.close()
    return row


class Ways:
    """Each way to mirror a call of so many kilobytes, and how to wait until all it left behind is done."""

    def __init__(self, bootstrap: str, topics: Topics, kilobytes: int, *, few: bool = False) -> None:
        half = kilobytes * 512
        answer = (ANSWER * (half // len(ANSWER) + 1))[: half - 90]
        question = (QUESTION * (half // len(QUESTION) + 1))[: half - 60]
        body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": question}]})
        reply = orjson.dumps(
            {"choices": [{"message": {"content": answer}, "finish_reason": "stop"}], "model": "m"}
        )
        self.mirror = Mirror("bench", kafka=bootstrap, topic_prefix=topics.prefix)
        unredacted = Mirror("bench", kafka=bootstrap, topic_prefix=topics.prefix, content="full")
        away = Mirror("bench", kafka="127.0.0.1:1", topic_prefix=topics.prefix, buffer_bytes=4_000_000)
        client = cache(
            lambda: confluent_kafka.Producer(
                {"bootstrap.servers": bootstrap, "linger.ms": 5, "acks": "all", "log_level": 0}
            )
        )
        bare: deque[tuple[bytes, bytes]] = deque(maxlen=100)

        def mirrored(mirror: Mirror) -> Callable[[], None]:
            def call() -> None:
                exchange = mirror.begin("/ask", CHAT)
                if exchange is not None:
                    exchange.request(body)
                    exchange.end(200, reply, "application/json")

            return call

        def different(prompt: str) -> Callable[[], None]:
            bodies = [_different(n, half, prompt) for n in range(DIFFERENT)]
            following = itertools.cycle(bodies).__next__

            def call() -> None:
                asked, answered = following()
                exchange = self.mirror.begin("/ask", CHAT)
                if exchange is not None:
                    exchange.request(asked)
                    exchange.end(200, answered, "application/json")

            return call

        def pieces() -> None:
            exchange = self.mirror.begin("/ask", CHAT)
            if exchange is not None:
                exchange.request(body)
                exchange.respond(200, "application/json")
                exchange.chunk(reply)
                exchange.finish()

        @self.mirror.observe(route="/ask")
        def observed(question: str) -> str:
            return answer

        def produced() -> None:
            now = time.time_ns() // 1_000_000
            request = MirroredRequest(
                request_id=os.urandom(16).hex(),
                ts=now,
                service="bench",
                route="/ask",
                protocol=CHAT,
                body=orjson.Fragment(body),
            )
            response = Response(
                request_id=request.request_id,
                ts=now,
                completed_at=now,
                service="bench",
                route="/ask",
                role="served",
                output=answer,
            )
            producer = client()
            producer.produce(topics.requests, orjson.dumps(request))
            producer.produce(topics.served, orjson.dumps(response))
            producer.poll(0)

        def flush() -> None:
            self.mirror.flush(30)
            unredacted.flush(30)
            if client.cache_info().currsize:
                client().flush(30)

        self.flush = flush
        self.all: dict[str, Callable[[], None]] = {
            NOTHING: lambda: None,
            FLOOR: lambda: bare.append((body, reply)),
            MIRROR: mirrored(self.mirror),
            UNREDACTED: mirrored(unredacted),
            PAIR: produced,
        }
        if kilobytes == 2 and not few:
            self.all |= {CLOSER: different(""), PROMPTED: different(_told(0, 2048))}
            self.all |= {PIECES: pieces, OBSERVED: lambda: observed(question), FULL: mirrored(away)}
            for _ in range(4_000_000 // 2048):
                self.all[FULL]()  # full from the start
        self.mirrors = [self.mirror, unredacted, away]

    def close(self) -> None:
        for mirror in self.mirrors:
            mirror.close(0)


def _told(n: int, size: int) -> str:
    line = f"Order {n} was promised for Tuesday, the {n % 28 + 1}th: nobody answers the phone, and the follow-up "
    line += f"mail of {n % 50 + 2} lines that I wrote on Friday was not answered either. "
    return (line * (size // len(line) + 1))[:size]


def _different(n: int, half: int, prompt: str) -> tuple[bytes, bytes]:
    """A request and its answer, other ones for each ``n``."""
    asked = [{"role": "user", "content": _told(n, half - 60)}]
    if prompt:
        asked.insert(0, {"role": "system", "content": prompt})
    answer = [{"message": {"content": _told(n + DIFFERENT, half - 90)}, "finish_reason": "stop"}]
    return orjson.dumps({"model": "m", "messages": asked}), orjson.dumps({"choices": answer, "model": "m"})


def _create(bootstrap: str, topics: Topics, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for made in admin.create_topics([NewTopic(t, partitions, 1) for t in topics.all]).values():
        made.result(30)


def _measure(bootstrap: str, kilobytes: int, partitions: int = 4) -> dict[str, Any]:
    topics = Topics(f"bench-{os.getpid()}-{kilobytes}-{partitions}")
    _create(bootstrap, topics, partitions)
    logging.getLogger("shadowlane.mirror").setLevel(logging.CRITICAL)  # that Kafka is away is meant
    ways = Ways(bootstrap, topics, kilobytes)
    rate = min(RATE, BYTES_PER_SECOND // (kilobytes * 1024))
    took: dict[str, list[Row]] = {name: [] for name in ways.all}
    for way in ways.all.values():
        _round(way, way, rate, 0.1, ways.flush)
    for _ in range(SIZES[kilobytes]):
        for name, way in ways.all.items():
            took[name].append(_round(way, way, rate, ROUND_S, ways.flush))
        for name in (NOTHING, MIRROR, PAIR) if kilobytes == 2 else ():
            beside = _round(_compute, ways.all[name], rate, ROUND_S, ways.flush)
            took.setdefault(f"a computation, beside {name}", []).append(beside)
        if kilobytes == 2:
            took.setdefault(ONE_CORE, []).append(_on_one_core(ways.all[MIRROR], rate, ways.flush))
    stats = ways.mirror.stats()
    ways.close()
    rows = {
        name: {key: statistics.median(r[key] for r in rows) for key in rows[0]} for name, rows in took.items()
    }
    idle = rows[NOTHING]["cpu"]
    for row in rows.values():
        row["cpu"] -= idle
    if kilobytes == 2 and partitions == 4:
        rows |= _by_themselves(bootstrap, topics)
    mirror, pair = (rows.get(ALONE.format(name), rows[name]) for name in (MIRROR, PAIR))
    return {
        "calls_per_second": rate,
        "microseconds": rows,
        "path_of_pair": mirror["p50"] / pair["p50"],
        "cpu_of_pair": mirror["cpu"] / pair["cpu"],
        "mirror": {k: stats[k] for k in ("eligible", "mirrored", "dropped")},
    }


def _on_one_core(way: Callable[[], None], rate: int, flush: Callable[[], None]) -> Row:
    def bind(cores: set[int]) -> None:
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.sched_setaffinity(int(thread), cores)

    cores = os.sched_getaffinity(0)
    bind({min(cores)})
    try:
        return _round(way, way, rate, ROUND_S, flush)
    finally:
        bind(cores)


def _compute() -> None:
    total = 0
    for n in range(1_150):
        total += n * n


def _round(
    timed: Callable[[], None], way: Callable[[], None], rate: int, seconds: float, flush: Callable[[], None]
) -> Row:
    """p50, p99, p99.9 and CPU a call, in microseconds. Calls that come evenly, late ones at once; where the
    two are not the same, ``way`` follows untimed."""
    calls = max(20, int(rate * seconds))
    times = [0.0] * calls
    gc.collect()
    clock = time.perf_counter
    cpu = time.process_time()
    begun = clock()
    for n in range(calls):
        due = begun + n / rate
        while (left := due - clock()) > 0:
            time.sleep(left)
        before = clock()
        timed()
        times[n] = clock() - before
        if way is not timed:
            way()
    flush()
    cpu = time.process_time() - cpu
    times.sort()
    row = {f"p{100 * q:g}": 1e6 * times[min(calls - 1, int(q * calls))] for q in (0.5, 0.99, 0.999)}
    return row | {"cpu": 1e6 * cpu / calls}


def _print(kind: str, kilobytes: int, found: dict[str, Any]) -> None:
    print(f"\n{kind}, {kilobytes} KB, {found['calls_per_second']} calls a second; µs a call")
    print(f"{'':46}{'p50':>8}{'p99':>8}{'p99.9':>8}{'CPU':>8}")
    for name, row in found["microseconds"].items():
        print(f"{name:46}" + "".join(f"{value:8.1f}" for value in row.values()))
    print(
        f"of the pair: path {found['path_of_pair']:.2f}, CPU {found['cpu_of_pair']:.2f}; "
        f"mirror {json.dumps(found['mirror'])}"
    )


if __name__ == "__main__":
    growth() if sys.argv[1:] == ["growth"] else run()
