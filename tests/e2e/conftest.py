"""The whole system through its own commands: on the embedded broker, and on Apache Kafka."""

import pytest

from benchmarks.system import running
from tests.e2e.starting import Start, on_kafka, on_servers
from tests.services import kafka_is_elsewhere, needs_apache_kafka


@pytest.fixture(scope="module", params=["embedded", "apache"])
def start(request: pytest.FixtureRequest) -> Start:
    """Starts `shadowlane up` in a folder, with settings; on the broker of this run."""
    if request.param == "embedded":
        return running
    if kafka_is_elsewhere():
        return on_servers(request.getfixturevalue("apache_kafka"), request.getfixturevalue("clickhouse"))
    needs_apache_kafka()
    return on_kafka


@pytest.fixture(scope="module", params=["embedded", "apache"])
def start_servers_too(request: pytest.FixtureRequest) -> Start:
    """The same where a test does things to the servers: they are always `up`'s own."""
    if request.param == "embedded":
        return running
    needs_apache_kafka()
    return on_kafka
