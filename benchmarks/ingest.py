"""Ingest, beside the endpoint that one would write instead: aiohttp that hands each posted body to Kafka as it is.

`shadowlane run ingest` reads, checks, redacts and writes two records for each exchange; the endpoint reads nothing.
Both answer once Kafka has acknowledged, on the embedded broker, from POSTs of so many exchanges of 2 KB, 32 in
flight. CPU is that of the process that takes them, all its threads; the milliseconds are those of a POST, from the
first byte to the answer.

    python -m benchmarks.ingest
    python -m benchmarks.ingest endpoint BOOTSTRAP PORT
"""

import asyncio
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import confluent_kafka
import orjson
import yaml
from aiohttp import web

from benchmarks.brokers import EMBEDDED, broker
from benchmarks.cost import cpu_of, peak_of
from shadowlane.processors.kafka import ensure_topics
from shadowlane.schemas.config import Kafka
from tests.services import free_port

SIZES = {1: 2_000, 10: 8_000, 100: 16_000}  # exchanges a POST -> how many in all
ROUNDS = 3
IN_FLIGHT = 32
QUESTION = "Where is my order? It was promised for Tuesday and nobody answers the phone. " * 13
ANSWER = "I'm sorry about the delay. Your order left the warehouse and is on its way to you. " * 12


class Took(NamedTuple):
    """Exchanges a second by the clock, the same a second of CPU, milliseconds of a POST, MiB."""

    rate: float
    per_core: float
    p50: float
    p99: float
    peak: float


def run() -> dict[str, Any]:
    """Medians by exchanges a POST and way."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, broker(EMBEDDED) as bootstrap:
        for size, exchanges in SIZES.items():
            took: dict[str, list[Took]] = {"bare endpoint": [], "ingest": []}
            for _ in range(ROUNDS):
                for way, rounds in took.items():
                    started = (
                        _endpoint(bootstrap) if way == "bare endpoint" else _ingest(bootstrap, Path(folder))
                    )
                    with started as (pid, url):
                        rounds.append(asyncio.run(_post(pid, url, size, exchanges)))
            found[str(size)] = _table(f"{size} exchanges a POST", took)
    return found


def _table(title: str, took: dict[str, list[Took]]) -> dict[str, Any]:
    print(f"\n{title:<36}{'a second':>10}{'a core':>10}{'p50, ms':>10}{'p99, ms':>10}{'MiB':>8}")
    table = {}
    for way, rounds in took.items():
        middle = Took(*(sorted(values)[len(values) // 2] for values in zip(*rounds, strict=True)))
        table[way] = middle._asdict()
        print(
            f"{way:<36}{middle.rate:>10,.0f}{middle.per_core:>10,.0f}"
            f"{middle.p50:>10.1f}{middle.p99:>10.1f}{middle.peak:>8.0f}"
        )
    return table


@contextmanager
def _endpoint(bootstrap: str) -> Iterator[tuple[int, str]]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.ingest", "endpoint", bootstrap, str(port)]
    with _served(command, port) as pid:
        yield pid, f"http://127.0.0.1:{port}/v1/exchanges"


@contextmanager
def _ingest(bootstrap: str, folder: Path) -> Iterator[tuple[int, str]]:
    port = free_port()
    kafka = {"bootstrap_servers": bootstrap, "topic_prefix": f"b{uuid.uuid4().hex[:8]}", "partitions": 4}
    ensure_topics(Kafka(**kafka))
    config = folder / "ingest.yaml"
    config.write_text(yaml.safe_dump({"kafka": kafka, "ingest": {"port": port}}))
    command = [sys.executable, "-m", "shadowlane.cli", "run", "ingest", "--config", str(config)]
    with _served(command, port) as pid:
        yield pid, f"http://127.0.0.1:{port}/v1/exchanges"


@contextmanager
def _served(command: list[str], port: int) -> Iterator[int]:
    """Once it answers a GET with anything."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=5).close()
                break
            except urllib.error.HTTPError:
                break  # the endpoint has no such page
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(f"it stopped with exit code {process.returncode}") from None
                time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


async def _post(pid: int, url: str, size: int, exchanges: int) -> Took:
    bodies = iter([_body(n, size) for n in range(exchanges // size)])
    took: list[float] = []

    async def poster(session: aiohttp.ClientSession) -> None:
        for body in bodies:
            begun = time.perf_counter()
            async with session.post(
                url, data=body, headers={"content-type": "application/x-ndjson"}
            ) as answer:
                assert answer.status == 202, await answer.text()
                await answer.read()
            took.append(1e3 * (time.perf_counter() - begun))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:
        async with session.post(
            url, data=_body(-1, 1), headers={"content-type": "application/x-ndjson"}
        ) as first:
            assert first.status == 202, await first.text()  # what is made at the first POST is made
        cpu, begun = cpu_of(pid), time.perf_counter()
        await asyncio.gather(*(poster(session) for _ in range(IN_FLIGHT)))
        seconds, cpu = time.perf_counter() - begun, cpu_of(pid) - cpu
    took.sort()
    return Took(
        exchanges / seconds, exchanges / cpu, took[len(took) // 2], took[int(0.99 * len(took))], peak_of(pid)
    )


def _body(post: int, size: int) -> bytes:
    """JSON lines, an exchange each, with an id of its own."""
    return b"\n".join(
        orjson.dumps(
            {
                "request_id": f"{post}-{n}",
                "service": "bench",
                "request": {"model": "m", "messages": [{"role": "user", "content": QUESTION}]},
                "response": {"output": ANSWER, "finish_reason": "stop", "status": 200, "latency_ms": 812.5},
            }
        )
        for n in range(size)
    )


def _serve_bare(bootstrap: str, port: int) -> None:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 5, "acks": "all", "log_level": 0}
    )
    topic = f"b{uuid.uuid4().hex[:8]}"

    async def take(request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()

        def delivered(error: object, _message: object) -> None:
            if error:
                loop.call_soon_threadsafe(written.set_exception, RuntimeError(str(error)))
            else:
                loop.call_soon_threadsafe(written.set_result, None)

        producer.produce(topic, await request.read(), on_delivery=delivered)
        await written
        return web.json_response({"taken": 1}, status=202)

    async def poll() -> None:
        while True:
            producer.poll(0)
            await asyncio.sleep(0.002)

    async def started(app: web.Application) -> None:
        app["poll"] = asyncio.create_task(poll())

    app = web.Application(client_max_size=16 * 2**20)
    app.router.add_post("/v1/exchanges", take)
    app.on_startup.append(started)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    if sys.argv[1:2] == ["endpoint"]:
        _serve_bare(sys.argv[2], int(sys.argv[3]))
    else:
        run()
