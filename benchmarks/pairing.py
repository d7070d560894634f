"""Pairs per second through the Faust app, beside stream processors that do the same, a plain loop, and orjson alone.

    python benchmarks/pairing.py                            # the tables, on both brokers
    python benchmarks/pairing.py growth embedded|apache     # by payload, partitions and processes
    python benchmarks/pairing.py memory embedded|apache     # while one side is far behind

The topics are full before the clock starts. It runs from the first message that a process reads to the time at which
the last pair can be read; the CPU is that of the whole process in this time. Every one has a process of its own, and
all take turns within one run. `BENCH_PEERS` names the Python of a venv with requirements-peers.txt (`make bench` makes
one): without it the peers are left out.

The scorers' own share is what would be saved if they took no time: the CPU with the default scorers less the CPU with
scorers that say at once, of each pair, what the same scorer said of the first. All around them stays: that they are
called, what they say is checked and weighed, and the pair carries it.

The loop is what one would write by hand: confluent-kafka, a dict, produce. It keeps no promise: what it has
read and not paired is lost when it stops, and it knows no scores, no expiry and no repetitions.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from confluent_kafka import Consumer, TopicPartition

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import pairing_peers, pairing_ways
from benchmarks.brokers import APACHE, EMBEDDED, broker, names
from benchmarks.pairing_data import Lines, Load, configure, fill, records
from shadowlane.evaluators.scorers.registry import find, make
from shadowlane.processors.kafka import client_options
from shadowlane.schemas.codec import decode
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import Response

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
LOAD = Load()
WAYS = {
    "faust_scored": "pairing in Faust, the default scorers",
    "faust_echo": "the same, scorers that say again what they said first",
    "faust": "pairing in Faust, no scorers",
    "quix": "quixstreams, RocksDB and changelog, a record a message",
    "quix_envelopes": "quixstreams, RocksDB and changelog, the same envelopes",
    "bytewax": "bytewax, its recovery store on, the same envelopes",
    "plain_loop": "a plain confluent-kafka loop, which survives nothing",
}
ALONE = {
    "orjson_floor": "orjson alone: decode two, encode the pair",
    "scorers_alone": "the default scorers' functions alone",
}
# The floor and the other form of a peer are no other there.
ONLY_EMBEDDED = ("quix", "plain_loop")
PEERS = os.path.abspath(peers) if (peers := os.environ.get("BENCH_PEERS")) else ""


@dataclass
class Measured:
    """One round: pairs a second by the clock, and µs of CPU a pair."""

    rate: float
    cpu_us: float


def run() -> dict[str, Any]:
    """Pairs per second and CPU by way of pairing, on both brokers; prints a table for each."""
    lines = records(LOAD)
    if not PEERS:
        print("without quixstreams and bytewax: BENCH_PEERS is not set")
    result: dict[str, Any] = {"pairs": LOAD.pairs, "records_per_envelope": LOAD.envelope, "rounds": ROUNDS}
    for name in names():
        with broker(name) as bootstrap:
            result[name] = table(name, bootstrap, lines)
    return result


def table(name: str, bootstrap: str, lines: Lines) -> dict[str, Any]:
    ways = [way for way in WAYS if PEERS or not way.startswith(("quix", "bytewax"))]
    ways = [way for way in ways if name == EMBEDDED or way not in ONLY_EMBEDDED]
    found: dict[str, list[Measured]] = defaultdict(list)
    for _ in range(ROUNDS):
        for way in ways:
            found[way].append(measure(way, bootstrap, lines, LOAD))
        found["orjson_floor"].append(floor(lines, LOAD))
        found["scorers_alone"].append(scorers_alone(lines))
    print(f"on {name:<55}{'pairs/s':>9}{'lowest':>9}{'highest':>9}{'CPU µs/pair':>13}")
    result: dict[str, Any] = {}
    for way, label in (WAYS | ALONE).items():
        if way in found:
            rates, cpu = [m.rate for m in found[way]], statistics.median(m.cpu_us for m in found[way])
            result[way] = {
                "pairs_per_second": round(statistics.median(rates)),
                "cpu_us_per_pair": round(cpu, 1),
            }
            print(
                f"{label:<58}{statistics.median(rates):>9,.0f}{min(rates):>9,.0f}{max(rates):>9,.0f}{cpu:>13.1f}"
            )
    share = scorers_share(found)
    print(f"the scorers' own share of the CPU with the default scorers on: {share:.0%}\n", flush=True)
    return result | {"scorers_share": round(share, 3)}


def growth(name: str) -> None:
    """How the Faust app's rate, and the scorers' share, change with what is given; prints a table."""
    each = {
        "1 KB": (LOAD, 1),
        "16 KB": (replace(LOAD, pairs=4_000, size=16 * 1024, envelope=8), 1),
        "256 KB": (replace(LOAD, pairs=400, size=256 * 1024, envelope=1), 1),
        "128 records an envelope": (replace(LOAD, envelope=128), 1),
        "1 partition": (replace(LOAD, partitions=1), 1),
        "16 partitions": (replace(LOAD, partitions=16), 1),
        "2 processes": (LOAD, 2),
    }
    print(f"{'':<26}{'no scorers':>12}{'CPU µs':>9}{'scorers':>12}{'CPU µs':>9}{'share':>8}{'floor':>12}")
    with broker(name) as bootstrap:
        for label, (load, processes) in each.items():
            lines, found = records(load), defaultdict[str, list[Measured]](list)
            for _ in range(ROUNDS):
                for way in ("faust", "faust_echo", "faust_scored"):
                    found[way].append(measure(way, bootstrap, lines, load, processes))
            row = f"{label:<26}"
            for way in ("faust", "faust_scored"):
                row += f"{statistics.median(m.rate for m in found[way]):>12,.0f}"
                row += f"{statistics.median(m.cpu_us for m in found[way]):>9,.0f}"
            print(f"{row}{scorers_share(found):>8.0%}{floor(lines, load).rate:>12,.0f}", flush=True)


def scorers_share(found: dict[str, list[Measured]]) -> float:
    """Of all CPU. By round, so that what is compared is of the same hour: the machine may be another's too."""
    return statistics.median(
        1 - without.cpu_us / with_them.cpu_us
        for without, with_them in zip(found["faust_echo"], found["faust_scored"], strict=True)
    )


