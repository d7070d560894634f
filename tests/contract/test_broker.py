"""What shadowlane relies on in a broker: the same for Apache Kafka and for the embedded one.

Where the embedded one differs by design, the difference is asserted, with what shadowlane does about it.
"""

import queue
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import Consumer, KafkaError, Message, NewPartitions, NewTopic, Producer

from shadowlane.errors import BrokerError
from shadowlane.processors.kafka import client_options, consumer_options, ensure_topics, producer_options
from shadowlane.processors.lag import group_of
from shadowlane.processors.produce import EnvelopeProducer, RecordTooLargeError
from shadowlane.processors.sink.blocks import promised_last
from shadowlane.processors.status import Part, read_status
from shadowlane.processors.watch.lag_reader import LagReader
from shadowlane.schemas.config import ClickHouse, Envelope, Kafka, Settings
from shadowlane.schemas.topics import partition_of
from tests.contract import raw
from tests.contract.member import member
from tests.services import KafkaAddress, free_port

PARTITIONS = 3
# Less than any Kafka of the tests allows (group.min.session.timeout.ms). Tansu allows any.
TOO_SHORT_S = 1.5
HEADERS: list[tuple[str, str | bytes | None]] = [
    ("traceparent", b"00-\xff"),
    ("twice", b"1"),
    ("twice", b"2"),
    ("no", None),
]


@pytest.fixture
def config(kafka: KafkaAddress) -> Iterator[Kafka]:
    """Topics of this test alone, none of which is there yet; at the end they are deleted."""
    config = Kafka(
        bootstrap_servers=kafka.bootstrap_servers,
        topic_prefix=f"contract-{uuid4().hex[:12]}",
        partitions=PARTITIONS,
        session_timeout_s=kafka.session_s,
    )
    yield config
    client = admin(config)
    mine = [name for name in client.list_topics(timeout=30).topics if name.startswith(config.topic_prefix)]
    if mine:
        for deleted in client.delete_topics(mine).values():
            deleted.result(30)


def admin(config: Kafka) -> AdminClient:
    return AdminClient(client_options(config, "contract") | {"log_level": 0})


def create(config: Kafka, topic: str, partitions: int, **options: str) -> None:
    new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=options)
    client = admin(config)
    client.create_topics([new])[topic].result(30)
    until(lambda: topic in client.list_topics(timeout=30).topics)


def until(true: Callable[[], bool]) -> None:
    """Wait for what the broker or another process will do. The suite's time limit ends it if it never does."""
    while not true():
        threading.Event().wait(0.02)


def having(config: Kafka, client: dict[str, Any]) -> Kafka:
    """The same with options of librdkafka."""
    return config.model_copy(update={"client": client})


def produce(config: Kafka, topic: str, values: Sequence[bytes | None], partition: int = 0) -> None:
    """All of it in one go, acknowledged."""
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            errors.append(error)

    producer = Producer(producer_options(config, "contract"))
    for value in values:
        producer.produce(topic, value, partition=partition, headers=HEADERS, on_delivery=delivered)
    assert producer.flush(60) == 0
    assert errors == []


@contextmanager
def consumer(config: Kafka, group: str = "nobody") -> Iterator[Consumer]:
    made = Consumer(consumer_options(config, "contract", group))
    try:
        yield made
    finally:
        made.close()


def take(reader: Consumer, count: int) -> list[Message]:
    """The next ``count`` messages."""
    messages: list[Message] = []
    while len(messages) < count:
        message = reader.poll(0.1)
        if message is not None:
            assert message.error() is None, message.error()
            messages.append(message)
    return messages


def read(config: Kafka, topic: str, count: int, partition: int = 0) -> list[Message]:
    """The first ``count`` messages of a partition, by librdkafka: what all components but pairing read with."""
    with consumer(config) as reader:
        reader.assign([TopicPartition(topic, partition, 0)])
        return take(reader, count)


# Topics


def test_topics_are_created_once(config: Kafka) -> None:
    wanted = dict.fromkeys(config.topics.all, PARTITIONS) | dict.fromkeys(config.topics.compacted, 1)
    with ThreadPoolExecutor(4) as pool:  # as when all components start at once
        assert [*pool.map(lambda _: ensure_topics(config), range(4))] == [wanted] * 4
    more = config.model_copy(update={"partitions": PARTITIONS + 4})
    assert ensure_topics(more) == wanted


