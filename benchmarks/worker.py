"""The shadow worker's calls, beside a bare aiohttp loop that keeps nothing, and beside the openai SDK.

500 in flight, to a local candidate in a process of its own that answers after 50 ms. The worker is
`shadowlane run worker`: it reads requests of 1.2 KB, asks, writes the responses, commits. The
two loops only ask, with a body of the same size. CPU is that of the asking process alone, all its threads; each way is
measured from its 500th call on, so that starting costs nothing. Then how the worker grows: with the size of a request,
with partitions, and with two processes; and 1,000 in flight, of 50 ms and of 5 s, beside the bare loop.

    python -m benchmarks.worker
"""

import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from benchmarks.brokers import EMBEDDED, broker, names
from benchmarks.cost import Cost, cpu_of, medians, peak_of, ratio
from benchmarks.worker_peers import ANSWER_S, BODY, IN_FLIGHT
from shadowlane.processors.kafka import ensure_topics
from shadowlane.processors.produce import EnvelopeProducer
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import Envelope, Kafka
from shadowlane.schemas.events import MirroredRequest
from shadowlane.schemas.topics import partition_of
from tests.services import free_port, running

CALLS = 6_000
OPENAI_CALLS = 1_500
ROUNDS = 3
PARTITIONS = (1, 16)
SIZES = {16_000: 3_000, 256_000: 500}
"""Bytes of a request, and how many of them."""
ANSWERS = {600: 8_000, 64_000: 6_000, 1_000_000: 2_000}
BOUNDS = (64, 256, 16 * 1024)
"""MiB of worker.max_bytes: the last one is no bound."""
LONG = {0.05: 12_000, 5.0: 4_000}
"""Seconds that an answer takes with 1,000 in flight, and how many calls."""


def run() -> dict[str, Any]:
    """Calls by broker and way; prints a table for each."""
    found: dict[str, Any] = {"rounds": ROUNDS, "in_flight": IN_FLIGHT}
    found |= {name: measured(name) for name in names()}
    found |= {f"1,000 in flight, {answer_s:g} s": thousand(answer_s) for answer_s in LONG}
    return found | {"memory": memory()}


def measured(name: str) -> dict[str, Any]:
    found: dict[str, list[Cost]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, broker(name) as bootstrap:
        for _ in range(ROUNDS):
            found["aiohttp alone"].append(peer("aiohttp", CALLS))
            found["worker"].append(worker(bootstrap, Path(folder), CALLS))
            found["openai SDK"].append(peer("openai", OPENAI_CALLS))
        found["two workers"].append(worker(bootstrap, Path(folder), CALLS, processes=2))
        for partitions in PARTITIONS if name == EMBEDDED else ():
            way = f"worker, {partitions} partitions"
            found[way].append(worker(bootstrap, Path(folder), CALLS, partitions=partitions))
        for size, calls in SIZES.items() if name == EMBEDDED else ():
            way = f"worker, requests of {size // 1000} KB"
            found[way].append(worker(bootstrap, Path(folder), calls, size=size))
    table = medians(f"on {name}", "calls/s", found)
    ratios = {peer_: ratio(found["worker"], found[peer_]) for peer_ in ("aiohttp alone", "openai SDK")}
    print(", ".join(f"{ratio:.2f} of {peer_}" for peer_, ratio in ratios.items()) + "\n")
    return {"ratios": ratios, "costs": table}


def thousand(answer_s: float) -> dict[str, Any]:
    """1,000 calls in flight, of so many seconds each."""
    found: dict[str, list[Cost]] = defaultdict(list)
    how: Any = {"in_flight": 1000, "answer_s": answer_s}
    with tempfile.TemporaryDirectory() as folder, broker(EMBEDDED) as bootstrap:
        for _ in range(ROUNDS):
            found["aiohttp alone"].append(peer("aiohttp", LONG[answer_s], **how))
            found["worker"].append(worker(bootstrap, Path(folder), LONG[answer_s], **how))
    table = medians(f"1,000 in flight, {answer_s:g} s each", "calls/s", found)
    of_bare = ratio(found["worker"], found["aiohttp alone"])
    print(f"{of_bare:.2f} of aiohttp alone\n")
    return {"ratio": of_bare, "costs": table}


def memory() -> dict[str, Any]:
    """1,000 calls that may be in flight, of answers that are large, by what the worker may hold."""
    found: dict[str, list[Cost]] = {}
    how: Any = {"in_flight": 1000, "answer_s": 0.2}
    with tempfile.TemporaryDirectory() as folder, broker(EMBEDDED) as bootstrap:
        for max_mib in BOUNDS:
            for size, calls in ANSWERS.items():
                way = f"{max_mib} MiB, answers of {size // 1000} KB"
                how |= {"answer_bytes": size, "max_mib": max_mib}
                found[way] = [worker(bootstrap, Path(folder), calls, **how)]
    return medians("worker.max_bytes, 1,000 calls at once", "calls/s", found)


def peer(what: str, calls: int, *, in_flight: int = IN_FLIGHT, answer_s: float = ANSWER_S) -> Cost:
    port = str(free_port())
    with running("benchmarks.worker_peers", "candidate", "--port", port, "--answer-s", str(answer_s)):
        command = [sys.executable, "-m", "benchmarks.worker_peers", what, "--port", port]
        process = subprocess.Popen([*command, "--calls", str(calls), "--in-flight", str(in_flight)])
        cost = _measured(int(port), calls, [process], in_flight)
        process.wait(60)
        return cost


def worker(
    bootstrap: str,
    folder: Path,
    calls: int,
    *,
    processes: int = 1,
    partitions: int = 4,
    size: int = 0,
    in_flight: int = IN_FLIGHT,
    answer_s: float = ANSWER_S,
    answer_bytes: int = 600,
    max_mib: int = 256,
) -> Cost:
    """``size``: bytes of a request; 0: as the peers'."""
    port = free_port()
    prefix = f"b{uuid.uuid4().hex[:8]}"
    kafka = Kafka(bootstrap_servers=bootstrap, topic_prefix=prefix, partitions=partitions)
    ensure_topics(kafka)
    config = folder / "worker.yaml"
    version = {"kind": "openai", "model": "m", "base_url": f"http://127.0.0.1:{port}/v1"}
    document = {
        "kafka": {"bootstrap_servers": bootstrap, "topic_prefix": prefix, "partitions": partitions},
        "worker": {"concurrency": in_flight // processes, "max_bytes": max_mib * 2**20},
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
        candidate = ("benchmarks.worker_peers", "candidate", "--port", str(port), "--answer-s", str(answer_s))
        candidate += ("--answer-bytes", str(answer_bytes))
        stack.enter_context(running(*candidate))
        workers = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(processes)]
        try:
            return _measured(port, calls, workers, in_flight)
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


def _measured(port: int, calls: int, processes: list[subprocess.Popen[bytes]], in_flight: int) -> Cost:
    """From the first calls of this many processes on, until all but the last ones are made."""
    pids = [process.pid for process in processes]
    first = _until(port, min(in_flight, calls // 4), processes)
    started, cpu = time.perf_counter(), cpu_of(*pids)
    last = _until(port, calls - min(in_flight, calls // 4), processes)
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
