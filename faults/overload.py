"""More than something takes: a slow candidate, a store away or slow, a full broker. docs/overload.md."""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from faults.brokers import Embedded
from faults.case import REQUESTS, Case, PromiseBrokenError
from faults.stack import Plan
from faults.traffic import Traffic, wait_until
from faults.watched import SERVICE, Memory, memory_of
from shadowlane.producers.prometheus import register

RATE = 60.0  # requests a second
COUNT = 10 * REQUESTS
SECONDS = COUNT / RATE
SIZE = 16_000  # characters of a prompt: more waits than any process may hold

AWAY_S = float(os.environ.get("FAULTS_AWAY_S", "600"))
AWAY_RATE = 20.0
AWAY_COUNT = REQUESTS * max(2, round(AWAY_RATE * (AWAY_S + 40) / REQUESTS))

FULL_RATE = 40.0
FULL_COUNT = 12 * REQUESTS
FULL_SIZE = 32_000
FULL_BYTES = 64 * 2**20

SLOW_S = 0.5
CALLS = 3  # at once: with SLOW_S each, six answers a second, a tenth of the traffic
MIRROR_MB = 16
MIRROR: dict[str, Any] = {"buffer_bytes": MIRROR_MB * 2**20, "delivery_timeout": 5.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "worker": {"concurrency": CALLS},
    "pairing": {"max_waiting_bytes": 16 * 2**20},
    "sink": {"max_bytes": 8 * 2**20},
}

FETCHED_MB = 2 * (16 + 8)  # by the Kafka client: what is queued and one fetch, packed and unpacked
ALLOWED_MB: dict[str, float] = {
    "worker": 32 + 64 + FETCHED_MB,  # read and not finished, written and not acknowledged
    "pairing": 2 * 16
    + 64
    + 32,  # halves of either side, written and not acknowledged, on their way to the agents
    "sink": 3 * 8 + 25 + FETCHED_MB,  # a block, its body, the next one's rows; a hundred envelopes at once
    "controller": 32,
    SERVICE: 3 * MIRROR_MB + 32,  # what waits, its envelopes in the client's queue, the answers under way
    "broker": 64,
    "broker, Tansu": 128,
}
"""On top of what each had before the traffic, from its configuration; the store and Kafka's Java are not ours."""


@contextlib.contextmanager
def small_buffers(folder: Path, plan: Plan) -> Iterator[None]:
    """What may wait in memory is little, so that the traffic is more."""
    plan.settings |= SETTINGS
    yield


@contextlib.contextmanager
def small_broker(folder: Path, plan: Plan) -> Iterator[None]:
    """The same, with as little on the embedded broker's disk as it can be told."""
    plan.settings |= SETTINGS
    plan.broker_max_bytes = FULL_BYTES
    yield


def told(case: Case, part: str, pattern: str) -> str:
    """What `shadowlane status` says of a part, once that is it. Raises PromiseBrokenError."""
    said = ""

    def says() -> bool:
        nonlocal said
        said = "; ".join(case.stack.status()[part]["told"])
        return re.search(pattern, said) is not None

    try:
        wait_until(says, "status", 30, every=0.3)
    except RuntimeError:
        raise PromiseBrokenError(f"status says of {part}: {said!r}, and not {pattern!r}") from None
    case.note(f"status of {part}: {said}")
    return said


@contextlib.contextmanager
def bounded(case: Case) -> Iterator[None]:
    """Memory is looked at until the end of the block. Raises PromiseBrokenError where one takes more than it may."""
    with memory_of(case.stack) as memory:
        yield
    case.evidence["memory"] = memory
    if over := memory.over(ALLOWED_MB):
        raise PromiseBrokenError("; ".join(over))
    case.note(f"memory before and at the most: {_listed(memory)}")


def _listed(memory: Memory) -> str:
    return ", ".join(f"{name} {memory.before[name]:.0f} {most:.0f} MB" for name, most in memory.most.items())


