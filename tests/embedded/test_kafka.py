"""Apache Kafka on this machine: what stays, what ends with what, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from shadowlane.embedded.broker import check_port_is_free
from shadowlane.embedded.kafka import Cluster
from shadowlane.errors import BrokerError
from tests.services import free_port, free_ports_in_a_row, needs_apache_kafka, running

MODULE = "shadowlane.embedded.kafka"
TOPIC = "kept"
STARTING = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Cluster]:
    needs_apache_kafka()
    cluster = Cluster(tmp_path / "kafka", port=free_ports_in_a_row(2))
    cluster.start()
    yield cluster
    cluster.stop()


def create(cluster: Cluster, copies: int = -1) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    admin.create_topics([NewTopic(TOPIC, 1, copies)])[TOPIC].result(30)


def produce(cluster: Cluster, *values: bytes) -> None:
    """Acknowledged by all replicas that are in sync."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "acks": "all", "log_level": 0})
    errors: list[object] = []
    for value in values:
        producer.produce(TOPIC, value, partition=0, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(60) == 0
    assert errors == [None] * len(values)


def group(cluster: Cluster) -> Consumer:
    return Consumer(
        {"bootstrap.servers": cluster.bootstrap_servers, "group.id": "g", "auto.offset.reset": "earliest"}
        | {"enable.auto.commit": False, "log_level": 0}
    )


def commit(consumer: Consumer, offset: int) -> None:
    """Of the first group ever, Kafka makes the place for offsets; until that is done, it refuses."""
    while True:
        try:
            consumer.commit(offsets=[TopicPartition(TOPIC, 0, offset)], asynchronous=False)
            return
        except KafkaException as exc:
            if exc.args[0].code() not in STARTING:
                raise
            threading.Event().wait(0.05)


def read(cluster: Cluster, count: int) -> list[bytes | None]:
    consumer = group(cluster)
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    values: list[bytes | None] = []
    while len(values) < count:
        values += [message.value() for message in consumer.consume(count, timeout=1.0)]
    consumer.close()
    return values


def test_topics_records_and_offsets_outlive_a_stop_and_a_kill(one: Cluster) -> None:
    create(one)
    produce(one, b"a", b"b")
    consumer = group(one)
    commit(consumer, 1)
    consumer.close()
    one.stop()
    assert one.pids == {}
    assert one.exit_code(1) == 128 + signal.SIGTERM  # what Java says after an end in order
    one.start()
    produce(one, b"c")
    one.kill_node(1)
    assert one.pids == {}
    one.start_node(1)
    assert read(one, 3) == [b"a", b"b", b"c"]
    consumer = group(one)
    assert [place.offset for place in consumer.committed([TopicPartition(TOPIC, 0)], timeout=60)] == [1]
    consumer.close()


def test_an_id_that_begins_like_an_option_is_none(tmp_path: Path) -> None:
    needs_apache_kafka()
    known = {"cluster_id": "-AAAAAAAQACAAAAAAAAAAA", "nodes": 1, "made_by": "a test"}
    (tmp_path / "cluster.json").write_text(json.dumps(known), encoding="utf-8")
    cluster = Cluster(tmp_path, port=free_ports_in_a_row(2))
    cluster.start()
    try:
        create(cluster)
    finally:
        cluster.stop()


def test_the_data_has_one_owner_and_one_size(one: Cluster, tmp_path: Path) -> None:
    other = Cluster(one.layout.data, port=free_ports_in_a_row(2))
    with pytest.raises(BrokerError, match=f"belongs to the Kafka that process {os.getpid()} started"):
        other.start()
    with pytest.raises(BrokerError, match="stop what uses the port"):
        Cluster(tmp_path / "else", port=one.layout.port).start()
    one.stop()
    with pytest.raises(BrokerError, match=r"is of 1 node\(s\), not of 3"):
        Cluster(one.layout.data, nodes=3, port=free_ports_in_a_row(6)).start()
    one.start()  # what was refused left nothing behind


def test_a_node_that_can_not_start_says_why(one: Cluster) -> None:
    one.stop()
    (one.layout.records(1) / "meta.properties").write_text("version=1\ncluster.id=another\nnode.id=7\n")
    with pytest.raises(
        BrokerError, match=r"node 1 did not start \(exit code 1\): .*fatal exception\n.*Stored node id 7"
    ):
        one.start()
    assert one.pids == {}


@pytest.mark.parametrize(("nodes", "port"), [(2, 9092), (1, 0), (3, 65531)])
def test_what_no_cluster_can_be(tmp_path: Path, nodes: int, port: int) -> None:
    with pytest.raises(BrokerError, match="choose"):
        Cluster(tmp_path, nodes, port)


@pytest.mark.slow
def test_three_nodes_lose_nothing_with_one_of_them(tmp_path: Path) -> None:
    needs_apache_kafka()
    with Cluster(tmp_path / "kafka", nodes=3, port=free_ports_in_a_row(6)) as cluster:
        create(cluster)
        produce(cluster, b"a")
        topics = AdminClient({"bootstrap.servers": cluster.bootstrap_servers}).list_topics(timeout=30).topics
        leader = topics[TOPIC].partitions[0].leader
        assert len(topics[TOPIC].partitions[0].replicas) == 3
        consumer = group(cluster)
        commit(consumer, 1)
        cluster.kill_node(leader)
        assert set(cluster.pids) == {1, 2, 3} - {leader}
        produce(cluster, b"b")
        assert read(cluster, 2) == [b"a", b"b"]
        assert consumer.committed([TopicPartition(TOPIC, 0)], timeout=60)[0].offset == 1
        consumer.close()
        cluster.start_node(leader)
        assert set(cluster.pids) == {1, 2, 3}
    assert cluster.pids == {}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_command_takes_its_node_along(tmp_path: Path, how: signal.Signals) -> None:
    needs_apache_kafka()
    if how is signal.SIGKILL and sys.platform != "linux":
        return  # nothing there ends a child with its parent: docs/kafka.md
    port = free_ports_in_a_row(2)
    with running(MODULE, "--data", str(tmp_path), "--port", str(port)) as process:
        process.send_signal(how)
        assert process.wait(60) == (0 if how is signal.SIGTERM else -how)
    # The suite's time limit ends it if the node stays.
    while not ended(port):
        threading.Event().wait(0.05)


def ended(port: int) -> bool:
    try:
        check_port_is_free(port)
    except BrokerError:
        return False
    return True


def test_the_command_ends_with_its_last_node(tmp_path: Path) -> None:
    needs_apache_kafka()
    port = free_ports_in_a_row(2)
    command = [sys.executable, "-m", MODULE, "--data", str(tmp_path), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith(f"kafka: ready at 127.0.0.1:{port}, Apache Kafka 4")
        os.kill(int(line.rpartition(" ")[2]), signal.SIGKILL)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "node 1 ended (exit code -9)" in said


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    needs_apache_kafka()
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", MODULE, "--data", str(tmp_path / "file"), "--port", str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("kafka: Kafka can't keep its data in")
    assert done.stderr.count("\n") == 1
