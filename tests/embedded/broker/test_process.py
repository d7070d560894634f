"""The embedded broker as a process."""

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from shadowlane.embedded.broker import check_port_is_free, read_usage, wait_until_ready
from shadowlane.errors import BrokerError
from shadowlane.schemas.topics import Topics
from tests.services import embedded_broker, free_port, running

MODULE = "shadowlane.embedded.broker"


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    topic, port = f"t-{uuid4().hex}", free_port()
    address = f"127.0.0.1:{port}"
    producer = Producer({"bootstrap.servers": address, "enable.idempotence": True, "log_level": 0})
    options: dict[str, str | int | float | bool] = {"bootstrap.servers": address, "group.id": topic}
    acknowledged: list[bytes | None] = []

    def told(error: KafkaError | None, message: Message) -> None:
        if error is None:
            acknowledged.append(message.value())

    def produce(first: int) -> None:
        for number in range(first, first + 50):
            producer.produce(topic, b"%d" % number, partition=0, on_delivery=told)
            producer.poll(0)
        assert producer.flush(60) == 0

    with running(MODULE, "--port", str(port), "--data", str(tmp_path)) as process:
        wait_until_ready(address, 60)
        admin = AdminClient({"bootstrap.servers": address})
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
        produce(0)
        consumer = Consumer(options)
        consumer.commit(offsets=[TopicPartition(topic, 0, 20)], asynchronous=False)
        consumer.close()
        process.kill()
    with running(MODULE, "--port", str(port), "--data", str(tmp_path)):
        wait_until_ready(address, 60)
        produce(50)  # by the same producer, that was there before
        consumer = Consumer(options)
        (committed,) = consumer.committed([TopicPartition(topic, 0)], timeout=30)
        assert committed.offset == 20
        consumer.assign([TopicPartition(topic, 0, 0)])
        received: list[bytes | None] = []
        while b"99" not in received:
            received += [
                message.value() for message in consumer.consume(100, timeout=1.0) if not message.error()
            ]
        consumer.close()
    assert acknowledged == [b"%d" % n for n in range(100)]
    assert received == acknowledged


def test_a_directory_has_one_broker(tmp_path: Path) -> None:
    with running(MODULE, "--port", str(free_port()), "--data", str(tmp_path)):
        second = subprocess.run(
            [sys.executable, "-m", MODULE, "--port", str(free_port()), "--data", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert second.returncode == 1
    assert f"another embedded broker has the directory {tmp_path}" in second.stderr


def test_full_it_refuses_new_work_loses_nothing_and_takes_it_again_once_it_was_read() -> None:
    topics = Topics(f"t{uuid4().hex[:8]}")
    port = free_port()
    servers: dict[str, str | int | float | bool] = {"bootstrap.servers": f"127.0.0.1:{port}"}
    options = {**servers, "enable.idempotence": True, "message.timeout.ms": 2_000, "linger.ms": 0}
    value = bytes(200_000)
    delivered: dict[str, int] = Counter()
    refused: dict[str, int] = Counter()

    def produce(producer: Producer, topic: str) -> None:
        def told(error: KafkaError | None, message: Message) -> None:
            (delivered if error is None else refused)[topic] += 1

        producer.produce(topic, value, partition=0, on_delivery=told)
        producer.flush(40)

    with running(MODULE, "--port", str(port), "--limit", str(4 * 2**20)):
        wait_until_ready(f"127.0.0.1:{port}", 60)
        made = [NewTopic(name, 1, 1) for name in (topics.requests, topics.pairs)]
        admin = AdminClient(servers)
        for future in admin.create_topics(made).values():
            future.result(30)
        mirror, component = Producer(options), Producer(options)
        group = {**servers, "group.id": topics.prefix, "auto.offset.reset": "earliest"}
        reader = Consumer(group)
        while not refused[topics.requests]:
            produce(mirror, topics.requests)
            assert delivered[topics.requests] < 100
        while not (usage := read_usage(f"127.0.0.1:{port}")) or not usage.refusing:  # it says so each second
            time.sleep(0.05)
        assert usage.unread >= usage.limit
        assert usage.refusing.startswith("the mirrors")
        assert usage.text.startswith("4.")
        produce(component, topics.pairs)  # what is under way can be finished
        assert delivered[topics.pairs] == 1
        assert not refused[topics.pairs]

        reader.assign([TopicPartition(topics.requests, 0, 0)])
        received = 0
        while received < delivered[topics.requests]:
            received += sum(1 for message in reader.consume(10, timeout=1.0) if not message.error())
        assert reader.poll(0.3) is None  # no more than what was acknowledged
        reader.commit(offsets=[TopicPartition(topics.requests, 0, received)], asynchronous=False)
        reader.close()
        while (usage := read_usage(f"127.0.0.1:{port}")) and usage.refusing:
            time.sleep(0.05)
        assert usage is not None
        assert usage.unread < usage.limit
        before = delivered[topics.requests]
        produce(
            Producer(options), topics.requests
        )  # as the mirror does: one whose batch failed is refused for good
        assert delivered[topics.requests] == before + 1


def test_bytes_go_through_in_order() -> None:
    values = [bytes([n]) + bytes(range(256)) for n in range(100)]
    topic = f"t-{uuid4().hex}"
    with embedded_broker() as broker:
        servers: dict[str, str | int | float | bool] = {"bootstrap.servers": broker.bootstrap_servers}
        admin = AdminClient(servers)
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
        producer = Producer(servers)
        for value in values:
            producer.produce(topic, value, key=b"k", headers={"h": b"\x00"}, partition=0)
        assert producer.flush(30) == 0
        # A partition of its own rather than a group, which takes half a minute to join.
        consumer = Consumer(servers | {"group.id": topic, "auto.offset.reset": "earliest"})
        received: list[Message] = []
        consumer.assign([TopicPartition(topic, 0, 0)])
        while len(received) < len(values):
            received += consumer.consume(100, timeout=1.0)
        consumer.close()
    assert [message.value() for message in received] == values
    assert received[0].headers() == [("h", b"\x00")]


def test_it_goes_on_although_nobody_reads_what_it_prints() -> None:
    with embedded_broker() as broker:  # its stdout is a pipe, of which one line is read
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        for _ in range(400):
            admin.describe_consumer_groups(["nobody"], request_timeout=10)["nobody"].result(30)


def test_a_port_that_is_taken_is_one_clear_sentence() -> None:
    with embedded_broker() as broker:
        port = int(broker.bootstrap_servers.rpartition(":")[2])
        with pytest.raises(BrokerError, match=f"127.0.0.1:{port} .* stop what uses the port"):
            check_port_is_free(port)
        second = subprocess.run(
            [sys.executable, "-m", MODULE, "--port", str(port)], capture_output=True, text=True, timeout=60
        )
        assert (second.returncode, second.stdout) == (1, "")
        assert second.stderr.startswith("broker: the embedded broker can't listen on")
        assert second.stderr.count("\n") == 1
    check_port_is_free(port)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_signals_go_to_the_broker_itself(how: signal.Signals) -> None:
    port = free_port()
    with running(MODULE, "--port", str(port)) as process:
        wait_until_ready(f"127.0.0.1:{port}", 60)
        process.send_signal(how)
        process.wait(timeout=60)
    with pytest.raises(BrokerError, match=f"no Kafka broker answered at 127.0.0.1:{port} within 0.2 s"):
        wait_until_ready(f"127.0.0.1:{port}", 0.2)
