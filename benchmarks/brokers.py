"""The brokers that benchmarks run on: the embedded one and Apache Kafka, each a process of its own on loopback."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from shadowlane.embedded.kafka.jars import jars
from shadowlane.errors import BrokerError
from tests.services import embedded_broker, free_ports_in_a_row, running

EMBEDDED, APACHE = "the embedded broker", "Apache Kafka"


def names() -> list[str]:
    """What can run here: Apache Kafka needs Java, and Maven for the first time; says why where it can't."""
    if os.environ.get("SHADOWLANE_TEST_KAFKA"):
        return [APACHE]
    try:
        jars()
    except BrokerError as exc:
        print(f"{APACHE}: {exc}")
        return [EMBEDDED]
    return [EMBEDDED, APACHE]


@contextmanager
def broker(name: str) -> Iterator[str]:
    """Its bootstrap servers. Apache Kafka is the one that SHADOWLANE_TEST_KAFKA names, if it names one."""
    if name == EMBEDDED:
        with embedded_broker() as one:
            yield one.bootstrap_servers
    elif given := os.environ.get("SHADOWLANE_TEST_KAFKA"):
        yield given
    else:
        port = free_ports_in_a_row(2)
        with (
            tempfile.TemporaryDirectory(prefix="bench-kafka-") as data,
            running("shadowlane.embedded.kafka", "--data", data, "--port", str(port)),
        ):
            yield f"127.0.0.1:{port}"
