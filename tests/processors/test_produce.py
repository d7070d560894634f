"""The producer of envelopes: packing, and that every record's owner hears what became of it."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.errors import BrokerError
from shadowlane.processors.kafka import consumer_options, ensure_topics
from shadowlane.processors.produce import Done, EnvelopeProducer, Packer, RecordTooLargeError
from shadowlane.schemas.codec import pack, unpack
from shadowlane.schemas.config import Envelope, Kafka
from tests.services import KafkaAddress, free_port

SENDS = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.integers(0, 2), st.binary(min_size=1, max_size=2000), st.floats(0, 0.04)
    ),
    max_size=60,
)


@given(SENDS, st.integers(1024, 4096), st.floats(0, 100))
def test_envelopes_keep_order_and_bounds(
    sends: list[tuple[str, int, bytes, float]], max_bytes: int, linger_ms: float
) -> None:
    packer = Packer(Envelope(max_bytes=max_bytes, linger_ms=linger_ms))
    now, out = 0.0, []
    for topic, partition, line, pause in sends:
        now += pause
        packer.add(topic, partition, line, None, now)
        out += packer.due(now)
        wait = packer.wait(now)
        assert wait is None or 0 <= wait <= linger_ms / 1000 + 1e-9
    out += packer.due(now, everything=True)
    assert packer.wait(now) is None
    sent: dict[tuple[str, int], list[bytes]] = defaultdict(list)
    for topic, partition, line, _ in sends:
        sent[topic, partition].append(line)
    got: dict[tuple[str, int], list[bytes]] = defaultdict(list)
    for batch in out:
        got[batch.topic, batch.partition] += batch.lines
        assert batch.size == len(pack(batch.lines))
        assert batch.size <= max_bytes or len(batch.lines) == 1
    assert got == sent


def test_an_envelope_goes_out_after_its_linger() -> None:
    packer = Packer(Envelope(linger_ms=50))
    assert packer.add("t", 0, b"1", None, 10.0)
    assert not packer.add("t", 0, b"2", None, 10.02)
    assert packer.due(10.04) == []
    assert packer.wait(10.04) == pytest.approx(0.01)
    assert [b.lines for b in packer.due(10.051)] == [[b"1", b"2"]]
    assert packer.wait(10.051) is None


class Told:
    """Collects what the producer says of each record."""

    def __init__(self) -> None:
        self.results: list[tuple[int, Exception | None]] = []
        self._changed = threading.Condition()

    def of(self, number: int) -> Callable[[Exception | None], None]:
        def done(error: Exception | None) -> None:
            with self._changed:
                self.results.append((number, error))
                self._changed.notify_all()

        return done

    def wait(self, count: int) -> list[tuple[int, Exception | None]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.results) >= count, timeout=60)
        return self.results


@contextmanager
def producing(kafka: Kafka, **envelope: Any) -> Iterator[EnvelopeProducer]:
    producer = EnvelopeProducer(kafka, Envelope(**envelope), "test")
    try:
        yield producer
    finally:
        producer.close(0)


def settings(address: KafkaAddress, **client: Any) -> Kafka:
    kafka = Kafka(
        bootstrap_servers=address.bootstrap_servers,
        topic_prefix=f"produce-{uuid4().hex[:12]}",  # a broker may outlive the session
        partitions=2,
        client=client,
    )
    ensure_topics(kafka.model_copy(update={"client": {}}))
    return kafka


def read_all(kafka: Kafka, topic: str, count: int) -> dict[int, list[bytes]]:
    consumer = Consumer(consumer_options(kafka.model_copy(update={"client": {}}), "test", "unused"))
    consumer.assign([TopicPartition(topic, p, 0) for p in range(kafka.partitions)])
    lines: dict[int, list[bytes]] = defaultdict(list)
    try:
        while sum(map(len, lines.values())) < count:
            message = consumer.poll(30)
            assert message is not None, "nothing more comes"
            assert message.error() is None
            value, partition = message.value(), message.partition()
            assert isinstance(value, bytes)
            assert partition is not None
            lines[partition] += [line for _, line in unpack(value)]
    finally:
        consumer.close()
    return lines


def test_all_arrive_in_order_and_are_told_once(kafka: KafkaAddress) -> None:
    config, told, count = settings(kafka), Told(), 3000
    with producing(config, max_bytes=4096, linger_ms=5) as producer:
        for n in range(count):
            producer.send(config.topics.pairs, n % 2, b'{"n":%d}' % n, told.of(n))
        assert producer.flush(60) == 0
        assert producer.queued_bytes == 0
    assert sorted(told.results, key=lambda r: r[0]) == [(n, None) for n in range(count)]
    lines = read_all(config, config.topics.pairs, count)
    assert lines == {p: [b'{"n":%d}' % n for n in range(p, count, 2)] for p in (0, 1)}


def test_without_a_flush_the_linger_sends(kafka: KafkaAddress) -> None:
    config, told = settings(kafka), Told()
    with producing(config) as producer:
        producer.send(config.topics.pairs, 0, b"{}", told.of(1))
        assert told.wait(1) == [(1, None)]
        producer.send(config.topics.pairs, 0, b"{}", told.of(2))  # after the thread had nothing to do
        assert told.wait(2) == [(1, None), (2, None)]


def test_a_full_queue_of_librdkafka_waits_and_drops_nothing(kafka: KafkaAddress) -> None:
    config = settings(kafka, **{"queue.buffering.max.messages": 1})
    told, count = Told(), 60
    with producing(config, max_bytes=1024, linger_ms=0) as producer:
        for n in range(count):
            producer.send(config.topics.pairs, 0, b"%01000d" % n, told.of(n))
        assert told.wait(count) == [(n, None) for n in range(count)]
    assert len(read_all(config, config.topics.pairs, count)[0]) == count


def test_a_callback_that_raises_harms_nobody_else(
    kafka: KafkaAddress, caplog: pytest.LogCaptureFixture
) -> None:
    config, told = settings(kafka), Told()

    def bad(error: Exception | None) -> None:
        raise RuntimeError("a bug")

    with producing(config) as producer:
        producer.send(config.topics.pairs, 0, b"{}", bad)
        producer.send(config.topics.pairs, 0, b"{}", told.of(1))
        producer.send(config.topics.pairs, 0, b"{}")
        assert producer.flush(60) == 0
    assert told.results == [(1, None)]
    assert "a delivery callback raised" in caplog.text


def test_an_owner_may_take_the_callbacks_along_by_the_envelope(kafka: KafkaAddress) -> None:
    config, told = settings(kafka), Told()
    taken: list[tuple[int, Exception | None]] = []

    def tell(waiting: list[Done], error: Exception | None) -> None:
        taken.append((len(waiting), error))
        for done in waiting:
            done(error)

    producer = EnvelopeProducer(config, Envelope(), "test", tell)
    try:
        records: list[tuple[int, bytes, Done | None]] = [(n % 2, b"{}", told.of(n)) for n in range(6)]
        producer.send_many(config.topics.pairs, [*records, (0, b"{}", None)])
        assert producer.flush(60) == 0
    finally:
        producer.close(0)
    assert taken == [(3, None)] * 2
    assert sorted(n for n, _ in told.results) == list(range(6))


NOBODY = {"log_level": 0}


def test_a_delivery_that_fails_for_good_is_told() -> None:
    config = Kafka(bootstrap_servers=f"127.0.0.1:{free_port()}", client=NOBODY | {"message.timeout.ms": 300})
    told = Told()
    with producing(config, linger_ms=0) as producer:
        producer.send("t", 0, b"{}", told.of(1))
        ((_, error),) = told.wait(1)
        assert isinstance(error, BrokerError)
        assert "timed out" in str(error)
        producer.flush(30)
        assert producer.queued_bytes == 0


def test_what_is_left_at_the_close_is_told_too() -> None:
    config = Kafka(
        bootstrap_servers=f"127.0.0.1:{free_port()}", client=NOBODY | {"queue.buffering.max.messages": 1}
    )
    producer, told = EnvelopeProducer(config, Envelope(max_bytes=1024, linger_ms=0), "test"), Told()
    for n in range(5):
        producer.send("t", 0, b"%01000d" % n, told.of(n))
    assert producer.queued_bytes == 5000
    assert producer.flush(0.05) == 5
    assert producer.close(0.05) == 5
    assert sorted(n for n, _ in told.results) == [0, 1, 2, 3, 4]
    assert all(isinstance(error, BrokerError) for _, error in told.results)
    assert producer.queued_bytes == 0
    with pytest.raises(BrokerError, match="closed"):
        producer.send("t", 0, b"{}")
    assert producer.close(0) == 0


def test_a_record_that_kafka_can_not_take_is_told_apart() -> None:
    config = Kafka(bootstrap_servers=f"127.0.0.1:{free_port()}", client=NOBODY | {"message.max.bytes": 5000})
    told = Told()
    with producing(config, linger_ms=0) as producer:
        producer.send("t", 0, b"1" * 10_000, told.of(1))
        ((_, error),) = told.wait(1)
    assert isinstance(error, RecordTooLargeError)


def test_when_its_thread_dies_everybody_hears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Kafka(bootstrap_servers=f"127.0.0.1:{free_port()}", client=NOBODY)
    producer, told = EnvelopeProducer(config, Envelope(linger_ms=0), "test"), Told()

    def bug(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("shadowlane.processors.produce.pack", bug)
    producer.send("t", 0, b"{}", told.of(1))
    ((_, error),) = told.wait(1)
    assert isinstance(error, BrokerError)
    assert producer.flush(30) == 0
    with pytest.raises(BrokerError, match="a bug"):
        producer.send("t", 0, b"{}")
    assert producer.close(0) == 0
