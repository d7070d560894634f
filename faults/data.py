"""What travels, hurt: poison, copies, replays, disorder, lateness, and partitions that become more."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import Consumer, Message, NewPartitions, Producer, TopicPartition

from faults.case import Case, PromiseBrokenError
from faults.traffic import Traffic, wait_until
from shadowlane.processors.kafka import ensure_topics
from shadowlane.schemas.codec import unpack
from shadowlane.schemas.config import Kafka
from shadowlane.schemas.topics import Topics, partition_of
from tests.reading import messages

TOPICS = Topics()
BIG = 20 * 2**20

POISON: dict[str, Callable[[bytes], bytes | None]] = {
    "truncated JSON": lambda good: good[: len(good) // 2],
    "null": lambda good: b"null",
    "a tombstone": lambda good: None,
    "a byte order mark": lambda good: b"\xef\xbb\xbf" + good,
    "2,000 deep": lambda good: b'{"request":' + b"[" * 2000 + b"]" * 2000 + b"}",
    "a lone surrogate": lambda good: _with(good, request_id="\ud800", instance="\ud800"),
    "an integer over 64 bits": lambda good: _with(good, ts=2**70, minute=2**70, count=2**70),
    "NaN": lambda good: _with(good, ts=float("nan"), minute=float("nan")),
    "20 MB": lambda good: _big(good),
    "an unknown schema version": lambda good: _with(good, schema_version=999),
    "the wrong keys": lambda good: b'{"idd": "1", "vlaue": 2}',
    "no object": lambda good: b'["a", "list"]',
    "no text": lambda good: b"\x80\x81\xfe\xff\x00",
    "nothing": lambda good: b"",
}


# The store reads these two undecoded, and ClickHouse takes an integer over 64 bits modulo 2**64 without a word.
# Nobody but a program that writes there itself could send one: pairing and the mirror refuse to.
NOT_TRIED = {(topic, "an integer over 64 bits") for topic in (TOPICS.pairs, TOPICS.ledger)}


def _with(good: bytes, **fields: Any) -> bytes:
    """The record of nobody's request, with other values, as another program's JSON library may write it."""
    nobody = dict.fromkeys(("service", "rollout", "request_id", "pair_id", "instance"), "nobody")
    record = json.loads(good)
    wanted = {name: value for name, value in (nobody | fields).items() if name in record}
    wanted |= {name: value for name, value in fields.items() if name == "schema_version"}
    return json.dumps(record | wanted).encode()


def _big(good: bytes) -> bytes:
    texts = ("body", "output", "candidate_output", "reason")
    record = orjson.loads(good)
    return _with(good, **{next((name for name in texts if name in record), "any"): "x" * BIG})


def poison_everywhere(case: Case) -> None:
    """Each poison value on each topic that is read, among the traffic."""
    case.await_sent(0.3)
    wait_until(lambda: case.stored() > 10, "some pairs", 60)
    good = {
        topic: next(lines(case, topic))
        for topic in (TOPICS.requests, TOPICS.served, TOPICS.shadow, TOPICS.pairs, TOPICS.ledger)
    }
    good[TOPICS.dead_letters] = b"{}"
    placed: dict[tuple[str, int, int], str] = {}
    refused: list[str] = []
    producer = Producer(
        {"bootstrap.servers": case.stack.broker.address, "message.max.bytes": 32 * 2**20, "acks": "all"}
    )

    def delivered(name: str) -> Callable[[KafkaError | None, Message], None]:
        def tell(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                refused.append(f"{name} ({error.name()})")
                return
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None
            assert partition is not None
            assert offset is not None
            placed[topic, partition, offset] = name

        return tell

    for topic, line in good.items():
        for name, spoil in POISON.items():
            if (topic, name) in NOT_TRIED:
                continue
            producer.produce(topic, spoil(line), partition=0, on_delivery=delivered(name))
            producer.poll(0)
    left = producer.flush(60)
    if left:
        raise RuntimeError(f"{left} poison values were not written")
    case.evidence = {"placed": placed, "refused": refused}
    if refused:
        case.note(f"the broker itself refuses {', '.join(sorted(set(refused)))}")


HARMLESS = frozenset({"a tombstone", "nothing", "20 MB"})
"""No record at all, so that there is nothing to bury; or one that can be read, of nobody's request."""


def poison_is_buried(case: Case, report: dict[str, Any]) -> str:
    """Each value is a dead letter with its place, or is plainly a record; the traffic beside it is as without."""
    case.await_caught_up()
    placed = case.evidence["placed"]
    letters = {
        (topic, partition, offset)
        for topic, partition, offset in case.stack.query(
            "SELECT source_topic, source_partition, source_offset FROM dead_letter_log"
        )
    }
    missing = sorted(
        {
            f"{name} on {place[0]}"
            for place, name in placed.items()
            if place not in letters and name not in HARMLESS and place[0] != TOPICS.dead_letters
        }
    )
    if missing:
        raise PromiseBrokenError(f"neither refused nor buried: {missing}")
    seen = _without_dead_letters(case, report)
    topics = len({place[0] for place in placed})
    return (
        f"{seen}; {len(placed)} poison messages on {topics} topics, what is no record buried with its place"
    )


def _without_dead_letters(case: Case, report: dict[str, Any]) -> str:
    report["ledger"]["unreadable"] = 0  # they stand beside the ledger
    report["ledger"]["reasons"].pop("unreadable", None)
    return case.unchanged(report)


