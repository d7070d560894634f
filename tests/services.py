"""The Kafka and the ClickHouse that tests run on, one of each for the whole session.

Each comes from the first of these that is there:

1. an address in the environment: ``SHADOWLANE_TEST_KAFKA`` (bootstrap servers), and
   ``SHADOWLANE_TEST_CLICKHOUSE`` (``host:port`` of the HTTP interface) with
   ``SHADOWLANE_TEST_CLICKHOUSE_USER`` and ``SHADOWLANE_TEST_CLICKHOUSE_PASSWORD``;
2. a container, where Docker answers;
3. the embedded servers, each in a process of its own.

A server outlives a test, so each test takes a database, or a prefix for its topics, of its own.
"""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from shadowlane.embedded.broker import wait_until_ready

CLICKHOUSE_IMAGE = os.environ.get("SHADOWLANE_TEST_CLICKHOUSE_IMAGE", "clickhouse/clickhouse-server:25.8")
KAFKA_IMAGE = os.environ.get("SHADOWLANE_TEST_KAFKA_IMAGE", "apache/kafka:4.1.0")
_START_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class ClickHouseAddress:
    """Where ClickHouse's HTTP interface is. ``kind``: environment, container or embedded."""

    host: str
    port: int
    username: str
    password: str
    kind: str


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """Where Kafka is. ``kind``: environment, container or embedded."""

    bootstrap_servers: str
    kind: str


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``python -m module``, from the line in which it says that it is ready until the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, stderr=None, text=True
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert "ready" in line, f"{module} did not start: {line!r}, exit code {process.wait()}"
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)
        assert process.stdout
        process.stdout.close()


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseAddress]:
    """A ClickHouse that answers."""
    if address := os.environ.get("SHADOWLANE_TEST_CLICKHOUSE"):
        host, _, port = address.rpartition(":")
        yield ClickHouseAddress(
            host=host,
            port=int(port),
            username=os.environ.get("SHADOWLANE_TEST_CLICKHOUSE_USER", "default"),
            password=os.environ.get("SHADOWLANE_TEST_CLICKHOUSE_PASSWORD", ""),
            kind="environment",
        )
    elif docker_answers():
        with _clickhouse_container() as container:
            yield container
    else:
        with embedded_store(tmp_path_factory.mktemp("store")) as store:
            yield store


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaAddress]:
    """A Kafka that answers."""
    if address := os.environ.get("SHADOWLANE_TEST_KAFKA"):
        yield KafkaAddress(address, "environment")
    elif docker_answers():
        with _kafka_container() as container:
            yield container
    else:
        with embedded_broker() as broker:
            yield broker


@contextmanager
def embedded_store(data: Path) -> Iterator[ClickHouseAddress]:
    """The embedded store on a free port."""
    port = free_port()
    with running("shadowlane.embedded.store", "--data", str(data), "--port", str(port)):
        yield ClickHouseAddress("127.0.0.1", port, "default", "", "embedded")


@contextmanager
def embedded_broker() -> Iterator[KafkaAddress]:
    """The embedded broker on a free port."""
    port = free_port()
    with running("shadowlane.embedded.broker", "--port", str(port)):
        wait_until_ready(f"127.0.0.1:{port}", timeout=_START_TIMEOUT)
        yield KafkaAddress(f"127.0.0.1:{port}", "embedded")


def docker_answers() -> bool:
    """Whether a Docker daemon answers, asked without a word and within a second."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    with suppress(OSError):
        if host.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1.0)
                connection.connect(host.removeprefix("unix://"))
                connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
                return b"200" in connection.recv(64)
        if host.startswith("tcp://"):
            name, _, port = host.removeprefix("tcp://").rpartition(":")
            with socket.create_connection((name, int(port)), timeout=1.0):
                return True
    return False


@contextmanager
def _clickhouse_container() -> Iterator[ClickHouseAddress]:
    from testcontainers.core.container import DockerContainer

    # Without a user and a password, the image's default user is cut off from the network.
    container = (
        DockerContainer(CLICKHOUSE_IMAGE)
        .with_env("CLICKHOUSE_USER", "shadowlane")
        .with_env("CLICKHOUSE_PASSWORD", "shadowlane")
        .with_env("CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT", "1")
        .with_exposed_ports(8123)
    )
    with container:
        host, port = container.get_container_host_ip(), int(container.get_exposed_port(8123))
        _wait(lambda: _pings(host, port), f"ClickHouse did not answer at {host}:{port}")
        yield ClickHouseAddress(host, port, "shadowlane", "shadowlane", "container")


@contextmanager
def _kafka_container() -> Iterator[KafkaAddress]:
    from testcontainers.core.container import DockerContainer

    # A client is sent on to the address that the broker advertises, so that one is fixed beforehand.
    port = free_port()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": "HOST://0.0.0.0:9092,INTERNAL://localhost:19092,CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"HOST://127.0.0.1:{port},INTERNAL://localhost:19092",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "HOST:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    container = DockerContainer(KAFKA_IMAGE).with_envs(**settings).with_bind_ports(9092, port)
    with container:
        wait_until_ready(f"127.0.0.1:{port}", timeout=_START_TIMEOUT)
        yield KafkaAddress(f"127.0.0.1:{port}", "container")


def _pings(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=2.0)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _wait(answers: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not answers():
        assert time.monotonic() < deadline, f"{otherwise} within {_START_TIMEOUT:g} s"
        time.sleep(0.2)
