"""Components that are killed and that stand still."""

import os
import signal
import time

from faults.case import Case, Inject
from faults.traffic import wait_until
from shadowlane.schemas.config import Kafka

STILL_S = 9.0
"""How long a stopped process stands still: beyond its session with the broker, and its lease as a leader."""


def killed_twice(component: str) -> Inject:
    """SIGKILL in the middle, and again as soon as its successor is at work."""

    def inject(case: Case) -> None:
        starts = case.stack.starts(component)
        case.await_sent(0.3)
        case.kill(component)
        case.stack.await_started(component, starts + 1)
        case.await_sent(0.6)
        case.kill(component)
        case.stack.await_started(component, starts + 2)

    return inject


def stopped(component: str) -> Inject:
    """SIGSTOP until the broker has given it up, then SIGCONT."""

    def inject(case: Case) -> None:
        case.await_sent(0.3)
        pid = case.kill(component, signal.SIGSTOP)
        try:
            time.sleep(STILL_S)  # the fault itself: nothing tells that a session has run out
        finally:
            os.kill(pid, signal.SIGCONT)

    return inject


def killed_at_rebalance(component: str) -> Inject:
    """A second one joins, and the first is killed while the partitions are divided anew."""

    def inject(case: Case) -> None:
        starts = case.stack.starts(component)
        case.await_sent(0.2)
        with case.stack.second(component):
            case.kill(component)
            case.stack.await_started(component, starts + 1)
            case.await_sent(0.8)
        # and the second has left: a third division

    return inject


def stopped_with_a_second(component: str) -> Inject:
    """It stands still, a second one takes over, and it wakes up believing that all is still its own."""

    def inject(case: Case) -> None:
        case.await_sent(0.2)
        with case.stack.second(component):
            pid = case.kill(component, signal.SIGSTOP)
            try:
                time.sleep(Kafka().session_timeout_s + 2)
                case.await_stored(0.5)
            finally:
                os.kill(pid, signal.SIGCONT)
            case.await_sent(1.0)

    return inject


def all_killed(case: Case) -> None:
    """All four at one moment."""
    starts = {name: case.stack.starts(name) for name in ("worker", "pairing", "sink", "controller")}
    case.await_sent(0.5)
    for component in starts:
        case.kill(component)
    for component, count in starts.items():
        case.stack.await_started(component, count + 1)


def leader_stopped(case: Case) -> None:
    """The controller that leads stands still, another takes its lease, and it wakes up."""
    case.await_sent(0.2)
    with case.stack.second("controller") as second:
        pid = case.kill("controller", signal.SIGSTOP)
        try:
            said = case.stack.system.folder
            wait_until(
                lambda: any(
                    "this controller leads" in p.read_text() for p in said.glob("second-controller-*")
                ),
                "the second controller leads",
                40,
            )
        finally:
            os.kill(pid, signal.SIGCONT)
        case.await_sent(1.0)
        assert second.poll() is None
