"""What comes next in a rollout, in one sentence. Pure."""

from datetime import UTC, datetime

from shadowlane.evaluators.check import longest_hours
from shadowlane.evaluators.gates.verdict import Verdict
from shadowlane.rollout.machine import on_alarm, stage_of
from shadowlane.rollout.state import Phase, State
from shadowlane.schemas.config import Rollout


def next_step(rollout: Rollout, state: State, verdict: Verdict | None = None) -> str:
    """What the rollout waits for, and what then; with a verdict, what is missing."""
    if state.epoch != rollout.epoch:
        return (
            "the configuration here is not the one that the rollout goes by: a controller that is started with it "
            "begins a new epoch"
        )
    name = f"shadowlane rollout … {rollout.name}"
    phase, stage = state.phase, stage_of(rollout, state)
    if state.alarm:
        return f"a roll back was decided, and is a person's to do: {on_alarm(state)}"
    if phase is Phase.RUNNING:
        return _running(rollout, state, verdict)
    if phase is Phase.PAUSED:
        return f"nothing until somebody resumes it; the guard goes on ({name.replace('…', 'resume')})"
    if phase is Phase.INCONCLUSIVE:
        return (
            f"a person decides: resume, promote or abort ({name.replace('…', 'resume')}); the guard goes on"
        )
    if phase is Phase.PASSED:
        return f"nothing: {stage.name} is the last stage; the guard goes on"
    if phase is Phase.COMPLETED and state.previous_until is not None:
        return (
            f"{state.candidate.model or 'the candidate'} is the stable version; guarded, and "
            f"{state.stable.model or 'the previous one'} kept, until {_time(state.previous_until)}"
        )
    if phase is Phase.WAITING:
        return (
            "the candidate was taken out before: it starts again with "
            f"`shadowlane rollout restart {rollout.name} --by NAME --reason TEXT`"
        )
    if phase.out:
        return "nothing in this epoch: change the candidate or the rules, or raise generation, for a new one"
    return "nothing: it is over"


def _running(rollout: Rollout, state: State, verdict: Verdict | None) -> str:
    stage = stage_of(rollout, state)
    number = state.stage_number + 1
    following = rollout.stages[number] if number < len(rollout.stages) else None
    goal = (
        f"stage {following.name} ({following.traffic_pct:g}%)" if following else "the end of the last stage"
    )
    if state.asked:
        return f"{goal}, once its webhook says yes"
    end = _time(state.entered + round(longest_hours(rollout, stage) * 3_600_000))
    missing = "; ".join(verdict.missing) if verdict and verdict.missing else "all is shown"
    earliest = state.entered + round(stage.duration_hours * 3_600_000)
    return f"{goal}, once {missing}; not before {_time(earliest)}; inconclusive at {end}"


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