def memory(name: str) -> None:
    """What a process takes while one side is far behind: all is served, and no shadow half comes."""
    print(f"{'output':<12}{'bound, MiB':>12}{'grown by, MiB':>15}{'ratio':>8}")
    with broker(name) as bootstrap:
        for label, load in (
            ("1 KB", replace(LOAD, pairs=100_000)),
            ("16 KB", replace(LOAD, pairs=12_000, size=2**14)),
        ):
            bound = 64 * 2**20
            lines = {number: (served, list[bytes]()) for number, (served, _) in records(load).items()}
            settings = configure(bootstrap, f"bench-{uuid4().hex[:8]}", load, scored=False)
            settings = settings.model_copy(
                update={"pairing": settings.pairing.model_copy(update={"max_waiting_bytes": bound})}
            )
            fill(settings, {0: ([lines[0][0][0]], [])}, load)  # so that all is loaded
            with process(
                [sys.executable, pairing_ways.__file__, "faust", settings.model_dump_json()]
            ) as child:
                assert child.stdout is not None
                child.stdout.readline()
                time.sleep(2)
                before = resident(child.pid)
                fill(settings, lines, load)
                time.sleep(20)
                grown = resident(child.pid) - before
            print(f"{label:<12}{bound >> 20:>12}{grown >> 20:>15}{grown / bound:>8.2f}", flush=True)


def resident(pid: int) -> int:
    """Bytes, as Linux counts them."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(way: str, bootstrap: str, lines: Lines, load: Load, processes: int = 1) -> Measured:
    prefix = f"bench-{uuid4().hex[:8]}"
    settings = configure(bootstrap, prefix, load, scored=way in ("faust_scored", "faust_echo"))
    command = [sys.executable, pairing_ways.__file__, way, settings.model_dump_json()]
    if way.startswith(("quix", "bytewax")):
        command = [PEERS, pairing_peers.__file__, way, bootstrap, prefix]
    if processes == 1:
        fill(settings, lines, load, single=way == "quix")
    with ExitStack() as stack:
        children = [stack.enter_context(process(command)) for _ in range(processes)]
        if processes > 1:
            time.sleep(20)  # all of them are in the group, or one would have read it all
            fill(settings, lines, load)
        started, cpu = float("inf"), 0.0
        for child in children:
            assert child.stdout is not None
            started = min(started, float(child.stdout.readline()))
            cpu -= cpu_seconds(child.pid)
        end = last_pair(settings, children, load)
        cpu += sum(cpu_seconds(child.pid) for child in children)
    return Measured(load.pairs / (end - started), cpu / load.pairs * 1e6)


@contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    quiet = os.environ | {"PYTHONWARNINGS": "ignore"}  # of the peers' own dependencies
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=quiet)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process, as Linux counts it."""
    numbers = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def last_pair(settings: Settings, children: list[subprocess.Popen[bytes]], load: Load) -> float:
    """When the last pair can be read, in Unix seconds. By the clock: quixstreams hands its input's times on."""
    options = {"group.id": "bench", "fetch.wait.max.ms": 20}
    consumer = Consumer(client_options(settings.kafka, "bench") | options)
    consumer.assign([TopicPartition(settings.kafka.topics.pairs, n, 0) for n in range(load.partitions)])
    seen = 0
    while seen < load.pairs:
        for child in children:
            assert child.poll() is None, f"it stopped with exit code {child.returncode}"
        for message in consumer.consume(1000, 0.02):
            assert message.error() is None, message.error()
            seen += (message.value() or b"").count(b"\n") + 1
    last = time.time()
    consumer.close()
    return last


def floor(lines: Lines, load: Load) -> Measured:
    started, cpu = time.perf_counter(), time.process_time()
    for served, shadow in lines.values():
        for one, two in zip(served, shadow, strict=True):
            orjson.dumps(pairing_peers.pair(orjson.loads(one), orjson.loads(two)))
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    return Measured(load.pairs / elapsed, cpu / load.pairs * 1e6)


def scorers_alone(lines: Lines, pairs: int = 4000) -> Measured:
    """The default scorers' functions on the same pairs, called one after the other, with nothing around them."""
    rollout = configure("none", "none", LOAD, scored=True).rollouts[0]
    calls = []
    for scorer in rollout.scorers:
        target, mark = find(scorer.name, "")
        calls.append((mark.kind, make(target, mark, scorer.options, {}, "")))
    halves = [
        (decode(Response, one), decode(Response, two))
        for served, shadow in lines.values()
        for one, two in zip(served[: pairs // len(lines)], shadow, strict=False)
    ]
    started = time.process_time()
    for stable, candidate in halves:
        for kind, call in calls:
            if kind == "side":
                call(candidate.request, stable)
                call(candidate.request, candidate)
            else:
                call(candidate.request, stable, candidate)
    cpu = (time.process_time() - started) / len(halves)
    return Measured(1 / cpu, cpu * 1e6)


if __name__ == "__main__":
    if sys.argv[1:2] in (["growth"], ["memory"]):
        which = {"embedded": EMBEDDED, "apache": APACHE}[sys.argv[2]]
        {"growth": growth, "memory": memory}[sys.argv[1]](which)
    else:
        run()