def test_topics_join_those_that_are_there(config: Kafka) -> None:
    create(config, config.topics.served, 5)
    assert ensure_topics(config) == dict.fromkeys(config.topics.all, 5) | dict.fromkeys(
        config.topics.compacted, 1
    )


def test_topics_that_pair_have_one_number_of_partitions(config: Kafka, kafka: KafkaAddress) -> None:
    create(config, config.topics.requests, 2)
    create(config, config.topics.served, 3)
    with pytest.raises(BrokerError, match=r"requests has 2, .*served has 3, .*shadow has 3; add partitions"):
        ensure_topics(config)

    client = admin(config)
    added = client.create_partitions([NewPartitions(config.topics.requests, 3)])[config.topics.requests]
    if kafka.kind == "embedded":
        # Tansu has no CreatePartitions: there, the other remedy that the error names is left.
        with pytest.raises(KafkaException, match="not supported by broker"):
            added.result(30)
        assert ensure_topics(config.model_copy(update={"topic_prefix": f"{config.topic_prefix}-new"}))
    else:
        added.result(30)
        until(lambda: len(client.list_topics(timeout=30).topics[config.topics.requests].partitions) == 3)
        assert ensure_topics(config)[config.topics.requests] == 3


# Writing and reading


def test_a_partition_keeps_the_order_and_every_byte(config: Kafka) -> None:
    ensure_topics(config)
    topic = config.topics.pairs
    sent: dict[int, list[bytes | None]] = {
        p: [*(b"%d " % n + bytes(range(256)) for n in range(200)), b"", None] for p in range(PARTITIONS)
    }
    for partition, values in sent.items():
        produce(config, topic, values, partition)
    for partition, values in sent.items():
        messages = read(config, topic, len(values), partition)
        assert [message.value() for message in messages] == values
        assert [message.offset() for message in messages] == list(range(len(values)))


@pytest.mark.parametrize("codec", ["none", "gzip", "lz4", "zstd"])
def test_every_compression_and_headers_for_both_clients(config: Kafka, codec: str) -> None:
    topic = config.topics.served
    create(config, topic, 1)
    values: list[bytes | None] = [b"a line that comes again and again, %d" % n for n in range(50)]
    produce(having(config, {"compression.type": codec}), topic, values)
    messages = read(config, topic, len(values))
    assert [message.value() for message in messages] == values
    assert messages[0].headers() == HEADERS
    records = raw.read_with_aiokafka(config.bootstrap_servers, topic, len(values))
    assert [record.value for record in records] == values
    assert list(records[0].headers) == HEADERS


def test_the_largest_envelope_needs_no_setting(config: Kafka) -> None:
    ensure_topics(config)
    largest = random.Random(1).randbytes(900_000)  # schemas.config.Envelope allows no more
    assert Envelope(max_bytes=len(largest))
    produce(config, config.topics.served, [largest])
    assert read(config, config.topics.served, 1)[0].value() == largest
    assert raw.read_with_aiokafka(config.bootstrap_servers, config.topics.served, 1)[0].value == largest


def test_a_record_of_8_mb_where_the_topic_allows_it(config: Kafka) -> None:
    topic = config.topics.served
    create(config, topic, 1, **{"max.message.bytes": str(8 * 2**20)})
    # What librdkafka counts beside the value has to fit in, too.
    large = random.Random(2).randbytes(8 * 2**20 - 1024)
    produce(config, topic, [b"before", large, b"after"])
    assert [message.value() for message in read(config, topic, 3)] == [b"before", large, b"after"]
    assert [record.value for record in raw.read_with_aiokafka(config.bootstrap_servers, topic, 3)] == [
        b"before",
        large,
        b"after",
    ]


def test_a_record_that_the_topic_does_not_allow(config: Kafka, kafka: KafkaAddress) -> None:
    create(config, config.topics.pairs, 1, **{"max.message.bytes": "100000"})
    told: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
    producer = EnvelopeProducer(config, Envelope(linger_ms=0), "contract")
    producer.send(config.topics.pairs, 0, random.Random(3).randbytes(100_001), told.put)
    error = told.get()
    producer.send(config.topics.pairs, 0, b"after", told.put)
    assert told.get() is None
    producer.close(30)
    if kafka.kind == "embedded":
        # Tansu has no limit of its own: what is too large is only what the producers themselves refuse.
        assert error is None
    else:
        assert isinstance(error, RecordTooLargeError)


