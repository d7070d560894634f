"""Starts the whole system on Apache Kafka: one that `up` starts itself, or one that is there."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.system import System, running
from tests.services import ClickHouseAddress, KafkaAddress, free_ports_in_a_row

Start = Callable[[Path, dict[str, Any]], AbstractContextManager[System]]


def on_kafka(folder: Path, settings: dict[str, Any]) -> AbstractContextManager[System]:
    """`up` starts Apache Kafka itself."""
    kafka = settings.get("kafka", {}) | {"bootstrap_servers": f"127.0.0.1:{free_ports_in_a_row(2)}"}
    return running(folder, settings | {"kafka": kafka}, "--broker", "kafka")


def on_servers(kafka: KafkaAddress, clickhouse: ClickHouseAddress) -> Start:
    """`up` uses servers that others use too: topics and a database of its own."""

    def start(folder: Path, settings: dict[str, Any]) -> AbstractContextManager[System]:
        name = f"e2e{uuid4().hex[:10]}"
        own: dict[str, Any] = {"bootstrap_servers": kafka.bootstrap_servers, "topic_prefix": name}
        own |= {"session_timeout_s": kafka.session_s}
        store = {
            "host": clickhouse.host,
            "port": clickhouse.port,
            "username": clickhouse.username,
            "password": clickhouse.password,
            "database": name,
        }
        settings = settings | {
            "kafka": settings.get("kafka", {}) | own,
            "clickhouse": settings.get("clickhouse", {}) | store,
        }
        return running(folder, settings, "--no-servers")

    return start