def lines(case: Case, topic: str) -> Iterator[bytes]:
    """The records of a topic that are of this case's service, from the first on."""
    service = f'"service":"{case.name}"'.encode()
    for message in messages(case.stack.broker.address, topic):
        for _, line in unpack(message.value()):
            if service in line:
                yield line


def duplicated(case: Case) -> None:
    """Every message of every topic once more, while the traffic goes on and after it."""
    service = f'"service":"{case.name}"'.encode()
    for share in (0.6, 1.0):
        case.await_sent(share)
        producer = Producer({"bootstrap.servers": case.stack.broker.address, "acks": "all"})
        copied = 0
        for topic in (TOPICS.requests, TOPICS.served, TOPICS.shadow, TOPICS.pairs, TOPICS.ledger):
            for message in list(messages(case.stack.broker.address, topic)):
                if service in (message.value() or b""):
                    producer.produce(topic, message.value(), partition=message.partition() or 0)
                    copied += 1
            producer.flush(30)
        case.note(f"{copied} messages twice")


def settled_and_unchanged(case: Case, report: dict[str, Any]) -> str:
    case.await_caught_up()
    return case.unchanged(case.report())


def replayed(case: Case) -> None:
    """Each consumer group is set back to offset 0, and reads all topics again."""
    case.await_sent(1.0)
    case.await_stored(1.0)
    starts = {name: case.stack.starts(name) for name in ("worker", "pairing", "sink")}
    with case.stack.without(list(starts)):
        for component, topics in (
            ("worker", [TOPICS.requests]),
            ("pairing", [TOPICS.served, TOPICS.shadow]),
            ("sink", [TOPICS.pairs, TOPICS.ledger, TOPICS.dead_letters]),
        ):
            _rewind(case, f"shadowlane-{component}", topics)
    for component, count in starts.items():
        case.stack.await_started(component, count + 1)


def _rewind(case: Case, group: str, topics: list[str]) -> None:
    consumer = Consumer({"bootstrap.servers": case.stack.broker.address, "group.id": group})
    try:
        listed = consumer.list_topics(timeout=10).topics
        places = [TopicPartition(topic, p, 0) for topic in topics for p in listed[topic].partitions]
        wait_until(lambda: _committed(consumer, places), f"{group} is set back to 0", 60, every=0.5)
    finally:
        consumer.close()


def _committed(consumer: Consumer, places: list[TopicPartition]) -> bool:
    """Refused while the group still has a member, whose session has to run out first."""
    from confluent_kafka import KafkaException

    try:
        done = consumer.commit(offsets=places, asynchronous=False)
    except KafkaException:
        return False
    return all(tp.error is None for tp in done or [])


ASIDE = "aside"


def aside(case: Case) -> None:
    """Before the traffic: it goes to topics of another prefix, where nobody reads."""
    ensure_topics(Kafka(bootstrap_servers=case.stack.broker.address, topic_prefix=ASIDE))


def disordered(case: Case) -> None:
    """Every record comes alone and in random order, and half of the served ones long after the shadow ones."""
    assert isinstance(case.traffic, Traffic)
    case.traffic.wait()
    case.traffic.mirror.flush(30)
    draw = random.Random(7)
    there = Topics(ASIDE)
    requests = list(lines(case, there.requests))
    served = list(lines(case, there.served))
    ledger = list(lines(case, there.ledger))
    for records in (requests, served):
        draw.shuffle(records)
    first, last = served[: len(served) // 2], served[len(served) // 2 :]
    _write(case, TOPICS.served, first)
    _write(case, TOPICS.requests, requests)
    _write(case, TOPICS.ledger, ledger)
    done = {orjson.loads(line)["request_id"] for line in first}
    wait_until(lambda: case.stored() >= len(done), "what was served first is paired", 60)
    _write(case, TOPICS.served, last)
    case.note(f"{len(requests)} requests shuffled, {len(last)} served answers after the shadow ones")


def _write(case: Case, topic: str, records: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": case.stack.broker.address, "acks": "all"})
    count = len(producer.list_topics(topic, timeout=10).topics[topic].partitions)
    for line in records:
        record = orjson.loads(line)
        key = record.get("request_id") or record.get("instance", "")
        producer.produce(topic, line, partition=partition_of(key, count))
        producer.poll(0)
    if producer.flush(30):
        raise RuntimeError(f"not all was written to {topic}")


def late_ones_are_unpaired(case: Case, report: dict[str, Any]) -> str:
    """What came too late is unpaired, once, with the reason; the rest decides."""
    case.exact(report)
    ledger, late = report["ledger"], -(-case.count // 20)
    if (ledger["unpaired"], ledger["scored"]) != (late, case.count - late) or ledger["reasons"] != {
        "unpaired": {"no_shadow_response": late}
    }:
        raise PromiseBrokenError(f"{late} answers were late, the ledger: {ledger}")
    if report["verdict"] != case.calm[case.arm]["verdict"]:
        raise PromiseBrokenError(f"the verdict is {report['verdict']}: {report['reason']}")
    return f"{late} unpaired (no_shadow_response), {ledger['scored']} scored, {report['verdict']}"


def partitions_added(case: Case) -> None:
    """The three topics that pair get two partitions more, one after the other, while all runs."""
    case.await_sent(0.3)
    admin = AdminClient({"bootstrap.servers": case.stack.broker.address})
    for topic in TOPICS.copartitioned:
        for future in admin.create_partitions([NewPartitions(topic, 6)]).values():
            future.result()


def partitions_are_noticed(case: Case, report: dict[str, Any]) -> str:
    case.exact(report)
    ledger = report["ledger"]
    return f"{ledger['scored']} scored, {ledger['unpaired']} unpaired, {report['verdict']}"