def caught_up(case: Case, heal: Callable[[], object], rate: float) -> None:
    """From here on nothing is in the way: until all that was sent is stored, but for what has just come."""
    heal()
    began, before = time.monotonic(), case.stored()
    behind = case.traffic.sent - before
    wait_until(lambda: case.traffic.sent - case.stored() <= rate, "caught up", 300, every=0.25)
    seconds = time.monotonic() - began
    stored = (case.stored() - before) / seconds
    case.notes.insert(  # first: the table cuts off what is long
        0,
        f"{behind} behind, caught up in {seconds:.0f} s at {stored:.0f}/s, where {rate:g}/s is the traffic's rate",
    )


def slow_candidate(case: Case) -> None:
    """Before the traffic: the candidate gives a tenth of the answers that it is asked for."""
    case.stack.set_pace(SLOW_S)


def candidate_slower(case: Case) -> None:
    """All the traffic passes meanwhile; then the candidate answers as fast as the stable version."""
    with bounded(case):
        case.await_sent(0.8)
        told(
            case,
            "worker",
            r"waits for answers for .* requests wait for one; .* messages behind, .*falls behind",
        )
        case.await_sent(1.0)
        caught_up(case, lambda: case.stack.set_pace(0.0), RATE)


def slower_for_good(case: Case) -> None:
    """Nothing changes: much of what the candidate is asked finds its other half gone."""
    with bounded(case):
        case.await_sent(1.0)
        told(case, "worker", r"waits for answers for .* requests wait for one")


def the_rest_is_unpaired(case: Case, report: dict[str, Any]) -> str:
    """Each request is scored, or unpaired since its shadow response came too late."""
    case.exact(report)
    ledger, reasons = report["ledger"], report["ledger"]["reasons"].get("unpaired", {})
    paired, late = ledger["scored"], ledger["unpaired"]
    if not paired or not late or paired + late != case.traffic.sent or set(reasons) != {"no_shadow_response"}:
        raise PromiseBrokenError(f"sent {case.traffic.sent}, ledger {ledger}")
    case.await_caught_up()  # and the late answers are taken note of, and change nothing
    again = case.report()["ledger"]
    if (again["scored"], again["unpaired"]) != (paired, late):
        raise PromiseBrokenError(f"late answers changed the ledger: {ledger}, then {again}")
    return f"{paired} scored, {late} unpaired (no_shadow_response)"


def store_away(case: Case) -> None:
    """SIGKILL, and back on the same data after :data:`AWAY_S`, the traffic going on."""
    with bounded(case):
        case.await_stored(0.01)
        case.stack.store.kill()
        until = time.monotonic() + AWAY_S
        case.traffic.await_sent(0.5 * AWAY_S * AWAY_RATE / AWAY_COUNT, 60 + 2 * AWAY_S)
        told(case, "sink", r"waits for the store for .*: it does not answer.* messages behind")
        time.sleep(max(0.0, until - time.monotonic()))
        case.stack.store.start()
        caught_up(case, lambda: None, AWAY_RATE)


def store_slow(case: Case) -> None:
    """The way to the store takes a quarter of what goes in, until all the traffic has passed."""
    with bounded(case):
        case.await_stored(0.01)
        case.stack.store_proxy.bytes_per_s = 0.25 * RATE * SIZE
        case.await_sent(0.8)
        told(case, "sink", r"waits for the store for .*: an insert of .* messages behind")
        case.await_sent(1.0)
        caught_up(case, case.stack.store_proxy.heal, RATE)


def broker_full(case: Case) -> None:
    """The broker is full of what the slow candidate has yet to answer; then that is quick, and makes room."""
    _until_full(case, lambda: case.stack.set_pace(0.0))


