"""Rollouts, states and verdicts for tests of the controller's parts."""

from datetime import UTC, datetime
from typing import Any

from shadowlane.evaluators.gates.evidence import Evidence, Latch
from shadowlane.evaluators.gates.verdict import Decision, Verdict
from shadowlane.rollout.machine import begin
from shadowlane.rollout.state import State
from shadowlane.schemas.config import Rollout

NOW = 1_772_366_400_000  # 2026-03-01 12:00 UTC
HOUR = 3_600_000
STAGES: list[dict[str, Any]] = [
    {"name": "shadow", "duration_hours": 1},
    {"name": "canary", "traffic_pct": 5, "duration_hours": 4},
    {"name": "partial", "traffic_pct": 25, "duration_hours": 12},
    {"name": "full", "traffic_pct": 100, "duration_hours": 0},
]


def rollout(**changes: Any) -> Rollout:
    """A rollout of four stages: shadow, canary 5%, partial 25%, full."""
    content: dict[str, Any] = {
        "name": "to-b",
        "match": {"service": "desk"},
        "stable": {"model": "a", "base_url": "http://127.0.0.1:1/v1"},
        "candidate": {"model": "b", "base_url": "http://127.0.0.1:1/v1"},
        "stages": STAGES,
    }
    return Rollout.model_validate(content | changes)


def started(configured: Rollout, now: int = NOW) -> State:
    entry = begin(configured, None, now, now)
    assert entry is not None
    return entry.state


def verdict(decision: Decision, *, alone: str = "", slice_: str = "", mean: float = 0.05) -> Verdict:
    """What the gates would say: a roll back is by ``error_rate > 2%``, in one slice alone where one is given."""
    latch = None
    if decision is Decision.ROLL_BACK:
        leading = Evidence(
            "error_rate > 2%", "error_rate > 2%", 256.0, 5.5, 100.0, 1.0, 525, mean, 0, slice=slice_
        )
        latch = Latch(datetime.fromtimestamp(NOW / 1000, UTC), 525, 256.0, (leading,), alone)
    first = datetime.fromtimestamp(NOW / 1000 - 600, UTC)
    return Verdict(
        verdict=decision,
        reason=f"because it is {decision.value}",
        missing=("500 of at least 930 pairs",) if decision is Decision.INCONCLUSIVE else (),
        pairs=525,
        pairs_needed=None,
        first=first,
        last=first,
        promote=(),
        alarms=(),
        roll_back=latch,
    )
