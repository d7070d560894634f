"""One fault: its traffic, the moment it strikes, and what is true afterwards."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from confluent_kafka.admin import AdminClient

from benchmarks.system import SystemFailedError
from faults.stack import Stack
from faults.traffic import Traffic, arrivals, steady, wait_until
from shadowlane.processors.lag import group_of, read_lag, reads
from shadowlane.producers import Mirror
from shadowlane.schemas.config import Kafka

REQUESTS = 240
SECONDS = 6.0
SETTLE_S = 240.0


class PromiseBrokenError(AssertionError):
    """What was promised is not what was seen. The text says both."""


class Asking(Protocol):
    """A service's traffic. ``sent`` is counted outside of what is tried."""

    @property
    def sent(self) -> int: ...

    def start(self) -> None: ...

    def await_sent(self, share: float, timeout: float = 120.0) -> None: ...

    def wait(self) -> None: ...

    def finish(self) -> None: ...


@dataclass
class Case:
    """A service of its own on a running stack, named after the fault. Its numbers are counted outside."""

    name: str
    stack: Stack
    calm: dict[str, dict[str, Any]]  # what counts of the fault-free runs, by the candidate's behaviour
    arm: str
    count: int = REQUESTS
    seconds: float = SECONDS
    size: int = 0  # characters that each prompt has on top
    mirror_options: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    service: "Callable[[Case], Asking] | None" = None  # instead of a mirror in this process
    evidence: dict[str, Any] = field(default_factory=dict)  # of the injection, for the check

    def begin(self) -> None:
        """Traffic starts."""
        self.traffic: Asking
        if self.service is not None:
            self.traffic = self.service(self)
        else:
            mirror = Mirror(
                service=self.name, kafka=self.stack.broker.address, exit_timeout=5.0, **self.mirror_options
            )
            moments = steady if self.seconds > SECONDS else arrivals  # a rate is named: it is to be that one
            self.traffic = Traffic(
                mirror, self.stack.model("stable"), self.count, self.seconds, moments=moments, size=self.size
            )
        self.traffic.start()

    def note(self, text: str) -> None:
        """Something to tell in the table."""
        self.notes.append(text)

    def await_sent(self, share: float) -> None:
        self.traffic.await_sent(share)

    def await_stored(self, share: float, timeout: float = 150.0) -> None:
        """Until the store has so much of this service's traffic."""
        wait_until(lambda: self.stored() >= share * self.count, f"{share:.0%} stored", timeout)

    def stored(self) -> int:
        sql = "SELECT uniqExact(pair_id) FROM pair_log WHERE service = {service:String}"
        return int(self.stack.query(sql, service=self.name)[0][0])

    def kill(self, component: str, number: signal.Signals = signal.SIGKILL) -> int:
        pid = self.stack.pid(component)
        os.kill(pid, number)
        return pid

    def await_new(self, component: str, old: int) -> int:
        """Until another process of the component than ``old`` has begun its work."""
        wait_until(lambda: self.stack.pid(component) != old, f"{component} is started again", 30)
        return self.stack.pid(component)

    def await_caught_up(self, timeout: float = 90.0) -> None:
        """Until every component has committed all that there is to read."""
        kafka = Kafka(bootstrap_servers=self.stack.broker.address)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})

        def caught_up() -> bool:
            listed = admin.list_topics(timeout=10).topics
            for component in ("worker", "pairing", "sink"):
                places = [(t, p) for t in reads(component, kafka) for p in listed[t].partitions]
                lags = read_lag(admin, kafka, group_of(component, kafka), places, 10)
                if any(lag.messages for lag in lags.values()):
                    return False
            return True

        wait_until(caught_up, "all is read", timeout, every=0.5)

    def report(self) -> dict[str, Any]:
        return self.stack.system.report(self.name)

    def settle(self, timeout: float = SETTLE_S) -> dict[str, Any]:
        """The report, once all that was sent is in the ledger and nothing is on its way any more."""
        self.traffic.finish()
        expected = self.traffic.sent
        deadline, began = time.monotonic() + timeout, time.monotonic()
        while True:
            self.stack.system.alive()
            try:
                report = self.report()
            except SystemFailedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
                continue
            ledger = report["ledger"]
            # What is missing by its age may still be open: a machine under load is slow, and the audit knows.
            if ledger["eligible"] >= expected and not ledger["in_flight"] and not ledger["missing"]:
                self.settled_s = time.monotonic() - began
                return report
            if time.monotonic() > deadline:
                raise PromiseBrokenError(
                    f"not settled after {timeout:g} s; sent {expected}, ledger {compact(ledger)}\n"
                    f"{self.stack.system.logs(5)}"
                )
            time.sleep(0.5)

    def exact(self, report: dict[str, Any]) -> None:
        """The ledger adds up to what was really sent."""
        audit = self.stack.audit(self.name)
        if not audit["adds_up"]:
            told = [(gap["text"], gap["examples"][:3]) for gap in audit["gaps"]]
            raise PromiseBrokenError(f"the audit: {told}")
        ledger = report["ledger"]
        if not ledger["adds_up"] or ledger["eligible"] != self.traffic.sent:
            raise PromiseBrokenError(f"sent {self.traffic.sent}, ledger {compact(ledger)}")

    def unchanged(self, report: dict[str, Any]) -> str:
        """Every request is scored, and all that decides is what it is without a fault."""
        self.exact(report)
        seen, calm = what_counts(report), scaled(self.calm[self.arm], self.count // REQUESTS)
        if seen != calm:
            differing = {key: (calm[key], seen[key]) for key in calm if calm[key] != seen[key]}
            raise PromiseBrokenError(f"not as without the fault (then, now): {differing}")
        return f"{report['ledger']['scored']} of {self.traffic.sent} scored, {report['verdict'].replace('_', ' ')}"


Inject = Callable[[Case], None]
Check = Callable[[Case, dict[str, Any]], str]


def unchanged(case: Case, report: dict[str, Any]) -> str:
    return case.unchanged(report)


def nothing(case: Case) -> None:
    """No fault."""


@dataclass(frozen=True)
class Fault:
    """A row of the table. ``inject`` runs while the traffic does; ``check`` gives what was seen, or raises."""

    name: str
    promise: str
    inject: Inject = nothing
    check: Check = unchanged
    arm: str = "good"  # how the candidate behaves: faults/model.py
    brokers: tuple[str, ...] = ("embedded", "kafka")
    rollout: dict[str, Any] = field(default_factory=dict)
    mirror: dict[str, Any] = field(default_factory=dict)
    service: "Callable[[Case], Asking] | None" = None  # another one than a mirror in this process
    before: Inject = nothing  # before the traffic
    count: int = REQUESTS  # a multiple of it: answers repeat, so the means are the same
    seconds: float = SECONDS
    size: int = 0


def compact(ledger: dict[str, Any]) -> str:
    return orjson.dumps({k: v for k, v in ledger.items() if v}).decode()


def what_counts(report: dict[str, Any]) -> dict[str, Any]:
    """The report without what the clock and the rollout's name make of it.

    To 1e-9, as decisions on it are: ClickHouse adds up a mean in the order in which the rows lie.
    """
    keys = ("unit", "pairs", "stable", "candidate", "difference")
    return {
        "verdict": report["verdict"],
        "pairs": report["pairs"],
        "failures": report["failures"],
        "metrics": {
            name: {k: round(m[k], 9) if isinstance(m[k], float) else m[k] for k in keys}
            for name, m in report["metrics"].items()
        },
        "ledger": report["ledger"],
    }


def scaled(counts: Any, times: int) -> Any:
    """What counts of so many times the traffic: its counts are that much more, its means are the same."""
    if isinstance(counts, dict):
        return {key: scaled(value, times) for key, value in counts.items()}
    return counts * times if isinstance(counts, int) and not isinstance(counts, bool) else counts