def broker_full_and_raised(case: Case) -> None:
    """The same; the room is made by a larger bound and a new start, and the candidate stays slow."""
    broker = case.stack.broker
    assert isinstance(broker, Embedded)

    def raise_limit() -> None:
        broker.stop()
        broker.max_bytes *= 8
        broker.start()

    _until_full(case, raise_limit)
    case.stack.set_pace(0.0)


def _until_full(case: Case, make_room: Callable[[], None]) -> None:
    traffic, broker = case.traffic, case.stack.broker
    assert isinstance(traffic, Traffic)
    assert isinstance(broker, Embedded)
    registry = CollectorRegistry()
    register(traffic.mirror, registry)
    with bounded(case):
        wait_until(lambda: traffic.mirror.stats()["dropped"], "the mirror drops", 120, every=0.1)
        told(case, "broker", r"refuses the mirrors.*for \d")
        if "refuses the mirrors" not in broker.log.read_text():
            raise PromiseBrokenError("the broker's log does not say that it refuses")
        full_at, began = traffic.sent, time.monotonic()
        make_room()
        wait_until(lambda: not case.stack.status()["broker"]["told"], "room again", 120, every=0.3)
        case.note(f"room again after {time.monotonic() - began:.0f} s")
        dropped = sum(traffic.mirror.stats()["dropped"].values())
        case.await_sent(1.0)
    case.note(f"the mirror says: {traffic.mirror.stats()['last_problem']}")
    case.evidence |= {"registry": registry, "full_at": full_at, "dropped_by_then": dropped}


def all_but_the_dropped(case: Case, report: dict[str, Any]) -> str:
    """The service felt nothing; what was dropped is counted by reason, alike everywhere; all else is scored, but for
    those of which Kafka has taken one half as it began to refuse: they are mirrored, and end as unpaired."""
    traffic, ledger = case.traffic, report["ledger"]
    assert isinstance(traffic, Traffic)
    case.exact(report)
    stats = traffic.mirror.stats()
    dropped = sum(stats["dropped"].values())
    told_by = ledger["reasons"].get("dropped", {})
    metric = {
        sample.labels["reason"]: int(sample.value)
        for family in case.evidence["registry"].collect()
        for sample in family.samples
        if sample.name == "shadowlane_mirror_dropped_requests_total"
    }
    if not dropped or stats["dropped"] != told_by or metric != told_by:
        raise PromiseBrokenError(f"dropped: mirror {stats['dropped']}, /metrics {metric}, ledger {told_by}")
    taken = ledger["scored"] + ledger["unpaired"]
    few = ledger["unpaired"] <= dropped
    if traffic.failed or not few or taken != traffic.sent - dropped or report["verdict"] != "promote":
        raise PromiseBrokenError(f"{traffic.failed} calls failed, {report['verdict']}, ledger {ledger}")
    after = dropped - case.evidence["dropped_by_then"]
    if ledger["scored"] <= case.evidence["full_at"]:
        raise PromiseBrokenError(
            f"nothing was mirrored once there was room: {ledger}, {after} dropped after it"
        )
    calls = sorted(traffic.took)
    halves = f", {ledger['unpaired']} unpaired, with one half taken" if ledger["unpaired"] else ""
    free, full = ([s for n, s in calls if low <= n < high] for low, high in _halves(case))
    return (
        f"{ledger['scored']} of {traffic.sent} scored, {dropped} dropped ({_reasons(told_by)})"
        f"{halves}, promote; "
        f"a call took {_took(free)} before, {_took(full)} while it was full"
    )


def _halves(case: Case) -> tuple[tuple[int, int], tuple[int, int]]:
    """Numbers of the calls well before the broker was full, and of those around the moment that it was."""
    full: int = case.evidence["full_at"]
    return (full // 4, full // 2), (full - full // 8, full + full // 8)


def _took(seconds: list[float]) -> str:
    if not seconds:
        return "no time"
    median, most = (1000 * sorted(seconds)[int(share * len(seconds))] for share in (0.5, 0.99))
    return f"{median:.0f} ms (p99 {most:.0f})"


def _reasons(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
