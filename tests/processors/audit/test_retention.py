"""What Kafka has removed: nobody is blamed for what may have been in it, and the audit says so."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from shadowlane.processors.audit import Audit
from shadowlane.processors.kafka import client_options
from tests.databases import migrated
from tests.processors.audit.world import PARTITIONS, World
from tests.services import ClickHouseAddress, KafkaAddress

OLD = [f"old{n:03}" for n in range(20)]
NEW = [f"new{n:03}" for n in range(20)]


@pytest.fixture
def world(apache_kafka: KafkaAddress, clickhouse: ClickHouseAddress) -> Iterator[World]:
    """On Apache Kafka alone: the embedded broker removes nothing on request."""
    with migrated(clickhouse) as settings:
        world = World(apache_kafka, settings)
        yield world
        world.close()


def remove(world: World, *topics: str) -> int:
    """All that these topics hold, as retention does; gives how many messages."""
    admin = AdminClient(client_options(world.settings.kafka, "test"))
    ends = {place: end for place, end in world.ends.items() if place[0] in topics}
    for future in admin.delete_records([TopicPartition(*place, end) for place, end in ends.items()]).values():
        future.result()
    return sum(ends.values())


def notes(found: Audit) -> dict[str, int]:
    return {note.kind: note.count for note in found.notes}


def test_what_was_stored_before_it_was_removed_adds_up(world: World) -> None:
    topics = world.topics
    for ids in (OLD, NEW):
        world.mirror(ids)
        world.work(ids)
        world.match(ids)
        world.sink(ids)
        if ids is OLD:
            removed = remove(world, topics.requests, topics.served, topics.shadow, topics.pairs)
    found = world.audit()
    assert found.gaps == []
    assert notes(found) == {"retention": removed}
    assert removed == 4 * PARTITIONS
    assert found.records == 4 * len(NEW) + 4  # and the mirror's counts, which nobody removed
    assert found.ledger == {"eligible": 40, "mirrored": 40, "scored": 40}


def test_an_answer_that_may_have_been_removed_is_not_called_lost(world: World) -> None:
    world.mirror(OLD)
    world.work(OLD)
    removed = remove(world, world.topics.shadow, world.topics.served)
    world.commit("pairing", world.topics.shadow, world.topics.served)
    found = world.audit()
    assert found.gaps == []
    assert notes(found) == {"retention": removed, "unproved": len(OLD)}
    assert found.open["unproved"] == len(OLD)


def test_an_answer_that_would_still_be_there_is_called_lost(world: World) -> None:
    """The log of the answers has lost its beginning, and begins before these requests came."""
    world.mirror(OLD)
    world.work(OLD)
    world.match(OLD)
    world.sink(OLD)
    removed = remove(world, world.topics.shadow)
    world.at = lambda name: time.time_ns() // 1_000_000 + 60_000
    world.send(world.topics.requests, {name: world.request(name) for name in NEW})
    world.work(name for name in NEW if name != NEW[7])
    found = world.audit()
    assert [(g.kind, g.step, {one.request_id for one in g.examples}) for g in found.gaps] == [
        ("lost", "worker", {NEW[7]})
    ]
    assert notes(found) == {"retention": removed}


def test_what_was_removed_before_it_was_read(world: World) -> None:
    world.mirror(OLD)
    world.commit("worker", world.topics.requests)
    read = dict(world.ends)
    world.send(world.topics.requests, {name: world.request(name) for name in NEW})
    remove(world, world.topics.requests)
    unread = sum(world.ends[p] - read[p] for p in read if p[0] == world.topics.requests)
    found = [gap for gap in world.audit().gaps if gap.kind == "removed_unread"]
    assert {(gap.step, gap.topic) for gap in found} == {("worker", world.topics.requests)}
    assert sum(gap.count for gap in found) == unread
