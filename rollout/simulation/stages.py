"""The stages of a rollout as a simulation and a plan go through them."""

from shadowlane.schemas.config import Rollout, Stage


def walked(rollout: Rollout) -> list[Stage]:
    """The stages that end in a verdict: all but a last one at 100% that nothing is waited for in."""
    last = rollout.stages[-1]
    done = len(rollout.stages) > 1 and last.traffic_pct >= 100 and last.duration_hours == 0
    return list(rollout.stages[:-1] if done else rollout.stages)


def paired(rollout: Rollout, traffic_pct: float) -> float:
    """The part of the requests that make pairs: where stable can't be asked, only those that it served."""
    return 1.0 if rollout.stable.reachable else 1 - traffic_pct / 100
