"""What is up, and how far behind: read from Kafka's consumer groups and the store, which every deployment has."""

import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from shadowlane.errors import StoreError
from shadowlane.processors.health import ask_health
from shadowlane.processors.kafka import client_options
from shadowlane.processors.lag import group_of, read_lag, reads
from shadowlane.processors.pressure import span, told
from shadowlane.processors.store import connect, querying
from shadowlane.schemas.config import Kafka, Settings

COMPONENTS = ("worker", "pairing", "sink")
CONTROLLER = "controller"
PARTS = ("broker", "store", *COMPONENTS, CONTROLLER)

_LEADER = """
SELECT holder, until - toUnixTimestamp64Milli(now64(3)) AS left FROM lease_log
WHERE name = 'controller' ORDER BY term DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One server or component. ``behind``: messages (envelopes) not yet committed; None where unknown. ``topics``
    has the same by topic. Where it runs on this machine, it says itself: ``doing``, what is going on; ``waits``, for
    what, why and for how many seconds; ``pace``, of its group, messages a second;
    ``told``, these two and what is not as usual, as lines.
    """

    name: str
    up: bool
    detail: str
    behind: int | None = None
    topics: dict[str, int] | None = None
    doing: str = ""
    waits: list[dict[str, Any]] = field(default_factory=list)
    pace: dict[str, float] | None = None
    told: list[str] = field(default_factory=list)


def read_status(settings: Settings, timeout: float = 5.0) -> list[Part]:
    """Broker, store, and each component. Blocks for up to twice ``timeout`` seconds; never raises for a part
    that is down, which is what it is there to tell."""
    silent = logging.getLogger("shadowlane.status.librdkafka")
    silent.addHandler(logging.NullHandler())
    silent.propagate = False
    admin = AdminClient(client_options(settings.kafka, "shadowlane-status"), logger=silent)
    try:
        listed = admin.list_topics(timeout=timeout)
    except KafkaException as exc:
        address = settings.kafka.bootstrap_servers
        parts = [Part("broker", False, f"no answer at {address} ({exc.args[0].str()})")]
        parts += [store := _store(settings, timeout)]
        parts += [Part(name, False, "the broker can't be asked") for name in COMPONENTS]
        return [_told(settings, part) for part in [*parts, _controller(settings, store, timeout)]]
    partitions = {name: len(meta.partitions) for name, meta in listed.topics.items() if meta.error is None}
    mine = [name for name in settings.kafka.topics.all if name in partitions]
    broker = Part(
        "broker",
        True,
        f"{settings.kafka.bootstrap_servers}, {len(mine)} of {len(settings.kafka.topics.all)} topics",
    )
    components = [_component(admin, name, settings.kafka, partitions, timeout) for name in COMPONENTS]
    store = _store(settings, timeout)
    return [
        _told(settings, part) for part in [broker, store, *components, _controller(settings, store, timeout)]
    ]


def _told(settings: Settings, part: Part) -> Part:
    """With what the component says itself. Whether it is up, Kafka and the store say: they see every host's."""
    health = ask_health(settings, part.name) if part.name in (*COMPONENTS, CONTROLLER) else None
    if health is None:
        return part
    hangs = "" if health.get("alive") else "it hangs; "
    return replace(
        part,
        doing=f"{hangs}{health.get('doing', '')}",
        waits=health.get("waits") or [],
        pace=health.get("pace"),
        told=told(health),
    )


def _component(
    admin: AdminClient, name: str, kafka: Kafka, partitions: dict[str, int], timeout: float
) -> Part:
    group = group_of(name, kafka)
    read = [(t, p) for t in reads(name, kafka) for p in range(partitions.get(t, 0))]
    try:
        described = admin.describe_consumer_groups([group], request_timeout=timeout)[group].result()
        state = described.state.name.lower()
        lags = read_lag(admin, kafka, group, read, timeout)
    except KafkaException as exc:
        return Part(name, False, f"group {group}: {exc.args[0].str()}")
    topics = Counter[str]()
    for (topic, _), lag in lags.items():
        topics[topic] += lag.messages
    behind = topics.total() if lags else None
    return Part(name, state == "stable", f"group {group} is {state}", behind, dict(topics) if lags else None)


def _store(settings: Settings, timeout: float) -> Part:
    where = f"{settings.clickhouse.host}:{settings.clickhouse.port}"
    try:
        # Which asks for the version.
        client = connect(settings.clickhouse, timeout_s=max(1, round(timeout)))
        client.close()
    except StoreError as exc:
        return Part("store", False, str(exc))
    return Part("store", True, f"{where}, ClickHouse {client.server_version}")


def _controller(settings: Settings, store: Part, timeout: float) -> Part:
    """Who leads, by the lease that a leader renews at its polls."""
    if not store.up:
        return Part(CONTROLLER, False, "the store can't be asked who leads")
    try:
        client = connect(settings.clickhouse, timeout_s=max(1, round(timeout)))
        with querying(settings.clickhouse):
            rows = client.query(_LEADER).result_rows
        client.close()
    except StoreError as exc:
        return Part(CONTROLLER, False, f"the store can't be asked: {exc}")
    if not rows:
        return Part(CONTROLLER, False, "none has led yet")
    holder, left = rows[0]
    if left < 0:
        return Part(CONTROLLER, False, f"{holder} has not led for {span(-left / 1000)}")
    return Part(CONTROLLER, True, f"{holder} leads")
