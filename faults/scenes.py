"""The table: each fault, what is promised, how it is done, and what must be seen. In scenes that share a system."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from faults import processes
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

SCENES = (KILLS, REBALANCES, STOPS)
