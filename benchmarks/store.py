"""Rows a second into the store: envelopes handed on as they are, beside clickhouse-connect's own insert.

Pairs of about 2.5 KB (a prompt, and two answers of 600 characters, of words, so that they compress as text does),
into `pair_log` of an embedded store, one connection, blocks of several sizes. All ways take the same records as
Kafka has them, JSON lines, since that is what a sink is given:

- *as they are*: the sink's way, JSONEachRow, never decoded;
- *compressed*: the same with lz4, as it goes to a store on another host;
- *decoded*: each line read with orjson, then `client.insert` of columns (Native, lz4);
- *columns alone*: the same without the time it takes to read the lines.

    python -m benchmarks.store
"""

import dataclasses
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from clickhouse_connect.driver.client import Client

from shadowlane.processors.store import connect, insert_lines, migrate
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import ClickHouse
from shadowlane.schemas.events import Pair, pair_id
from tests.services import embedded_store  # found where the script is run from

BLOCKS = (1_000, 10_000, 50_000)
ROWS = 50_000
ROUNDS = 3
COLUMNS = [field.name for field in dataclasses.fields(Pair)]
TEXTS = ("request", "stable_tool_calls", "candidate_tool_calls")  # JSON values that are kept as text
WORDS = [
    f"{a}{b}"
    for a in ("an", "be", "co", "de", "en", "fo", "in", "re")
    for b in ("ing", "er", "ly", "ed", "s")
]


def run() -> dict[str, Any]:
    """Rows per second by way and block; prints a table."""
    lines = records(ROWS)
    ways: dict[str, Callable[[Client, ClickHouse, list[bytes]], float]] = {
        "as they are": as_they_are,
        "compressed": compressed,
        "decoded": decode_and_insert,
        "columns alone": insert_columns,
    }
    rates: dict[str, dict[int, list[float]]] = {way: {block: [] for block in BLOCKS} for way in ways}
    with tempfile.TemporaryDirectory() as folder, embedded_store(Path(folder)) as address:
        settings = ClickHouse(host=address.host, port=address.port, database="bench")
        client = connect(settings)
        migrate(client, settings.database)
        for _ in range(ROUNDS):
            for block in BLOCKS:
                used = lines[: max(block, 5_000)]
                for way, insert in ways.items():
                    client.command("TRUNCATE TABLE pair_log")
                    seconds = sum(
                        insert(client, settings, used[at : at + block]) for at in range(0, len(used), block)
                    )
                    rates[way][block].append(len(used) / seconds)
                    (stored,) = client.query("SELECT count() FROM pairs").result_rows[0]
                    assert stored == len(used)
        client.close()
    medians = {
        way: {block: round(statistics.median(values)) for block, values in blocks.items()}
        for way, blocks in rates.items()
    }
    print(f"rows a second, by block{'':<9}" + "".join(f"{block:>12,}" for block in BLOCKS))
    for way, blocks in medians.items():
        print(f"{way:<32}" + "".join(f"{rate:>12,}" for rate in blocks.values()))
    size = round(statistics.mean(map(len, lines)))
    return {"row_bytes": size, "rounds": ROUNDS, "rows_per_second": medians}


def as_they_are(client: Client, settings: ClickHouse, lines: list[bytes]) -> float:
    """Seconds of the sink's own insert."""
    started = time.perf_counter()
    insert_lines(client, settings, "pair_log", b"\n".join(lines), uuid.uuid4().hex)
    return time.perf_counter() - started


def compressed(client: Client, settings: ClickHouse, lines: list[bytes]) -> float:
    """Seconds of the same, as if the store were on another host."""
    elsewhere = settings.model_copy(update={"host": "elsewhere"})  # the connection stays what it is
    return as_they_are(client, elsewhere, lines)


def decode_and_insert(client: Client, _settings: ClickHouse, lines: list[bytes]) -> float:
    """Seconds to read the lines and to insert them as columns."""
    started = time.perf_counter()
    _insert(client, columns_of(lines))
    return time.perf_counter() - started


def insert_columns(client: Client, _settings: ClickHouse, lines: list[bytes]) -> float:
    """Seconds to insert them as columns."""
    columns = columns_of(lines)
    started = time.perf_counter()
    _insert(client, columns)
    return time.perf_counter() - started


def _insert(client: Client, columns: list[list[Any]]) -> None:
    settings = {"async_insert": 0, "insert_deduplication_token": uuid.uuid4().hex}
    client.insert("pair_log", columns, column_names=COLUMNS, column_oriented=True, settings=settings)


def columns_of(lines: list[bytes]) -> list[list[Any]]:
    """The lines' values, column by column."""
    rows = [orjson.loads(line) for line in lines]
    for row in rows:
        for name in TEXTS:
            row[name] = orjson.dumps(row[name]).decode() if row[name] is not None else ""
    return [[row[name] for row in rows] for name in COLUMNS]


def records(count: int, words: int = 130) -> list[bytes]:
    """Pairs as Kafka has them, with answers of so many words."""
    chance = random.Random(1)

    def text(words: int) -> str:
        return " ".join(chance.choices(WORDS, k=words))

    made = []
    for number in range(count):
        request_id = f"{1_700_000_000_000 + number:013x}{chance.getrandbits(76):019x}"
        made.append(
            encode(
                Pair(
                    pair_id=pair_id(request_id, "bench", "0123456789ab"),
                    request_id=request_id,
                    rollout="bench",
                    epoch="0123456789ab",
                    stage="shadow",
                    service="desk",
                    route="/v1/chat/completions",
                    ts=1_700_000_000_000 + number,
                    completed_at=1_700_000_000_900 + number,
                    outcome="scored",
                    attributes={"tenant": f"t{number % 20}", "language": "en"},
                    request={"messages": [{"role": "user", "content": text(60)}]},
                    stable_model="stable-1",
                    stable_output=text(words),
                    stable_status=200,
                    stable_latency_ms=512.5,
                    candidate_model="candidate-1",
                    candidate_output=text(words),
                    candidate_status=200,
                    candidate_latency_ms=480.25,
                    candidate_attempts=1,
                    stable_scores={"json_valid": 1.0, "length": 200.0, "cost": 0.002},
                    candidate_scores={"json_valid": 1.0, "fuzzy": chance.random(), "cost": 0.001},
                    stable_quality=1.0,
                    candidate_quality=chance.random(),
                    quality_difference=-0.25,
                )
            )
        )
    return made


if __name__ == "__main__":
    run()
