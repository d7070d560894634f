"""On a real Kafka and ClickHouse: what is whole adds up, and each fault is named for what it is."""

import random
from collections.abc import Iterator

import pytest

from shadowlane.processors.audit import Audit, Scope
from shadowlane.schemas.codec import dead_letter, encode
from shadowlane.schemas.topics import partition_of
from tests.databases import migrated
from tests.processors.audit.world import MINUTE, PARTITIONS, World
from tests.services import ClickHouseAddress, KafkaAddress

IDS = [f"id{n:03}" for n in range(40)]
LOST = IDS[7]


@pytest.fixture
def world(kafka: KafkaAddress, clickhouse: ClickHouseAddress) -> Iterator[World]:
    with migrated(clickhouse) as settings:
        world = World(kafka, settings)
        yield world
        world.close()


@pytest.fixture
def on_embedded(embedded_kafka: KafkaAddress, clickhouse: ClickHouseAddress) -> Iterator[World]:
    """For what no broker does in its own way."""
    with migrated(clickhouse) as settings:
        world = World(embedded_kafka, settings)
        yield world
        world.close()


def named(found: Audit) -> list[tuple[str, str, str, int, set[str]]]:
    """Each gap: kind, step, topic, how many, which requests."""
    return [(g.kind, g.step, g.topic, g.count, {one.request_id for one in g.examples}) for g in found.gaps]


def test_what_is_whole_adds_up(world: World) -> None:
    world.mirror(IDS)
    world.work(IDS)
    world.match(IDS)
    world.sink(IDS)
    found = world.audit()
    assert found.gaps == []
    assert found.notes == []
    assert found.open == dict.fromkeys(("worker", "pairing", "sink", "no_rollout", "unproved", "lost"), 0)
    assert found.ledger == {"eligible": 40, "mirrored": 40, "scored": 40}
    assert (found.rows, found.pairs) == (40, 40)
    assert found.records == 4 * 40 + 2


def test_what_is_on_its_way_is_at_the_component_that_has_not_committed_it(world: World) -> None:
    world.mirror(IDS[:10])
    world.work(IDS[:10])
    world.match(IDS[:10])
    world.sink(IDS[:10])
    world.mirror(IDS[10:20])
    world.work(IDS[10:20])
    world.match(IDS[10:20])
    world.mirror(IDS[20:30])
    world.work(IDS[20:30])
    world.mirror(IDS[30:])
    found = world.audit()
    assert found.gaps == []
    assert found.open == {"worker": 0, "pairing": 20, "sink": 10, "no_rollout": 0, "unproved": 0, "lost": 0}


def test_a_row_that_is_gone_from_the_store(world: World) -> None:
    world.mirror(IDS)
    world.work(IDS)
    world.match(IDS)
    world.sink(name for name in IDS if name != LOST)
    found = world.audit()
    assert named(found) == [("lost", "sink", world.topics.pairs, 1, {LOST})]
    example = found.gaps[0].examples[0]
    assert example.partition == partition_of(LOST, PARTITIONS)
    assert found.open["lost"] == 1


def test_an_answer_that_the_worker_never_wrote(world: World) -> None:
    world.mirror(IDS)
    world.work(name for name in IDS if name != LOST)
    found = world.audit()
    assert named(found) == [("lost", "worker", world.topics.requests, 1, {LOST})]


def test_an_answer_that_was_never_written_is_named_after_its_row_is_there_too(on_embedded: World) -> None:
    world = on_embedded
    answered = [name for name in IDS if name != LOST]
    world.mirror(IDS)
    world.work(answered)
    world.match(answered)
    lone = world.pair(LOST, "unpaired", "no_shadow_response")
    world.send(world.topics.pairs, {LOST: lone})
    world.sink(answered)
    world.store("pair_log", [lone])
    found = world.audit()
    assert named(found) == [("lost", "worker", world.topics.requests, 1, {LOST})]


def test_offsets_that_were_committed_past_what_nobody_did(world: World) -> None:
    world.mirror(IDS)
    world.commit("worker", world.topics.requests)
    world.commit("pairing", world.topics.served)
    found = world.audit()
    assert named(found) == [
        ("lost", "pairing", world.topics.served, 40, set(IDS)),
        ("lost", "worker", world.topics.requests, 40, set(IDS)),
    ]
    assert found.open["lost"] == 40


def test_a_mirror_that_says_more_than_came(world: World) -> None:
    world.mirror(IDS)
    world.store("ledger_log", world.cells(45, mirrored=43))
    found = world.audit()
    assert [(g.kind, g.step, g.count) for g in found.gaps] == [
        ("gone", "mirror", 3),
        ("undecided", "mirror", 2),
    ]
    assert found.gaps[0].minutes[0]["came"] == 40


def test_a_count_that_the_store_has_less_of_than_kafka(on_embedded: World) -> None:
    world = on_embedded
    world.mirror(IDS)
    more = world.cells(50, mirrored=40, dropped=10)
    world.write(world.topics.ledger, [encode(cell) for cell in more], 1)
    assert world.audit().gaps == []
    world.commit("sink", world.topics.ledger)
    found = world.audit()
    assert named(found) == [("lost", "sink", world.topics.ledger, 2, {""})]


def test_a_count_that_the_sink_has_buried_is_not_lost(on_embedded: World) -> None:
    world, topic = on_embedded, on_embedded.topics.ledger
    world.mirror(IDS)
    cell = encode(world.cells(50, mirrored=40)[0])
    line = cell.replace(b'"schema_version":1', b'"schema_version":9')
    offset = world.write(topic, [line], 1)
    world.commit("sink", topic)
    assert named(world.audit()) == [("lost", "sink", topic, 1, {""})]
    letter = dead_letter(
        line, "newer", component="sink", topic=topic, partition=1, offset=offset, number=0, ts=MINUTE
    )
    world.store("dead_letter_log", [letter])
    assert world.audit().gaps == []