def test_a_batch_that_is_sent_again_is_kept_once(config: Kafka, kafka: KafkaAddress) -> None:
    topic = config.topics.pairs
    create(config, topic, 1)
    first, second, again, gap = raw.produce(config.bootstrap_servers, topic, [0, 1, 1, 5])
    assert (first, second) == ((0, 0), (0, 1))
    # Kafka says where the batch is, Tansu only that it is there: to librdkafka both mean delivered.
    duplicate = KafkaError.DUPLICATE_SEQUENCE_NUMBER
    assert again == ((duplicate, -1) if kafka.kind == "embedded" else (0, 1))
    assert gap[0] == KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
    produce(config, topic, [b"last"])
    assert [message.value() for message in read(config, topic, 3)] == [b"0", b"1", b"last"]


def test_the_partition_rule_is_the_one_of_librdkafka(config: Kafka) -> None:
    topic, count = config.topics.requests, 7
    create(config, topic, count)
    ids = [*(uuid4().hex for _ in range(200)), "r1", "ключ", "日本", "x" * 10_000]
    found: dict[str, int | None] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None
        key = message.key()
        assert isinstance(key, bytes)
        found[key.decode()] = message.partition()

    producer = Producer(producer_options(config, "contract") | {"partitioner": "consistent"})
    for request_id in ids:
        producer.produce(topic, b"{}", key=request_id, on_delivery=delivered)
    assert producer.flush(60) == 0
    assert found == {request_id: partition_of(request_id, count) for request_id in ids}
    assert set(found.values()) == set(range(count))


# Groups


def test_a_group_goes_on_where_it_committed(config: Kafka) -> None:
    ensure_topics(config)
    topic = config.topics.requests
    produce(config, topic, [b"%d" % n for n in range(10)])
    with consumer(config, config.topic_prefix) as reader:
        reader.subscribe([topic])
        assert [message.offset() for message in take(reader, 10)] == list(range(10))
        reader.commit(offsets=[TopicPartition(topic, 0, 6)], asynchronous=False)
    # What was read is not committed by itself: neither in time nor by the close.
    with consumer(config, config.topic_prefix) as reader:
        reader.subscribe([topic])
        assert [message.offset() for message in take(reader, 4)] == [6, 7, 8, 9]


def test_members_share_partitions_and_take_over_from_one_that_was_killed(config: Kafka) -> None:
    ensure_topics(config)
    topic, group, committed = config.topics.requests, config.topic_prefix, 3
    mine: set[int] = set()

    def on_assign(_consumer: Consumer, assigned: list[TopicPartition]) -> None:
        mine.update(tp.partition for tp in assigned)

    def on_revoke(_consumer: Consumer, revoked: list[TopicPartition]) -> None:
        mine.difference_update(tp.partition for tp in revoked)

    with member(config, group, topic, committed) as other, consumer(config, group) as reader:
        until(lambda: other.partitions() == set(range(PARTITIONS)))
        reader.subscribe([topic], on_assign=on_assign, on_revoke=on_revoke, on_lost=on_revoke)
        while not (mine and other.partitions() and mine ^ other.partitions() == set(range(PARTITIONS))):
            assert reader.poll(0.05) is None
        its, here = other.partitions(), set(mine)
        for partition in range(PARTITIONS):
            produce(config, topic, [b"%d" % n for n in range(5)], partition)
        got: dict[int | None, list[int | None]] = defaultdict(list)
        for message in take(reader, 5 * len(here)):
            got[message.partition()].append(message.offset())
        assert got == {partition: [0, 1, 2, 3, 4] for partition in here}
        reader.commit(offsets=[TopicPartition(topic, p, 5) for p in here], asynchronous=False)
        until(lambda: other.count("read") == 5 * len(its))

        other.process.kill()
        got.clear()
        for message in take(reader, (5 - committed) * len(its)):
            got[message.partition()].append(message.offset())
        assert mine == set(range(PARTITIONS))
        assert got == {partition: [3, 4] for partition in its}


