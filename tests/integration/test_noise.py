"""Noise pairs in the store: beside the others, counted by nothing else, and read against the candidate's."""

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from rich.console import Console

from shadowlane.cli.noise import noise_table
from shadowlane.evaluators.gates.expressions import parse_criteria
from shadowlane.evaluators.noise import Reading
from shadowlane.processors.store import connect, insert_lines
from shadowlane.rollout.noise import read_noise
from shadowlane.rollout.report import build
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import ClickHouse, Settings
from shadowlane.schemas.events import Pair, noise_id, pair_id
from tests.databases import migrated
from tests.services import ClickHouseAddress

TS = 1_772_323_200_000
SETTINGS = Settings.model_validate(
    {
        "rollouts": [
            {
                "name": "r",
                "stable": {"model": "old", "base_url": "http://s"},
                "candidate": {"model": "new", "base_url": "http://c"},
                "noise": {"rate": 0.5},
            }
        ]
    }
)
ROLLOUT = SETTINGS.rollouts[0]
REQUESTS = 4000


@pytest.fixture
def store(clickhouse: ClickHouseAddress) -> Iterator[tuple[Client, ClickHouse]]:
    with migrated(clickhouse) as settings:
        client = connect(settings)
        yield client, settings
        client.close()


def pair(number: int, *, noise: bool = False, outcome: str = "scored", reason: str = "", **more: Any) -> Pair:
    name = f"q{number}"
    return Pair(
        pair_id=(noise_id if noise else pair_id)(name, "r", ROLLOUT.epoch),
        request_id=name,
        rollout="r",
        epoch=ROLLOUT.epoch,
        stage="shadow",
        service="s",
        route="/",
        ts=TS,
        completed_at=TS,
        outcome=outcome,
        reason=reason,
        served_arm="stable",
        **more,
    )


def scores(fuzzy: float, latency: float) -> dict[str, Any]:
    return {
        "candidate_scores": {"fuzzy": fuzzy, "latency": latency, "answered": 1.0},
        "candidate_quality": fuzzy,
    }


def put(store: tuple[Client, ClickHouse], table: str, pairs: list[Pair]) -> None:
    client, settings = store
    insert_lines(client, settings, table, b"\n".join(map(encode, pairs)), uuid.uuid4().hex)


def fill(store: tuple[Client, ClickHouse], *, worse: float) -> None:
    """Every second request is asked twice. How alike two answers are depends on the request, most of all."""
    rng = random.Random(7)
    pairs, twice = [], []
    for number in range(REQUESTS):
        likeness = rng.uniform(0.3, 0.8)
        pairs.append(pair(number, **scores(likeness - worse + rng.gauss(0, 0.05), 150.0)))
        if number % 2:
            twice.append(pair(number, noise=True, **scores(likeness + rng.gauss(0, 0.05), 100.0)))
    put(store, "pair_log", pairs)
    put(store, "noise_log", twice)
    put(store, "noise_log", twice[:100])  # delivered again
    unscored = [
        pair(0, noise=True, outcome="abstained", reason="throttled"),
        pair(2, noise=True, outcome="unpaired", reason="no_baseline_response"),
    ]
    put(store, "noise_log", unscored)


def rows(client: Client) -> Any:
    return lambda query, parameters: list(client.query(query, parameters=parameters).named_results())


def test_a_candidate_that_differs_no_more_than_the_stable_version_is_within_noise(
    store: tuple[Client, ClickHouse],
) -> None:
    fill(store, worse=0.0)
    criteria = parse_criteria({"fuzzy": ">0.99", "error_rate": "<0.1%"})
    noise = read_noise(rows(store[0]), ROLLOUT, criteria)
    assert noise is not None
    assert noise.unmet == ("fuzzy > 0.99",)
    assert (noise.rate, noise.requests, noise.scored) == (0.5, REQUESTS // 2 + 2, REQUESTS // 2)
    assert (noise.abstained, noise.unpaired) == ({"throttled": 1}, {"no_baseline_response": 1})
    assert list(noise.scores) == ["quality_score", "answered", "fuzzy", "latency"]
    fuzzy = noise.scores["fuzzy"]
    assert (fuzzy.pairs, fuzzy.reading) == (REQUESTS // 2, Reading.WITHIN)
    assert fuzzy.interval is not None
    assert fuzzy.interval[0] < 0 < fuzzy.interval[1]
    assert abs(fuzzy.difference - (fuzzy.candidate - fuzzy.again)) < 1e-9
    assert noise.scores["answered"].reading is Reading.WITHIN
    assert noise.scores["latency"].reading is Reading.ABOVE
    console = Console(width=160)
    with console.capture() as said:
        console.print(noise_table(noise))
    assert "within noise" in said.get()
    assert "50.0 ms above noise" in said.get()
    assert "fuzzy > 0.99: the stable version does not have that against itself either" in said.get()


def test_a_candidate_that_differs_more_is_below_it(store: tuple[Client, ClickHouse]) -> None:
    fill(store, worse=0.05)
    noise = read_noise(rows(store[0]), ROLLOUT)
    assert noise is not None
    assert noise.scores["fuzzy"].reading is Reading.BELOW
    assert noise.scores["quality_score"].reading is Reading.BELOW


def test_nothing_else_counts_them(store: tuple[Client, ClickHouse]) -> None:
    client, _ = store
    pairs = [pair(number, **scores(0.5, 100.0)) for number in range(20)]
    put(store, "pair_log", pairs)
    now = datetime.fromtimestamp(TS / 1000 + 3600, UTC)

    def told() -> tuple[Any, ...]:
        report = build(rows(client), SETTINGS, ROLLOUT, now)
        ledger = client.query("SELECT row, sum(requests) FROM ledger GROUP BY row ORDER BY row").result_rows
        counts = [
            client.query(f"SELECT count() FROM {view}").result_rows
            for view in ("pairs", "abstained", "unpaired")
        ]
        same = ("verdict", "pairs", "metrics", "failures", "ledger", "coverage", "cost", "slices")
        return {name: getattr(report, name) for name in same}, ledger, counts

    before = told()
    put(store, "noise_log", [pair(n, noise=True, **scores(0.1, 1.0)) for n in range(30)])
    put(store, "noise_log", [pair(40, noise=True, outcome="unpaired", reason="no_baseline_response")])
    assert told() == before
    assert build(rows(client), SETTINGS, ROLLOUT, now).noise is not None


def test_without_noise_a_report_has_none(store: tuple[Client, ClickHouse]) -> None:
    off = ROLLOUT.model_copy(update={"noise": ROLLOUT.noise.model_copy(update={"rate": 0.0})})
    assert off.epoch == ROLLOUT.epoch
    assert read_noise(rows(store[0]), off) is None
    put(store, "noise_log", [pair(1, noise=True, **scores(0.1, 1.0))])
    noise = read_noise(rows(store[0]), off)  # what was measured before it was switched off stays
    assert noise is not None
    assert noise.scores == {}
