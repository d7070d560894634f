"""What a controller did since it started, and how Prometheus reads it."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shadowlane import metrics
from shadowlane.processors.pressure import span
from shadowlane.processors.watch import Family, Waiting, figure, figures
from shadowlane.rollout.alerts import Report
from shadowlane.rollout.state import Entry, State


@dataclass(slots=True)
class Progress:
    """Written by the controller's thread alone. Times are Unix seconds, 0 for never."""

    leads: bool | None = None
    polls: Counter[str] = field(default_factory=Counter)  # by role
    failed_polls: int = 0
    last_failed: bool = False
    refused: str = ""  # how the store did, where a poll could not ask it
    polled_at: float = 0.0
    states: dict[str, State] = field(default_factory=dict)
    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    alerts_waiting: int = 0

    def polled(
        self, *, leads: bool, failed: bool, decisions: Iterable[Entry], states: Iterable[State]
    ) -> None:
        """A poll that could ask the store. ``failed``: not all of it went well."""
        self.leads = leads
        self.polls["leader" if leads else "standby"] += 1
        self.states = {state.rollout: state for state in states}
        for entry in decisions:
            self.decisions[entry.state.rollout, entry.event] += 1
        self.last_failed, self.refused = failed, ""
        if failed:
            self.failed_polls += 1
        else:
            self.polled_at = time.time()

    def could_not_poll(self, refused: str) -> None:
        """``refused``: how the store did not let itself be asked, in words for everybody."""
        self.failed_polls += 1
        self.refused = refused
        self.last_failed = True

    def told(self, report: Report) -> None:
        """What the outbox did."""
        self.alerts.update(sent=report.sent, failed=report.failed, refused=report.refused)
        self.alerts_waiting = report.waiting

    def unready(self) -> list[str]:
        if self.last_failed:
            return ["its last poll failed; the log says why"]
        return [] if self.polled_at else ["it has not polled yet"]

    def waiting(self) -> Waiting:
        """From any thread."""
        if self.refused:
            return {"the store": f"{self.refused}; nothing is decided meanwhile"}
        return {"a good poll": "its last one failed; its log says why"} if self.last_failed else {}

    def doing(self) -> str:
        """In a few words. From any thread."""
        if not self.polled_at:
            return "no good poll yet"
        return f"last good poll {span(time.time() - self.polled_at)} ago"

    def figures(self) -> Iterator[Family]:
        """From any thread. Rollouts' states are told by the one that leads."""
        states = self.states
        yield figures(metrics.CONTROLLER_POLLS, dict(self.polls))
        yield figure(metrics.CONTROLLER_FAILED_POLLS, self.failed_polls)
        yield figure(metrics.CONTROLLER_POLLED_AT, self.polled_at)
        yield figure(metrics.CONTROLLER_LEADER, bool(self.leads))
        yield figures(metrics.CONTROLLER_TRAFFIC, {n: s.traffic_pct / 100 for n, s in states.items()})
        yield figures(
            metrics.CONTROLLER_ROLLOUT, {(n, s.stage, s.phase.value): 1.0 for n, s in states.items()}
        )
        yield figures(metrics.CONTROLLER_DECISIONS, dict(self.decisions))
        yield figures(metrics.CONTROLLER_ALERTS, dict(self.alerts))
        yield figure(metrics.CONTROLLER_ALERTS_WAITING, self.alerts_waiting)