def test_a_session_shorter_than_kafka_allows(config: Kafka, kafka: KafkaAddress) -> None:
    ensure_topics(config)
    shorter = config.model_copy(update={"session_timeout_s": TOO_SHORT_S})
    with consumer(shorter, config.topic_prefix) as reader:
        reader.subscribe([config.topics.requests])
        message = None
        while message is None and not reader.assignment():
            message = reader.poll(0.05)
    if kafka.kind == "embedded":
        assert message is None
    else:
        # Why `shadowlane up` on the embedded broker may use less than a deployment on Kafka can.
        assert message is not None
        error = message.error()
        assert error is not None
        assert error.code() == KafkaError.INVALID_SESSION_TIMEOUT


def test_status_tells_who_reads_and_how_far_behind(config: Kafka, kafka: KafkaAddress) -> None:
    ensure_topics(config)
    topic, group = config.topics.requests, group_of("worker", config)
    produce(having(config, {"batch.num.messages": 1}), topic, [b"%d" % n for n in range(10)])
    before = worker_status(config)
    # To Kafka a group without members and offsets is dead, to Tansu empty.
    state = "empty" if kafka.kind == "embedded" else "dead"
    assert before == Part("worker", False, f"group {group} is {state}", behind=10, topics={topic: 10})
    with consumer(config, group) as reader:
        reader.subscribe([topic])
        take(reader, 10)
        assert worker_status(config) == Part(
            "worker", True, f"group {group} is stable", behind=10, topics={topic: 10}
        )
        reader.commit(offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)
        assert worker_status(config).behind == 3
    until(lambda: not worker_status(config).up)
    assert worker_status(config) == Part(
        "worker", False, f"group {group} is empty", behind=3, topics={topic: 3}
    )

    produce(having(config, {"linger.ms": 1000}), topic, [b"%d" % n for n in range(5)])
    # Tansu counts the last batch as one message, so what it says is up to a batch too little.
    assert worker_status(config).behind == (3 + 1 if kafka.kind == "embedded" else 3 + 5)


def test_whether_a_group_has_the_partitions_in_which_messages_wait(
    config: Kafka, kafka: KafkaAddress
) -> None:
    ensure_topics(config)
    topic, lags = config.topics.requests, LagReader("worker", config, every_s=0.5)
    produce(config, topic, [b"%d" % n for n in range(10)])
    lags.start()
    try:
        until(lambda: any(lag.messages for lag in lags.lags.values()))
        assert not lags.is_owned()
        with consumer(config, group_of("worker", config)) as reader:
            reader.subscribe([topic])
            take(reader, 10)
            assert lags.is_owned() == (kafka.kind != "embedded")  # which names no members
    finally:
        lags.stop()


def worker_status(config: Kafka) -> Part:
    nowhere = ClickHouse(port=free_port())
    parts = {part.name: part for part in read_status(Settings(kafka=config, clickhouse=nowhere))}
    assert parts["broker"].up
    return parts["worker"]


def test_what_is_committed_beside_the_offset(config: Kafka, kafka: KafkaAddress) -> None:
    ensure_topics(config)
    place = TopicPartition(config.topics.pairs, 1)
    with consumer(config, config.topic_prefix) as reader:
        reader.commit(offsets=[TopicPartition(place.topic, 1, 5, "5-9")], asynchronous=False)
    with consumer(config, config.topic_prefix) as reader:
        (found,) = reader.committed([place], timeout=30)
    assert found.offset == 5
    if kafka.kind == "embedded":
        # Tansu loses it. A sink that was killed between insert and commit then cuts other blocks, and inserts some
        # rows twice; the views count them once, by their ids, as test_sink.py holds.
        assert not found.metadata
        assert promised_last(found.metadata, found.offset) is None
    else:
        # So here the block is repeated as it was, and ClickHouse knows it by its token.
        assert promised_last(found.metadata, found.offset) == 9


def test_all_of_a_new_producers_first_burst_is_there(config: Kafka) -> None:
    """With several requests under way the embedded broker lost some of one burst in forty."""
    ensure_topics(config)
    topic, each, padding = config.topics.requests, 6, random.Random(1).randbytes(200_000)
    with consumer(config) as reader:
        reader.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        for burst in range(10):
            producer = Producer(producer_options(config, "contract"))
            sent = [b"%d %d " % (burst, number) for number in range(each * PARTITIONS)]
            for number, name in enumerate(sent):
                producer.produce(topic, name + padding, partition=number % PARTITIONS)
            assert producer.flush(60) == 0
            got = [message.value() or b"" for message in take(reader, len(sent))]
            assert sorted(value[: -len(padding)] for value in got) == sorted(sent)
