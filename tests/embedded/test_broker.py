"""The embedded broker as a process."""

import signal
import subprocess
import sys
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from shadowlane.embedded.broker import check_port_is_free, command, wait_until_ready
from shadowlane.errors import BrokerError
from tests.services import embedded_broker, free_port, running

MODULE = "shadowlane.embedded.broker"


def test_it_keeps_records_in_memory_on_loopback_only() -> None:
    argv, environment = command(1234)
    assert argv[1:] == ["broker", "--silent"]
    assert environment["LISTENER_URL"] == environment["ADVERTISED_LISTENER_URL"] == "tcp://127.0.0.1:1234"
    assert environment["STORAGE_ENGINE"].startswith("memory:")


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
