"""From the moment a request is complete in the service to its pair's row in the store, whole system, one machine.

At a steady rate, through the mirror, the worker (to a local candidate that answers at once), pairing and the
sink, after some seconds at that rate. The row's time is when a query first sees it, polled every 50 ms: half of
that is the error. More often, the polls would take a good part of a core, and with it the time of what they measure.
"""

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import clickhouse_connect
from rich.console import Console
from rich.table import Table

from benchmarks.brokers import EMBEDDED, names
from benchmarks.system import running
from shadowlane.producers import Mirror
from tests.services import free_ports, free_ports_in_a_row
from tests.services import running as running_module

RATES = (20, 100, 300)
SECONDS = 15
WARM_S = 5
POLL_S = 0.05


def run() -> dict[str, Any]:
    """Milliseconds by broker and rate: p50, p95, p99, and the first request's; prints a table for each."""
    return {name: measured(name) for name in names()}


def measured(name: str) -> dict[str, Any]:
    port, kafka = free_ports(1)[0], free_ports_in_a_row(2)
    settings = {
        "kafka": {"bootstrap_servers": f"127.0.0.1:{kafka}"},
        "rollouts": [
            {
                "name": "latency",
                "candidate": {"kind": "http", "model": "m", "base_url": f"http://127.0.0.1:{port}/v1/x"},
                "stages": [{"name": "shadow", "duration_hours": 0, "traffic_cycle_hours": 0}],
            }
        ],
    }
    result: dict[str, Any] = {}
    options = [] if name == EMBEDDED else ["--broker", "kafka"]
    with (
        tempfile.TemporaryDirectory() as folder,
        running_module("tests.e2e.candidate", "--port", str(port)),
        running(Path(folder), settings, *options) as system,
    ):
        mirror = Mirror(service="latency", kafka=system.kafka)
        store = system.settings["clickhouse"]["port"]
        result["first_ms"] = _measure(mirror, store, "first", rate=1, seconds=1)[0]
        for rate in RATES:
            taken = sorted(_measure(mirror, store, f"at {rate}", rate=rate, seconds=SECONDS, warm=WARM_S))
            cuts = statistics.quantiles(taken, n=100)
            result[f"{rate}_per_s"] = {
                "p50_ms": cuts[49],
                "p95_ms": cuts[94],
                "p99_ms": cuts[98],
                "n": len(taken),
            }
        mirror.close()
    _print(name, result)
    return result


def _measure(
    mirror: Mirror, store: int, route: str, *, rate: int, seconds: int, warm: int = 0
) -> list[float]:
    """Milliseconds from the end of each call to its row, but for the calls of the first ``warm`` seconds."""
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    total = rate * (warm + seconds)

    @mirror.observe(route=route)
    def answer(messages: list[dict[str, str]]) -> str:
        return f"An answer to {messages[0]['content']}"

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
            answer([{"role": "user", "content": f"question {number}"}])
        sent[str(number)] = time.monotonic()
    watcher.join()
    if len(seen) < total:
        raise RuntimeError(
            f"{total - len(seen)} of {total} rows never came; the mirror says {mirror.stats()}"
        )
    return [(seen[number] - at) * 1000 for number, at in list(sent.items())[rate * warm :]]


def _print(name: str, result: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, title=f"on {name}", title_justify="left")
    for column in ("requests a second", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(column, justify="right")
    for name, figures in result.items():
        if isinstance(figures, dict):
            row = (f"{figures[key]:.0f}" for key in ("p50_ms", "p95_ms", "p99_ms"))
            table.add_row(name.removesuffix("_per_s"), *row)
    console = Console()
    console.print(table)
    console.print(f"the first request of all: {result['first_ms']:.0f} ms")


if __name__ == "__main__":
    run()
