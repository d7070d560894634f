"""Baselines and noise pairs in the audit: no answer of the candidate's, and not lost either."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from shadowlane.schemas.events import Pair, Response, noise_id
from tests.databases import migrated
from tests.processors.audit.test_audit import named
from tests.processors.audit.world import World
from tests.services import ClickHouseAddress, KafkaAddress

IDS = [f"r{n}" for n in range(8)]
AGAIN = IDS[:4]


@pytest.fixture
def world(embedded_kafka: KafkaAddress, clickhouse: ClickHouseAddress) -> Iterator[World]:
    with migrated(clickhouse) as settings:
        world = World(embedded_kafka, settings)
        yield world
        world.close()


def baseline(world: World, name: str) -> Response:
    return replace(world.response(name, "shadow"), role="baseline", arm="stable")


def noise(world: World, name: str) -> Pair:
    return replace(world.pair(name), pair_id=noise_id(name, "r", world.rollout.epoch))


def test_what_is_whole_adds_up_and_what_is_lost_is_named(world: World) -> None:
    world.mirror(IDS)
    world.send(world.topics.shadow, {name: baseline(world, name) for name in AGAIN})
    world.work(IDS)
    world.match(IDS)
    world.sink(IDS)
    found = world.audit()
    assert named(found) == [("lost", "pairing", world.topics.shadow, 4, set(AGAIN))]

    world.send(world.topics.noise, {name: noise(world, name) for name in AGAIN})
    world.commit("sink", world.topics.noise)
    assert named(world.audit()) == [("lost", "sink", world.topics.noise, 4, set(AGAIN))]

    world.store("noise_log", [noise(world, name) for name in AGAIN])
    found = world.audit()
    assert found.gaps == []
    assert (found.rows, found.pairs, found.ledger["scored"]) == (8, 8, 8)
    assert found.records == 4 * 8 + 2 + 2 * 4


def test_a_baseline_is_no_answer_of_the_candidates(world: World) -> None:
    world.mirror(IDS)
    world.send(world.topics.shadow, {name: baseline(world, name) for name in AGAIN})
    world.commit("worker", world.topics.requests)
    lost = named(world.audit())
    assert lost == [("lost", "worker", world.topics.requests, 8, set(IDS))]
