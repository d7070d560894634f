"""The table: each fault, what is promised, how it is done, and what must be seen. In scenes that share a system."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from faults import processes, servers
from faults.case import Fault

AGAIN = "no request lost, none counted twice, the verdict unchanged"


@dataclass(frozen=True)
class Scene:
    """Faults that run one after the other on one system."""

    name: str
    faults: tuple[Fault, ...]
    nodes: int = 1  # of Apache Kafka
    brokers: tuple[str, ...] = ("embedded", "kafka")
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: Callable[[], str] = lambda: ""  # why it can't run on this machine


KILLS = Scene(
    "kills",
    (
        Fault("worker-killed-twice", AGAIN, processes.killed_twice("worker"), arm="slow"),
        *(
            Fault(f"{component}-killed-twice", AGAIN, processes.killed_twice(component), arm="worse")
            for component in ("pairing", "sink", "controller")
        ),
        Fault("all-killed-at-once", AGAIN, processes.all_killed),
    ),
)

REBALANCES = Scene(
    "rebalances",
    tuple(
        Fault(f"{component}-killed-at-rebalance", AGAIN, processes.killed_at_rebalance(component))
        for component in ("worker", "pairing", "sink")
    ),
)

STOPS = Scene(
    "stops",
    (
        *(
            Fault(f"{component}-stopped", AGAIN, processes.stopped(component))
            for component in ("worker", "pairing", "sink")
        ),
        *(
            Fault(f"{component}-stopped-and-replaced", AGAIN, processes.stopped_with_a_second(component))
            for component in ("worker", "pairing", "sink")
        ),
        Fault(
            "leading-controller-stopped",
            "one leads, each decision once",
            processes.leader_stopped,
            arm="worse",
        ),
    ),
)

BROKER = Scene(
    "broker",
    (
        Fault("broker-killed-and-back", AGAIN, servers.broker_killed, brokers=("kafka",)),
        Fault("broker-stopped-and-back", AGAIN, servers.broker_stopped, brokers=("kafka",), arm="worse"),
        Fault(
            "embedded-broker-killed",
            "`up` ends and says why; the mirror counts what is lost",
            servers.embedded_broker_dies,
            servers.death_is_told,
            brokers=("embedded",),
        ),
    ),
)

THREE = Scene(
    "three-brokers",
    (Fault("each-of-three-brokers-killed", AGAIN, servers.one_of_three_killed),),
    nodes=3,
    brokers=("kafka",),
)

STORE = Scene(
    "store",
    (
        Fault("store-killed-and-back", AGAIN, servers.store_killed),
        Fault("store-killed-with-half-an-insert", AGAIN, servers.killed_in_an_insert, arm="worse"),
        Fault("store-killed-while-inserting", AGAIN, servers.killed_while_inserting),
        Fault(
            "store-killed-after-its-commit-before-its-answer",
            AGAIN,
            servers.killed_before_the_answer,
            arm="worse",
        ),
    ),
)

NETWORK = Scene(
    "network",
    (
        Fault("broker-cut-off", AGAIN, servers.cut(servers.brokers)),
        Fault("store-cut-off", AGAIN, servers.cut(servers.store)),
        Fault("broker-and-store-cut-off", AGAIN, servers.cut(servers.all_proxies), arm="worse"),
        Fault("packets-to-the-broker-dropped", AGAIN, servers.held(servers.brokers)),
        Fault("packets-to-the-store-dropped", AGAIN, servers.held(servers.store), arm="worse"),
        Fault("all-delayed-by-100-ms", AGAIN, servers.slowed(servers.all_proxies, delay_s=0.1)),
        Fault("bandwidth-halved", AGAIN, servers.slowed(servers.all_proxies, bytes_per_s=40_000)),
    ),
)

SCENES = (KILLS, REBALANCES, STOPS, BROKER, THREE, STORE, NETWORK)
