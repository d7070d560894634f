"""What an audit costs: 100,000 and 1,000,000 records in Kafka, all of which are in the store; records a second, memory.

Each request is four records (request, served and shadow response, pair) of 1 KB of text, in envelopes of 100. The
audit runs in a process of its own, whose peak memory is taken. Beside it, in the same run: reading the same records
from Kafka and doing nothing with them, the least that it has to do.

    python -m benchmarks.audit [RECORDS …]
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from shadowlane.processors.audit import audit
from shadowlane.processors.audit.logs import Logs, Reading
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import LedgerCell
from tests.processors.audit.world import MINUTE, World
from tests.services import embedded_broker, embedded_store

SIZES = (100_000, 1_000_000)
ENVELOPE = 200  # over two partitions
TEXT = "answer " * 146
ROUNDS = 3


def run(sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    """Seconds, records a second and peak memory by number of records; prints a table."""
    results: dict[str, Any] = {}
    print(
        f"{'records':>10}{'audit':>10}{'its CPU':>10}{'records/s':>12}{'peak':>10}{'reading alone':>16}{'ratio':>8}"
    )
    for size in sizes:
        with (
            tempfile.TemporaryDirectory() as folder,
            embedded_store(Path(folder)) as store,
            embedded_broker() as broker,
        ):
            world = World(broker, store, text=TEXT, at=lambda name: MINUTE + int(name[2:]))
            fill(world, size // 4)
            document = world.settings.model_dump_json()
            rounds = [(apart("whole", document), apart("floor", document)) for _ in range(ROUNDS)]
            world.close()
        seconds = statistics.median(whole["s"] for whole, _ in rounds)
        floor = statistics.median(alone["s"] for _, alone in rounds)
        row = {
            "s": seconds,
            "records_per_s": size / seconds,
            "peak_mib": max(whole["peak_mib"] for whole, _ in rounds),
            "cpu_s": statistics.median(whole["cpu_s"] for whole, _ in rounds),
            "floor_s": floor,
        }
        results[f"{size}"] = row
        print(
            f"{size:>10,}{seconds:>8.1f} s{row['cpu_s']:>8.1f} s{row['records_per_s']:>12,.0f}"
            f"{row['peak_mib']:>6.0f} MiB{floor:>14.1f} s{seconds / floor:>8.1f}"
        )
    return results


def fill(world: World, requests: int) -> None:
    """So many requests, from the mirror to the store."""
    for at in range(0, requests, ENVELOPE):
        ids = [f"id{n:09}" for n in range(at, min(at + ENVELOPE, requests))]
        topics = world.topics
        world.send(topics.requests, {name: world.request(name) for name in ids}, wait=False)
        world.send(topics.served, {name: world.response(name, "served") for name in ids}, wait=False)
        world.send(topics.shadow, {name: world.response(name, "shadow") for name in ids}, wait=False)
        world.send(topics.pairs, {name: world.pair(name) for name in ids}, wait=False)
    for at in range(0, requests, 10_000):
        world.store("pair_log", [world.pair(f"id{n:09}") for n in range(at, min(at + 10_000, requests))])
    minutes = Counter(MINUTE + n - n % 60_000 for n in range(requests))  # one comes each millisecond
    rows = ("eligible", "mirrored")
    world.store(
        "ledger_log",
        [
            LedgerCell(instance="m", minute=minute, service="shop", route="/", row=row, count=n)
            for minute, n in minutes.items()
            for row in rows
        ],
    )
    world.settle()
    world.commit("worker", world.topics.requests)
    world.commit("pairing", world.topics.served, world.topics.shadow)
    world.commit("sink", world.topics.pairs)


def apart(what: str, document: str) -> dict[str, float]:
    """In a process of its own."""
    code = "import sys; from benchmarks import audit; getattr(audit, sys.argv[1])(sys.argv[2])"
    done = subprocess.run(
        [sys.executable, "-c", code, what, document], capture_output=True, text=True, check=True
    )
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def whole(document: str) -> None:
    """An audit."""
    settings = Settings.model_validate_json(document)
    started = time.perf_counter()
    found = audit(settings)
    assert found.adds_up, found.gaps
    tell(time.perf_counter() - started)


def floor(document: str) -> None:
    """Every record read, and nothing else."""
    settings = Settings.model_validate_json(document)
    started = time.perf_counter()
    logs = Logs(settings.kafka)
    spans = logs.spans(logs.partitions())
    ends = {p: span.latest for p, span in spans.items()}
    for _ in logs.read({p: span.earliest for p, span in spans.items()}, ends, Reading()):
        pass
    tell(time.perf_counter() - started)


def tell(seconds: float) -> None:
    """To the process that started this one."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"s": seconds, "peak_mib": peak, "cpu_s": time.process_time()}))


if __name__ == "__main__":
    run(tuple(int(one) for one in sys.argv[1:]) or SIZES)