def test_a_mirror_that_has_counted_less_than_came_is_a_note(on_embedded: World) -> None:
    world = on_embedded
    world.mirror(IDS)
    world.work(IDS)
    world.match(IDS)
    world.sink(IDS)
    world.store("pair_log", [world.pair("uncounted")])
    found = world.audit()
    assert found.gaps == []
    assert [(note.kind, note.count) for note in found.notes] == [("uncounted", 1)]


def test_a_line_that_nobody_can_read_is_on_its_way_until_its_dead_letter_is_stored(
    on_embedded: World,
) -> None:
    world = on_embedded
    world.mirror(IDS)
    line = b'{"ts": '
    offset = world.write(world.topics.requests, [line], 0)
    world.work(IDS)
    world.match(IDS)
    world.sink(IDS)
    lost = world.audit()
    assert named(lost) == [("lost", "worker", world.topics.requests, 1, {""})]
    assert lost.gaps[0].examples[0].offset == offset

    world.bury(world.topics.requests, 0, offset, line, "worker")
    assert world.audit().gaps == []
    world.commit("sink", world.topics.dead_letters)
    assert named(world.audit()) == [("lost", "sink", world.topics.dead_letters, 1, {""})]
    letter = dead_letter(
        line, "why", component="worker", topic=world.topics.requests, partition=0, offset=offset, number=0, ts=MINUTE
    )  # fmt: skip
    world.store("dead_letter_log", [letter])
    assert world.audit().gaps == []


def test_a_request_that_is_a_dead_letter_has_come(on_embedded: World) -> None:
    world = on_embedded
    world.mirror(IDS)
    letters = []
    for topic, record in (
        (world.topics.requests, encode(world.request("bad"))),
        (world.topics.served, encode(world.response("bad", "served"))),
    ):
        line = record.replace(b'"schema_version":1', b'"schema_version":9')
        partition = partition_of("bad", PARTITIONS)
        offset = world.write(topic, [line], partition)
        letters.append(
            dead_letter(
                line, "newer", component="x", topic=topic, partition=partition, offset=offset, number=0, ts=1
            )
        )
    world.work(IDS)
    world.match(IDS)
    world.sink(IDS)
    world.store("dead_letter_log", letters)
    world.store("ledger_log", world.cells(41, mirrored=41))
    found = world.audit()
    assert found.gaps == []
    assert found.notes == []


def test_a_replay_loses_nothing(on_embedded: World) -> None:
    world = on_embedded
    world.mirror(IDS)
    world.work(IDS)
    world.match(IDS)
    world.sink(IDS)
    world.send(world.topics.requests, {name: world.request(name) for name in IDS})
    world.send(world.topics.served, {name: world.response(name, "served") for name in IDS})
    assert world.audit().gaps == []
    world.work(IDS)
    world.match(IDS)
    found = world.audit()
    assert found.gaps == []
    assert found.notes == []


def test_a_route_that_no_rollout_takes_is_owed_nothing(on_embedded: World) -> None:
    world = on_embedded
    world.send(world.topics.requests, {"x": world.request("x", "other")})
    world.send(world.topics.served, {"x": world.response("x", "served", "other")})
    world.commit("worker", world.topics.requests)
    world.commit("pairing", world.topics.served)
    found = world.audit()
    assert found.gaps == []
    assert found.open["no_rollout"] == 1


def test_a_record_in_another_partition_than_its_ids_is_followed(on_embedded: World) -> None:
    world = on_embedded
    name = next(name for name in IDS if partition_of(name, PARTITIONS) == 1)
    world.write(world.topics.requests, [encode(world.request(name))], 0)
    world.write(world.topics.served, [encode(world.response(name, "served"))], 0)
    world.write(world.topics.shadow, [encode(world.response(name, "shadow"))], 1)
    world.write(world.topics.pairs, [encode(world.pair(name, "unpaired", "no_shadow_response"))], 1)
    world.commit("worker", world.topics.requests)
    world.commit("pairing", world.topics.served)
    world.store("ledger_log", world.cells(1, mirrored=1))
    found = world.audit()
    assert found.gaps == []
    assert found.open["sink"] == 1


def test_a_topic_that_ends_before_what_was_committed(world: World) -> None:
    world.mirror(IDS)
    world.ends[world.topics.requests, 0] += 5
    world.commit("worker", world.topics.requests)
    found = world.audit(Scope(since=MINUTE + 60_000))
    assert [(g.kind, g.step, g.count) for g in found.gaps] == [("committed_past_end", "worker", 5)]


def test_a_scope_leaves_the_other_minutes_alone(on_embedded: World) -> None:
    world = on_embedded
    world.mirror(IDS)
    world.commit("worker", world.topics.requests)
    assert world.audit(Scope(since=MINUTE + 60_000)).gaps == []
    assert world.audit(Scope(until=MINUTE)).gaps == []
    assert world.audit(Scope("r", since=MINUTE, until=MINUTE + 1)).gaps[0].count == 40


def test_a_message_that_is_larger_than_what_is_fetched_at_once(world: World) -> None:
    world.text = random.Random(1).randbytes(300_000).hex()
    world.mirror(["large"])
    world.work(["large"])
    found = world.audit()
    assert found.gaps == []
    assert found.open["pairing"] == 1
