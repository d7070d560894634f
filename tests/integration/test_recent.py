"""What recent traffic is like, read from a real store; and the commands that rest on it."""

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from clickhouse_connect.driver.client import Client

from shadowlane.processors.store import connect, insert_lines
from shadowlane.rollout.plan import plan
from shadowlane.rollout.recent import recent
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import Candidate, ClickHouse, Match, Rollout, Sampling, Sessions
from tests.databases import migrated
from tests.seeds import ROLLOUT, SERVICE, Day, day
from tests.services import ClickHouseAddress

START = datetime(2026, 3, 2, tzinfo=UTC)
NOW = START + timedelta(days=1, hours=1)
DAY = day(START)


def rollout(**changes: Any) -> Rollout:
    return Rollout(
        **{
            "name": ROLLOUT,
            "candidate": Candidate(base_url="http://127.0.0.1:1/v1"),
            "slices": ["language"],
            **changes,
        }
    )


class Store:
    """One database; `rows` is how it is read."""

    def __init__(self, settings: ClickHouse) -> None:
        self._settings = settings
        self.client: Client = connect(settings)

    def rows(self, query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        return list(self.client.query(query, parameters=dict(parameters)).named_results())

    def insert(self, made: Day, epoch: str) -> None:
        """As if each pair had been stored when it was complete."""
        lines = []
        for pair in made.pairs:
            line = orjson.loads(encode(pair))
            lines.append(orjson.dumps(line | {"epoch": epoch, "stored_at": line["completed_at"]}))
        insert_lines(self.client, self._settings, "pair_log", b"\n".join(lines), uuid.uuid4().hex)

    def count(self, made: Day) -> None:
        lines = [encode(cell) for cell in made.cells]
        insert_lines(self.client, self._settings, "ledger_log", b"\n".join(lines), uuid.uuid4().hex)


@pytest.fixture
def store(clickhouse: ClickHouseAddress) -> Iterator[Store]:
    with migrated(clickhouse) as settings:
        made = Store(settings)
        yield made
        made.client.close()


def test_an_empty_store_knows_of_no_traffic(store: Store) -> None:
    assert recent(store.rows, rollout(), NOW) is None


def test_without_pairs_the_mirrors_counts_say_how_much_there_is(store: Store) -> None:
    store.count(DAY)
    mirrored = sum(1 for cell in DAY.cells if cell.row == "mirrored")
    assert mirrored
    found = recent(store.rows, rollout(match=Match(service=SERVICE), sampling=Sampling(rate=0.5)), NOW)
    assert found is not None
    assert found.epoch == ""
    # 120 requests an hour, of which about 176 of 200 were mirrored, and half are sampled.
    assert found.baseline.pairs_per_hour == pytest.approx(120 * 176 / 200 / 2, rel=0.05)
    assert recent(store.rows, rollout(match=Match(service="another")), NOW) is None
    assert plan(rollout(), found).warnings


def test_pairs_say_what_they_are_like(store: Store) -> None:
    mine = rollout()
    store.insert(DAY, mine.epoch)
    found = recent(store.rows, mine, NOW)
    assert found is not None
    scored = DAY.scored
    assert found.epoch == mine.epoch
    assert found.pairs[""] == len(scored)
    assert found.baseline.pairs_per_hour == pytest.approx(len(scored) / 24, rel=0.01)
    level = found.baseline.level
    assert level.error_rate == 0  # the stable version never fails
    # The candidate's quality as if its mean difference were none: what the stable version has.
    assert level.quality == pytest.approx(0.9, abs=0.01)
    assert {name: n for name, n in found.pairs.items() if name} == {
        f"language={value}": sum(pair.attributes["language"] == value for pair in scored)
        for value in ("en", "de")
    }
    assert sum(share.part for share in found.baseline.shares) == pytest.approx(1)
    assert found.levels["language=de"].difference_sd > found.levels["language=en"].difference_sd
    assert plan(mine, found).stages[0].claims


def test_pairs_of_an_earlier_epoch_are_better_than_none(store: Store) -> None:
    mine = rollout()
    store.insert(DAY, "000000000000")
    found = recent(store.rows, mine, NOW)
    assert found is not None
    assert "an earlier epoch (000000000000)" in found.baseline.source
    store.insert(DAY, mine.epoch)
    again = recent(store.rows, mine, NOW)
    assert again is not None
    assert again.epoch == mine.epoch


def test_sessions_are_measured(store: Store) -> None:
    mine = rollout(sessions=Sessions(by="prompt_id", minutes=5))
    store.insert(DAY, mine.epoch)
    found = recent(store.rows, mine, NOW)
    assert found is not None
    assert found.baseline.sessions is not None
    assert found.baseline.sessions.pairs > 1
    assert 0 <= found.baseline.sessions.alike <= 1


def test_the_combinations_are_of_the_slices_that_are_followed(store: Store) -> None:
    mine = rollout(slices=["language", "route"])
    store.insert(DAY, mine.epoch)
    found = recent(store.rows, mine, NOW)
    assert found is not None
    followed = {name for name in found.pairs if name}
    assert {name for share in found.baseline.shares for name in share.slices} == followed
    for name in followed:
        part = sum(share.part for share in found.baseline.shares if name in share.slices)
        assert part == pytest.approx(found.pairs[name] / found.pairs[""], rel=0.01)
