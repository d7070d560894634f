"""The brokers and the ClickHouse that tests run on, one of each for the whole session.

What takes the fixture ``kafka`` runs twice: on the embedded broker and on Apache Kafka (``-k embedded`` and
``-k apache`` choose one). Apache Kafka comes from the first of these that is there, and so does ClickHouse:

1. an address in the environment: ``SHADOWLANE_TEST_KAFKA`` (bootstrap servers), and
   ``SHADOWLANE_TEST_CLICKHOUSE`` (``host:port`` of the HTTP interface) with
   ``SHADOWLANE_TEST_CLICKHOUSE_USER`` and ``SHADOWLANE_TEST_CLICKHOUSE_PASSWORD``;
2. a container, where Docker answers;
3. a process of its own: `shadowlane embedded kafka`, and the embedded store. Where Java, Maven or Maven Central
   are missing, what would run on Apache Kafka is skipped, and says why; in CI that is a fault (tests/conftest.py).

A server outlives a test, so each test takes a database, or a prefix for its topics, of its own.
"""

import http.client
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from shadowlane.embedded.broker import wait_until_ready
from shadowlane.embedded.kafka import VERSION
from shadowlane.embedded.kafka.jars import jars
from shadowlane.embedded.kafka.settings import broker_settings
from shadowlane.errors import BrokerError

CLICKHOUSE_IMAGE = os.environ.get("SHADOWLANE_TEST_CLICKHOUSE_IMAGE", "clickhouse/clickhouse-server:25.8")
KAFKA_IMAGE = os.environ.get("SHADOWLANE_TEST_KAFKA_IMAGE", f"apache/kafka:{VERSION}")
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
    """Where a broker is. ``kind``: embedded, or for Apache Kafka environment, container or local."""

    bootstrap_servers: str
    kind: str

    @property
    def session_s(self) -> float:
        """A short session timeout that it takes: so long a member is missed that was killed.

        Ours allow two seconds; one that was not asked has Kafka's own limit of six.
        """
        return {"embedded": 2.0, "environment": 6.0}.get(self.kind, 3.0)


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on right now."""
    return free_ports_in_a_row(1)


def free_ports(count: int) -> list[int]:
    """So many ports of 127.0.0.1, all different, on which nobody listens right now."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


def free_ports_in_a_row(count: int) -> int:
    """The first of so many ports, one after the other, on which nobody listens right now.

    Below those that the system gives to clients: a port of those may be gone by the time a server has started.
    """
    while True:
        first = secrets.choice(range(10_000, 32_000))
        with suppress(OSError), ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


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
def embedded_kafka() -> Iterator[KafkaAddress]:
    """The embedded broker."""
    with embedded_broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaAddress]:
    """An Apache Kafka that answers."""
    if address := os.environ.get("SHADOWLANE_TEST_KAFKA"):
        found: AbstractContextManager[KafkaAddress] = nullcontext(KafkaAddress(address, "environment"))
    elif docker_answers():
        found = _kafka_container()
    else:
        found = local_kafka(tmp_path_factory.mktemp("kafka"))
    with found as kafka:
        _await_coordinators(kafka.bootstrap_servers)
        yield kafka


def kafka_is_elsewhere() -> bool:
    """Whether the tests' Apache Kafka is one that no command of shadowlane starts."""
    return bool(os.environ.get("SHADOWLANE_TEST_KAFKA")) or docker_answers()


def needs_apache_kafka() -> None:
    """Skip the test where Apache Kafka can't be fetched or can't run."""
    try:
        jars()
    except BrokerError as exc:
        pytest.skip(f"Apache Kafka: {exc}")


@pytest.fixture(scope="module", params=["embedded", "apache"])
def kafka(request: pytest.FixtureRequest) -> KafkaAddress:
    """A broker that answers: each test runs on the embedded one, and on Apache Kafka."""
    address = request.getfixturevalue(f"{request.param}_kafka")
    assert isinstance(address, KafkaAddress)
    return address


@contextmanager
def broker_of_its_own(like: KafkaAddress, data: Path) -> Iterator[KafkaAddress]:
    """A broker that a test may stop; Apache Kafka where that can be started here, and it is to be ``like`` one."""
    with local_kafka(data) if like.kind == "local" else embedded_broker() as broker:
        yield broker


@contextmanager
def local_kafka(data: Path) -> Iterator[KafkaAddress]:
    """An Apache Kafka from Maven Central. Skips the test where there is none."""
    needs_apache_kafka()
    port = free_ports_in_a_row(2)
    with running("shadowlane.embedded.kafka", "--data", str(data), "--port", str(port)):
        yield KafkaAddress(f"127.0.0.1:{port}", "local")


def _await_coordinators(bootstrap: str) -> None:
    """Until offsets can be committed: Kafka makes the topic for them when it is first asked.

    Java's hash of a text of one character is that character's number, so these groups fall into all its partitions.
    """
    partitions, number = 1, 0
    while number < partitions:
        group: dict[str, str | int] = {"group.id": chr(ord("0") + number), "log_level": 0}
        client = Consumer({"bootstrap.servers": bootstrap, **group})

        def answers(client: Consumer = client) -> bool:
            with suppress(KafkaException):
                return bool(client.committed([TopicPartition("nothing", 0)], timeout=5))
            return False

        _wait(answers, f"no coordinator answered at {bootstrap}")
        offsets = "__consumer_offsets"
        partitions = len(client.list_topics(offsets, timeout=30).topics[offsets].partitions)
        client.close()
        number += 1


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
        **image_environment(broker_settings(1)),
    }
    container = DockerContainer(KAFKA_IMAGE).with_envs(**settings).with_bind_ports(9092, port)
    with container:
        wait_until_ready(f"127.0.0.1:{port}", timeout=_START_TIMEOUT)
        yield KafkaAddress(f"127.0.0.1:{port}", "container")


def image_environment(settings: dict[str, str]) -> dict[str, str]:
    """Kafka's settings as its image takes them: KAFKA_LOG_DIRS for log.dirs."""
    return {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in settings.items()}


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
