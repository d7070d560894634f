"""The sink, from Kafka to the store, exactly-once included, beside a bare `client.insert` of ready-made columns.

Pairs of about 2.5 KB, in envelopes of 32, in four partitions; the sink as `shadowlane run sink` runs it, with its
default settings, in a process of its own, until every row is stored. The peer has the same rows in memory already, as
columns, and inserts them, in blocks of 10,000 and in blocks of the size that the sink's had on average: nothing is
read, nothing is committed, no row is known again. CPU is that of the process and of the store together: on a busy
machine it says
more than the clock does. Then how it grows: with the size of a row, with partitions, and with two sinks.

    python -m benchmarks.sink
"""

import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml
from clickhouse_connect.driver.client import Client

from benchmarks.brokers import EMBEDDED, broker, names
from benchmarks.cost import Cost, cpu_of, medians, peak_of, ratio
from benchmarks.store import COLUMNS, columns_of, records
from shadowlane.processors.kafka import ensure_topics
from shadowlane.processors.produce import EnvelopeProducer
from shadowlane.processors.store import connect, migrate
from shadowlane.schemas.config import ClickHouse, Envelope, Kafka
from shadowlane.schemas.topics import partition_of
from tests.services import free_port, running

ROWS = 60_000  # many inserts: with fewer, it is the first and the last that are measured
ROUNDS = 3
PARTITIONS = (1, 16)
SIZES = {16_000: 10_000, 256_000: 600}
"""Bytes of a row, and how many of them."""


def run() -> dict[str, Any]:
    """Rows by broker and way; prints a table for each."""
    return {"rounds": ROUNDS} | {name: measured(name) for name in names()}


def measured(name: str) -> dict[str, Any]:
    found: dict[str, list[Cost]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, broker(name) as bootstrap:
        port = free_port()
        with running("shadowlane.embedded.store", "--data", f"{folder}/store", "--port", str(port)) as store:
            bench = Bench(bootstrap, port, store.pid, Path(folder))
            lines = records(ROWS)
            for _ in range(ROUNDS):
                found["columns alone"].append(bench.columns(lines))
                found["sink"].append(bench.sink(lines, 1))
                found["columns alone, in the sink's blocks"].append(bench.columns(lines, bench.block))
                found["two sinks"].append(bench.sink(lines, 2))
            for partitions in PARTITIONS if name == EMBEDDED else ():
                found[f"sink, {partitions} partitions"].append(bench.sink(lines, 1, partitions))
            for size, count in SIZES.items() if name == EMBEDDED else ():
                large = records(count, words=size // 15)
                found[f"columns alone, rows of {size // 1000} KB"].append(bench.columns(large))
                found[f"sink, rows of {size // 1000} KB"].append(bench.sink(large, 1))
    table = medians(f"on {name}", "rows/s", found)
    of_peer = ratio(found["sink"], found["columns alone"])
    alike = ratio(found["sink"], found["columns alone, in the sink's blocks"])
    print(
        f"the sink's rows a core are {of_peer:.2f} of the bare insert's, {alike:.2f} with blocks as the sink's\n"
    )
    return {"of_columns_alone": round(of_peer, 3), "of_the_same_blocks": round(alike, 3), "costs": table}


class Bench:
    """A broker and a store, and what runs on them, each time in a database and on topics of its own."""

    def __init__(self, kafka: str, port: int, store: int, folder: Path) -> None:
        self._kafka, self._port, self._store, self._folder = kafka, port, store, folder
        self.block = 0
        """Rows of an insert of the last sinks, on average."""

    def _database(self) -> tuple[ClickHouse, Client]:
        settings = ClickHouse(port=self._port, database=f"b{uuid.uuid4().hex[:8]}")
        client = connect(settings)
        migrate(client, settings.database)
        return settings, client

    def columns(self, lines: list[bytes], block: int = 10_000) -> Cost:
        _, client = self._database()
        ready = [columns_of(lines[at : at + block]) for at in range(0, len(lines), block)]
        cpu, started = time.process_time() + cpu_of(self._store), time.perf_counter()
        for columns in ready:
            token = {"async_insert": 0, "insert_deduplication_token": uuid.uuid4().hex}
            client.insert("pair_log", columns, column_names=COLUMNS, column_oriented=True, settings=token)
        seconds = time.perf_counter() - started
        cpu = time.process_time() + cpu_of(self._store) - cpu
        client.command(f"DROP DATABASE {client.database}")
        client.close()
        return Cost(len(lines) / seconds, len(lines) / cpu, 0)

    def sink(self, lines: list[bytes], processes: int, partitions: int = 4) -> Cost:
        """Of ``processes`` sinks: from their first row in the store until the last one is."""
        clickhouse, client = self._database()
        prefix = f"b{uuid.uuid4().hex[:8]}"
        kafka = Kafka(bootstrap_servers=self._kafka, topic_prefix=prefix, partitions=partitions)
        ensure_topics(kafka)
        config = self._folder / "shadowlane.yaml"
        document = {
            "kafka": {
                "bootstrap_servers": self._kafka,
                "topic_prefix": prefix,
                "partitions": partitions,
            },
            "clickhouse": {"port": self._port, "database": clickhouse.database},
        }
        config.write_text(yaml.safe_dump(document))
        produce(kafka, lines, partitions)
        command = [sys.executable, "-m", "shadowlane.cli", "run", "sink", "--config", str(config)]
        with (self._folder / "log").open("wb") as log:
            sinks = [subprocess.Popen(command, stderr=log) for _ in range(processes)]
        count = "SELECT count() FROM pair_log"
        while not (first := client.query(count).result_rows[0][0]):
            time.sleep(0.02)
        started = time.perf_counter()
        cpu = cpu_of(self._store, *(process.pid for process in sinks))
        while (now := client.query(count).result_rows[0][0]) < len(lines):
            time.sleep(0.1)  # the store's CPU counts, and a question costs it 2 ms
        seconds = time.perf_counter() - started
        cpu = cpu_of(self._store, *(process.pid for process in sinks)) - cpu
        assert now == len(lines)
        peak = max(peak_of(process.pid) for process in sinks)
        for process in sinks:
            process.send_signal(signal.SIGTERM)
        for process in sinks:
            process.wait(60)
        blocks = re.findall(r"rows=(\d+), blocks=(\d+)", (self._folder / "log").read_text())
        self.block = sum(int(rows) for rows, _ in blocks) // sum(int(count) for _, count in blocks)
        client.command(f"DROP DATABASE {client.database}")
        client.close()
        rows = len(lines) - first
        return Cost(rows / seconds, rows / cpu, peak) if rows else Cost(0, 0, peak)


def produce(kafka: Kafka, lines: list[bytes], partitions: int) -> None:
    """In envelopes of 32 lines at most."""
    size = 33 * max(map(len, lines[:100]))
    producer = EnvelopeProducer(kafka, Envelope(max_bytes=min(900_000, size), linger_ms=1000), "bench")
    for number, line in enumerate(lines):
        producer.send(kafka.topics.pairs, partition_of(f"{number}", partitions), line)
    if producer.close(120):
        raise RuntimeError("the rows could not be written to the broker")


if __name__ == "__main__":
    run()
