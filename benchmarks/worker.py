"""The shadow worker's calls, beside a bare aiohttp loop that keeps nothing, and beside the openai SDK.

500 in flight, to a local candidate in a process of its own that answers after 50 ms. The worker is
`shadowlane run worker` on the embedded broker: it reads requests of 1.2 KB, asks, writes the responses, commits. The
two loops only ask, with a body of the same size. CPU is that of the asking process alone, all its threads; each way is
measured from its 500th call on, so that starting costs nothing. Then how the worker grows: with the size of a request,
and with two processes.

    python -m benchmarks.worker
"""

import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.sink import cpu_of, peak_of
from benchmarks.worker_peers import BODY, IN_FLIGHT
from shadowlane.processors.kafka import ensure_topics
from shadowlane.processors.produce import EnvelopeProducer
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import Envelope, Kafka
from shadowlane.schemas.events import MirroredRequest
from shadowlane.schemas.topics import partition_of
from tests.services import embedded_broker, free_port, running

CALLS = 6_000
OPENAI_CALLS = 1_500
ROUNDS = 3
SIZES = {16_000: 3_000, 256_000: 500}
"""Bytes of a request, and how many of them."""


class Cost(NamedTuple):
    """Calls a second by the clock, calls a second of CPU, and the most memory of one process, MiB."""

    rate: float
    per_core: float
    peak: float


def run() -> dict[str, Any]:
    """Calls by way; prints a table."""
    found: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder, embedded_broker() as broker:
        for _ in range(ROUNDS):
            for way, cost in (
                ("aiohttp alone", peer("aiohttp", CALLS)),
                ("worker", worker(broker.bootstrap_servers, Path(folder), CALLS)),
                ("openai SDK", peer("openai", OPENAI_CALLS)),
            ):
                found.setdefault(way, []).append(cost)
        found["two workers"] = [worker(broker.bootstrap_servers, Path(folder), CALLS, processes=2)]
        for size, calls in SIZES.items():
            cost = worker(broker.bootstrap_servers, Path(folder), calls, size=size)
            found[f"worker, requests of {size // 1000} KB"] = [cost]
    table = {
        way: {
            field: round(statistics.median(getattr(cost, field) for cost in costs)) for field in Cost._fields
        }
        for way, costs in found.items()
    }
    print(f"{'':<36}{'calls/s':>10}{'a core':>10}{'MiB at most':>13}")
    for way, figures in table.items():
        print(f"{way:<36}{figures['rate']:>10,}{figures['per_core']:>10,}{figures['peak']:>13,}")
    ratios = {
        peer_: statistics.median(
            mine.per_core / its.per_core for mine, its in zip(found["worker"], found[peer_], strict=True)
        )
        for peer_ in ("aiohttp alone", "openai SDK")
    }
    print(", ".join(f"{ratio:.2f} of {peer_}" for peer_, ratio in ratios.items()))
    return {"rounds": ROUNDS, "in_flight": IN_FLIGHT, "ratios": ratios, "costs": table}


def peer(what: str, calls: int) -> Cost:
    port = free_port()
    with running("benchmarks.worker_peers", "candidate", "--port", str(port)):
        command = [sys.executable, "-m", "benchmarks.worker_peers", what]
        process = subprocess.Popen([*command, "--port", str(port), "--calls", str(calls)])
        cost = _measured(port, calls, [process])
        process.wait(60)
        return cost


def worker(bootstrap: str, folder: Path, calls: int, *, processes: int = 1, size: int = 0) -> Cost:
    """``size``: bytes of a request; 0: as the peers'."""
    port = free_port()
    kafka = Kafka(bootstrap_servers=bootstrap, topic_prefix=f"b{uuid.uuid4().hex[:8]}")
    partitions = ensure_topics(kafka)[kafka.topics.requests]
    config = folder / "worker.yaml"
    version = {"kind": "openai", "model": "m", "base_url": f"http://127.0.0.1:{port}/v1"}
    document = {
        "kafka": {"bootstrap_servers": bootstrap, "topic_prefix": kafka.topic_prefix},
        "worker": {"concurrency": IN_FLIGHT // processes},
        "rollouts": [{"name": "bench", "candidate": version}],
    }
    config.write_text(yaml.safe_dump(document))
    producer = EnvelopeProducer(kafka, Envelope(), "bench")
    for number in range(calls):
        request = _request(number, size)
        producer.send(kafka.topics.requests, partition_of(request.request_id, partitions), encode(request))
    if producer.close(120):
        raise RuntimeError("the requests could not be written to the broker")
    command = [sys.executable, "-m", "shadowlane.cli", "run", "worker", "--config", str(config)]
    with ExitStack() as stack:
        stack.enter_context(running("benchmarks.worker_peers", "candidate", "--port", str(port)))
        workers = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(processes)]
        try:
            return _measured(port, calls, workers)
        finally:
            for process in workers:
                process.terminate()
            for process in workers:
                process.wait(60)


def _request(number: int, size: int) -> MirroredRequest:
    body: dict[str, Any] = dict(BODY)
    if size:
        body["messages"] = [{"role": "user", "content": "A word of many. " * (size // 16)}]
    return MirroredRequest(
        request_id=f"{1_700_000_000_000 + number:013x}{number:019x}",
        ts=1_700_000_000_000 + number,
        service="bench",
        route="/v1/chat/completions",
        protocol="openai.chat",
        body=body,
        attributes={"tenant": f"t{number % 20}"},
    )


def _measured(port: int, calls: int, processes: list[subprocess.Popen[bytes]]) -> Cost:
    """From the first calls of this many processes on, until all but the last ones are made."""
    pids = [process.pid for process in processes]
    first = _until(port, min(IN_FLIGHT, calls // 4), processes)
    started, cpu = time.perf_counter(), cpu_of(*pids)
    last = _until(port, calls - min(IN_FLIGHT, calls // 4), processes)
    seconds, cpu = time.perf_counter() - started, cpu_of(*pids) - cpu
    return Cost((last - first) / seconds, (last - first) / cpu, max(map(peak_of, pids)))


def _until(port: int, calls: int, processes: list[subprocess.Popen[bytes]]) -> int:
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            made = int(answer.read())
        if made >= calls:
            return made
        for process in processes:
            if process.poll():
                raise RuntimeError(f"it stopped with exit code {process.returncode}")
        time.sleep(0.02)


if __name__ == "__main__":
    run()
