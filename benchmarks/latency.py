"""From the moment a request is complete in the service to its pair's row in the store, whole system, one machine.

At a steady rate, through the mirror, the worker (to a local candidate that answers at once), pairing and the
sink, after some seconds at that rate. The row's time is when a query first sees it, polled every 50 ms: half of
that is the error. More often, the polls would take a good part of a core, and with it the time of what they measure.

    python -m benchmarks.latency            at 20, 100 and 300 requests a second, on both brokers
    python -m benchmarks.latency growth     by the size of a request and its answer, and by partitions
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect

from benchmarks.brokers import EMBEDDED, names
from benchmarks.system import running
from shadowlane.producers import Mirror
from tests.services import free_ports, free_ports_in_a_row
from tests.services import running as running_module

RATES = (20, 100, 300)
SECONDS = 15
WARM_S = 5
POLL_S = 0.05
SIZES = {1: 100, 16: 100, 256: 10}
"""Kilobytes of a request, and as many of each answer, by the rate."""
PARTITIONS = (1, 16)

Figures = dict[str, float]


def run() -> dict[str, Any]:
    """Milliseconds by broker and rate: p50, p95, p99, and the first request's; prints a table for each."""
    found: dict[str, Any] = {}
    for name in names():
        with _system(name) as (mirror, store):
            first = _measure(mirror, store, "first", rate=1, seconds=1)[0]
            rates = {f"{rate} a second": _figures(mirror, store, rate) for rate in RATES}
        _print(name, rates)
        print(f"the first request of all: {first:.0f} ms\n")
        found[name] = rates | {"first_ms": first}
    return found


def growth() -> dict[str, Any]:
    """The same by size and by partitions, on the embedded broker."""
    found = {}
    with _system(EMBEDDED) as (mirror, store):
        for size, rate in SIZES.items():
            found[f"{size} KB, {rate} a second"] = _figures(mirror, store, rate, kilobytes=size)
    for partitions in PARTITIONS:
        with _system(EMBEDDED, partitions) as (mirror, store):
            found[f"300 a second, {partitions} partitions"] = _figures(mirror, store, 300)
    _print(EMBEDDED, found)
    return found


@contextmanager
def _system(name: str, partitions: int = 4) -> Iterator[tuple[Mirror, int]]:
    """The whole system on that broker, a mirror, and the store's port."""
    port, kafka = free_ports(1)[0], free_ports_in_a_row(2)
    settings = {
        "kafka": {"bootstrap_servers": f"127.0.0.1:{kafka}", "partitions": partitions},
        "rollouts": [
            {
                "name": "latency",
                "candidate": {"kind": "http", "model": "m", "base_url": f"http://127.0.0.1:{port}/v1/x"},
                "stages": [{"name": "shadow", "duration_hours": 0, "traffic_cycle_hours": 0}],
            }
        ],
    }
    options = [] if name == EMBEDDED else ["--broker", "kafka"]
    with (
        tempfile.TemporaryDirectory() as folder,
        running_module("tests.e2e.candidate", "--port", str(port)),
        running(Path(folder), settings, *options) as system,
    ):
        mirror = Mirror(service="latency", kafka=system.kafka, max_body_bytes=2**20)
        yield mirror, system.settings["clickhouse"]["port"]
        mirror.close()


def _figures(mirror: Mirror, store: int, rate: int, *, kilobytes: int = 0) -> Figures:
    route = f"at {rate}, {kilobytes} KB"
    taken = _measure(mirror, store, route, rate=rate, seconds=SECONDS, warm=WARM_S, kilobytes=kilobytes)
    cuts = statistics.quantiles(taken, n=100)
    return {"p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98], "n": len(taken)}


def _measure(
    mirror: Mirror, store: int, route: str, *, rate: int, seconds: int, warm: int = 0, kilobytes: int = 0
) -> list[float]:
    """Milliseconds from the end of each call to its row, but for the calls of the first ``warm`` seconds."""
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    total = rate * (warm + seconds)
    text = " A word of many." * (64 * kilobytes)

    @mirror.observe(route=route)
    def answer(messages: list[dict[str, str]]) -> str:
        return f"An answer.{text}"

    def watch() -> None:
        client = clickhouse_connect.get_client(
            port=store, database="shadowlane", autogenerate_session_id=False
        )
        query = (
            "SELECT attributes['n'] FROM pair_log "
            "WHERE route = {route:String} AND outcome = 'scored' AND toUInt32(attributes['n']) >= {first:UInt32}"
        )
        first = 0  # that has not come: to read all of them each time would cost more than what is measured
        deadline = time.monotonic() + warm + seconds + 60
        while len(seen) < total and time.monotonic() < deadline:
            rows = client.query(query, parameters={"route": route, "first": first}).result_columns
            now = time.monotonic()
            for number in rows[0] if rows else ():
                seen.setdefault(number, now)
            while str(first) in seen:
                first += 1
            time.sleep(POLL_S)
        client.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.monotonic()
    for number in range(total):
        time.sleep(max(0.0, started + number / rate - time.monotonic()))
        with mirror.context(attributes={"n": str(number)}):
            answer([{"role": "user", "content": f"question {number}{text}"}])
        sent[str(number)] = time.monotonic()
    watcher.join()
    if len(seen) < total:
        raise RuntimeError(
            f"{total - len(seen)} of {total} rows never came; the mirror says {mirror.stats()}"
        )
    return [(seen[number] - at) * 1000 for number, at in list(sent.items())[rate * warm :]]


def _print(name: str, found: dict[str, Figures]) -> None:
    print(f"{'on ' + name:<34}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
    for what, figures in found.items():
        print(f"{what:<34}" + "".join(f"{figures[key]:>9.0f}" for key in ("p50_ms", "p95_ms", "p99_ms")))


if __name__ == "__main__":
    growth() if sys.argv[1:] == ["growth"] else run()
