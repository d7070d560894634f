"""How a rollout goes from one state to the next: on its configuration, on evidence, on a person's word. Pure.

Each function gives the entry to append to the log, or None where nothing changes; a command that the state does not
allow raises :class:`~shadowlane.errors.RefusedError`. Nothing here reads a clock or a store: ``now`` (Unix
milliseconds) is handed in, and ``since`` is the start of the first bucket that no evidence rests on yet.

::

                 ┌────────── restart (new epoch, reason) ──────────┐
                 ▼                                                 │
    begin ─▶ RUNNING ─ promote ─▶ RUNNING (next stage) … ─▶ COMPLETED ─ kept long enough ─▶ SETTLED
              │  ▲ │                                     └▶ PASSED (last stage below 100%)
        pause ▼  │ └ stage over ─▶ INCONCLUSIVE ─ resume, promote, abort by a person
            PAUSED
    RUNNING, PAUSED, INCONCLUSIVE, PASSED, COMPLETED ─ evidence ─▶ ROLLED_BACK ─ new epoch ─▶ WAITING
                                                     ─ abort ─▶ ABORTED ─ new epoch ─▶ WAITING
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from typing import Any

from shadowlane.errors import ConfigError, RefusedError
from shadowlane.evaluators.check import longest_hours
from shadowlane.evaluators.gates.scope import milliseconds
from shadowlane.evaluators.gates.verdict import Decision, Verdict
from shadowlane.rollout import incidents
from shadowlane.rollout.incidents import BLIND, MODEL, REGRESSION, UNDECIDED, Told, cause_of
from shadowlane.rollout.models import Change
from shadowlane.rollout.state import Alert, Entry, Phase, State, VersionRef
from shadowlane.schemas.config import Rollout, Stage

CONTROLLER = "controller"
HOUR_MS = 3_600_000
QUIET_MS = 300_000
"""An incident is over once the candidate has served nobody for so long."""


class Command(StrEnum):
    """What a person can say. Each takes a name and a reason."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    RETURN = "return"  # to the previous stable version
    RESTART = "restart"


def begin(rollout: Rollout, state: State | None, now: int, since: int) -> Entry | None:
    """What the configuration asks for: a first start, or a new epoch. None where it is what it was.

    An edit that is taken back is a new start too: whoever decides has to have the rules of what it guards, and at the
    first stage nobody is harmed by it.

    Raises:
        ConfigError: it is what it was before the present stable version came into charge. A component that still has
            an older file must not take that away.
    """
    if state is None:
        fresh = _fresh(rollout, None, now, since)
        return _entry(fresh, "started", CONTROLLER, f"new in the configuration, stage {fresh.stage}")
    if state.epoch == rollout.epoch:
        return None
    same = state.candidate.fingerprint == rollout.candidate.fingerprint
    if same and state.in_charge == state.candidate and state.stable.fingerprint == rollout.stable.fingerprint:
        # It serves everybody already: an edited margin must not send them back to the start.
        kept = _next(
            state, now, epoch=rollout.epoch, since=since, epoch_began=now, alarm=False, past=_past(state)
        )
        reason = "the configuration changed; the candidate stays in charge"
        return _entry(*_resolving(state, kept, "a new epoch"), "reconfigured", CONTROLLER, reason)
    if rollout.epoch in state.past and state.in_charge == state.candidate:
        raise ConfigError(
            f"rollout {rollout.name!r} went by this configuration (epoch {rollout.epoch}) before, and goes by another "
            f"one now ({state.epoch}): start with the present file, or raise generation to begin this one anew"
        )
    fresh = _fresh(rollout, state, now, since)
    if fresh.candidate.fingerprint in state.failed or rollout.epoch in state.ended:
        fresh = replace(fresh, phase=Phase.WAITING, traffic_pct=0.0)
        reason = (
            "the configuration is new, and the candidate was taken out before: `shadowlane rollout restart "
            f"{rollout.name}` with a reason starts it again"
        )
        return _entry(*_resolving(state, fresh, "a new epoch"), "waiting", CONTROLLER, reason)
    reason = f"the configuration changed: evidence starts over, stage {fresh.stage}"
    return _entry(*_resolving(state, fresh, "a new epoch"), "new_epoch", CONTROLLER, reason)


def on_removal(state: State, now: int) -> Entry | None:
    """What follows where the configuration has the rollout no more: nobody watches it, so it serves nobody.

    A candidate that is the stable version already stays that; what is open of it is over.
    """
    reason = "the configuration has it no more"
    if not state.phase.guarded:
        return None
    if state.phase is not Phase.COMPLETED:
        return _out(state, Phase.ABORTED, "removed", CONTROLLER, reason, now)
    if not state.open:
        return None
    return _entry(*_resolving(state, _next(state, now, alarm=False), reason), "resolved", CONTROLLER, reason)


def on_verdict(
    rollout: Rollout,
    state: State,
    verdict: Verdict,
    told: Told,
    now: int,
    since: int,
    *,
    confirmed: bool = False,
) -> Entry | None:
    """What evidence asks for. ``confirmed``: the gate before the next stage, if it has one, said yes."""
    if not state.phase.guarded:
        return None
    kept = state.previous_until is None or now < state.previous_until
    # An alarm that nobody acted on while there was something to return to is over with that.
    if verdict.roll_back is not None and (kept or not state.alarm):
        return _roll_back(rollout, state, verdict, told, now, since)
    if state.phase is Phase.COMPLETED:
        # A slice that was taken out is still served by the version that would no longer be kept.
        if kept or state.excluded:
            return None
        settled = _next(state, now, phase=Phase.SETTLED, previous_until=None, alarm=False)
        reason = f"guarded for {rollout.keep_previous_hours:g} h; {_named(state.stable)} is no longer kept"
        return _entry(*_resolving(state, settled, reason), "settled", CONTROLLER, reason)
    if state.phase is not Phase.RUNNING:
        return None
    if verdict.verdict is Decision.PROMOTE:
        gate = gate_before(rollout, state)
        if gate is not None and not confirmed:
            end = state.entered + longest_hours(rollout, stage_of(rollout, state)) * HOUR_MS
            if now < end:
                return _ask(rollout, state, verdict, told, now)
            missing = f"the webhook before stage {gate.name} has not said yes"
            return _undecided(state, replace(verdict, missing=(missing,)), f"shown, and {missing}", told, now)
        state = _with_first_pair(state, verdict)
        return _promote(
            rollout, state, CONTROLLER, verdict.reason, now, since, incidents.evidence_of(verdict)
        )
    if verdict.verdict is Decision.INCONCLUSIVE:
        return _undecided(state, verdict, verdict.reason, told, now)
    return None


def on_quiet(state: State, now: int, served: int | None) -> Entry | None:
    """Resolves what was told of a regression, once the candidate serves nobody that it concerns.

    ``served`` is when the candidate last served one of them, None for never.
    """
    over = [incident for incident in state.open if cause_of(incident) == REGRESSION]
    if not over or state.alarm or not (state.phase.out or state.excluded):
        return None
    if now - max(state.at, served or 0) < QUIET_MS:
        return None
    reason = "the candidate has served nobody there for 5 minutes"
    return _entry(*_resolving(state, _next(state, now), reason, {REGRESSION}), "resolved", CONTROLLER, reason)


def on_command(
    rollout: Rollout, state: State, command: Command, actor: str, reason: str, now: int, since: int
) -> Entry:
    """What a person asks for.

    Raises:
        RefusedError: no name or reason was given, or it can't be done in this state.
    """
    actor, reason = _said_by(actor), _said_by(reason)
    if not actor or not reason:
        raise RefusedError(f"{command} needs a name and a reason: --by NAME --reason TEXT")
    phase = state.phase
    if command is Command.PAUSE and phase in (Phase.RUNNING, Phase.INCONCLUSIVE):
        return _entry(_next(state, now, phase=Phase.PAUSED), "paused", actor, reason)
    if command is Command.RESUME and phase in (Phase.PAUSED, Phase.INCONCLUSIVE):
        # Where the stage's time is over it has all of it again; the evidence goes on.
        longest = round(longest_hours(rollout, stage_of(rollout, state)) * HOUR_MS)
        over = phase is Phase.INCONCLUSIVE or now - state.entered >= longest
        entered = now if over else state.entered
        after = _next(state, now, phase=Phase.RUNNING, entered=entered)
        return _entry(*_resolving(state, after, f"resumed by {actor}", {UNDECIDED}), "resumed", actor, reason)
    if command is Command.PROMOTE and phase in (Phase.RUNNING, Phase.PAUSED, Phase.INCONCLUSIVE):
        return _promote(rollout, state, actor, reason, now, since, {})
    if command is Command.ABORT and phase.guarded and phase is not Phase.COMPLETED:
        return _out(state, Phase.ABORTED, "aborted", actor, reason, now)
    if command is Command.RETURN and phase is Phase.COMPLETED:
        return _out(state, Phase.ABORTED, "returned", actor, reason, now)
    if command is Command.RESTART and phase is Phase.WAITING and state.epoch not in state.ended:
        after = replace(
            _fresh(rollout, state, now, since),
            failed=tuple(f for f in state.failed if f != state.candidate.fingerprint),
        )
        return _entry(after, "restarted", actor, reason)
    raise RefusedError(f"{state.rollout} is {_said(state)}: {_instead(command, state)}")


def on_silence(
    rollout: Rollout, state: State, told: Told, now: int, last: int | None, mirrored: int, patience_ms: float
) -> Entry | None:
    """Tells that no pair comes while the candidate serves users, so that nothing would be seen; and that they do again.

    ``last`` is when the last pair of the stage was stored, ``mirrored`` how many requests were mirrored since.
    """
    since = max(last or 0, state.entered)
    told_of = [incident for incident in state.open if cause_of(incident) == BLIND]
    if told_of and last is not None and last > state.at:
        reason = "pairs come again"
        return _entry(*_resolving(state, _next(state, now), reason, {BLIND}), "seeing", CONTROLLER, reason)
    if told_of or not is_watched(rollout, state) or not 0 < patience_ms <= now - since:
        return None
    after = _next(state, now)
    alert = told.blind(after, since, mirrored)
    after = replace(after, open=_with(after.open, alert.incident))
    return _entry(after, "blind", CONTROLLER, f"no pair has come: {alert.what[0]}", alerts=(alert,))


def on_models(state: State, told: Told, changes: Sequence[Change], now: int) -> Entry | None:
    """Tells that a provider answers by another model than it did; what was told is over after an hour."""
    if not changes:
        over = [incident for incident in state.open if cause_of(incident) == MODEL]
        if not over or now - state.at < HOUR_MS:
            return None
        reason = "it was told an hour ago"
        return _entry(*_resolving(state, _next(state, now), reason, {MODEL}), "resolved", CONTROLLER, reason)
    after = _next(state, now, served=(*state.served, *(change.key for change in changes)))
    alerts = tuple(told.model(after, change, number) for number, change in enumerate(changes))
    after = replace(after, open=(*after.open, *(alert.incident for alert in alerts)))
    reason = "; ".join(
        f"{change.asked} is {change.served} now, and was {change.before}" for change in changes
    )
    evidence = {"models": [asdict(change) for change in changes]}
    return _entry(after, "model_changed", CONTROLLER, reason, evidence=evidence, alerts=alerts)


def is_watched(rollout: Rollout, state: State) -> bool:
    """Whether the candidate serves users, and pairs ought to come of it."""
    return (
        state.phase.guarded
        and state.traffic_pct > 0
        and (state.traffic_pct < 100 or rollout.stable.reachable)
    )


def on_alarm(state: State) -> str:
    """What a person can do about a roll back that was not carried out."""
    if state.phase is Phase.COMPLETED:
        return f"return to {_named(state.stable)} by hand"
    return "abort it by hand" if state.phase is Phase.PASSED else "abort it, or promote it, by hand"


def gate_before(rollout: Rollout, state: State) -> Stage | None:
    """The stage that a promotion would begin, where a webhook must say yes before it."""
    following = _following(rollout, state)
    return following if following is not None and following.confirm is not None else None


def stage_of(rollout: Rollout, state: State) -> Stage:
    """The stage that the state is in, as it is configured now."""
    return rollout.stages[min(state.stage_number, len(rollout.stages) - 1)]


def _following(rollout: Rollout, state: State) -> Stage | None:
    number = state.stage_number + 1
    return rollout.stages[number] if number < len(rollout.stages) else None


def _fresh(rollout: Rollout, before: State | None, now: int, since: int) -> State:
    first = rollout.stages[0]
    return State(
        rollout=rollout.name,
        epoch=rollout.epoch,
        seq=before.seq + 1 if before else 1,
        at=now,
        phase=Phase.RUNNING,
        stage=first.name,
        stage_number=0,
        traffic_pct=first.traffic_pct,
        entered=now,
        since=since,
        epoch_began=now,
        stable=VersionRef.of(rollout.stable),
        candidate=VersionRef.of(rollout.candidate),
        service=rollout.match.service or "",
        route=rollout.match.route or "",
        failed=before.failed if before else (),
        past=_past(before) if before else (),
        ended=before.ended if before else (),
        served=before.served if before else (),
    )


def _past(before: State) -> tuple[str, ...]:
    return _with(before.past, before.epoch)


def _promote(
    rollout: Rollout, state: State, actor: str, reason: str, now: int, since: int, evidence: dict[str, Any]
) -> Entry:
    following = _following(rollout, state)
    stage = following or stage_of(rollout, state)
    last = following is None or (following is rollout.stages[-1] and following.duration_hours == 0)
    if last and stage.traffic_pct >= 100:
        phase, event = Phase.COMPLETED, "completed"
    elif following is None:
        phase, event = Phase.PASSED, "passed"
    else:
        phase, event = Phase.RUNNING, "promoted"
    after = _next(
        state,
        now,
        phase=phase,
        stage=stage.name,
        stage_number=state.stage_number + (following is not None),
        traffic_pct=stage.traffic_pct,
        entered=now,
        # The last stage's evidence goes on as the guard's: nothing changes for anybody. Against an alarm it starts
        # over, or the same would be told again.
        since=state.since if phase is Phase.PASSED and not state.alarm else since,
        alarm=False,
        asked="",
        previous_until=now + round(rollout.keep_previous_hours * HOUR_MS)
        if phase is Phase.COMPLETED
        else None,
    )
    after, resolves = _resolving(state, after, f"promoted by {actor}")
    note = incidents.promotion(after, event, actor, reason, len(resolves))
    return _entry(after, (*resolves, note), event, actor, reason, evidence=evidence)


def _undecided(state: State, verdict: Verdict, reason: str, told: Told, now: int) -> Entry:
    after = _next(state, now, phase=Phase.INCONCLUSIVE, asked="")
    alert = told.undecided(after, verdict)
    after = replace(after, open=_with(state.open, alert.incident))
    evidence = incidents.evidence_of(verdict)
    return _entry(after, "inconclusive", CONTROLLER, reason, evidence=evidence, alerts=(alert,))


def _ask(rollout: Rollout, state: State, verdict: Verdict, told: Told, now: int) -> Entry | None:
    following = _following(rollout, state)
    assert following is not None
    if state.asked == following.name:
        return None
    after = _next(state, now, asked=following.name)
    reason = f"shown; waiting for a yes before stage {following.name} ({following.traffic_pct:g}%)"
    evidence = incidents.evidence_of(verdict)
    alert = told.confirmation(after, following.name)
    return _entry(after, "confirmation_asked", CONTROLLER, reason, evidence=evidence, alerts=(alert,))


def _roll_back(
    rollout: Rollout, state: State, verdict: Verdict, told: Told, now: int, since: int
) -> Entry | None:
    latch = verdict.roll_back
    assert latch is not None
    evidence = incidents.evidence_of(verdict)
    if not rollout.auto_rollback.enabled:
        if state.alarm:
            return None
        after = _next(state, now, alarm=True)
        done = f"nothing: auto_rollback.enabled is false; {on_alarm(state)}"
        alert = told.regression(after, verdict, done, served_pct=state.traffic_pct)
        after = replace(after, open=_with(state.open, alert.incident))
        return _entry(after, "alarm", CONTROLLER, verdict.reason, evidence=evidence, alerts=(alert,))
    if latch.alone and latch.alone not in state.excluded and rollout.auto_rollback.slices == "alone":
        before = _with_first_pair(state, verdict)
        after = _next(before, now, excluded=_with(state.excluded, latch.alone), since=since)
        done = f"{latch.alone} is served by {_named(state.stable)} alone; the rest goes on"
        alert = told.regression(after, verdict, done, served_pct=state.traffic_pct, part=latch.alone)
        after = replace(after, open=_with(state.open, alert.incident))
        return _entry(
            after, "slice_rolled_back", CONTROLLER, verdict.reason, evidence=evidence, alerts=(alert,)
        )
    after = _taken_out(state, Phase.ROLLED_BACK, now)
    done = f"the candidate serves 0%: {_named(state.stable)} serves everybody"
    done += f", and no longer {100 - state.traffic_pct:g}%" if state.traffic_pct else ", as it did"
    alert = told.regression(after, verdict, done, served_pct=state.traffic_pct)
    after = replace(after, open=_with(after.open, alert.incident))
    after, resolves = _resolving(state, after, "rolled back", {UNDECIDED, BLIND, MODEL})
    return _entry(
        after, "rolled_back", CONTROLLER, verdict.reason, evidence=evidence, alerts=(alert, *resolves)
    )


def _out(state: State, phase: Phase, event: str, actor: str, reason: str, now: int) -> Entry:
    after = _taken_out(state, phase, now)
    return _entry(*_resolving(state, after, f"{event} by {actor}"), event, actor, reason)


def _taken_out(state: State, phase: Phase, now: int) -> State:
    return _next(
        state,
        now,
        phase=phase,
        traffic_pct=0.0,
        alarm=False,
        asked="",
        previous_until=None,
        failed=_with(state.failed, state.candidate.fingerprint),
        ended=_with(state.ended, state.epoch),
    )


def _resolving(
    before: State, after: State, why: str, causes: set[str] | None = None
) -> tuple[State, tuple[Alert, ...]]:
    """What is open before, of these causes (all unless given), is over with this entry."""
    over = [i for i in before.open if causes is None or cause_of(i) in causes]
    alerts = tuple(
        incidents.resolve(after, incident, why, number) for number, incident in enumerate(over, start=1)
    )
    return replace(after, open=tuple(i for i in after.open if i not in over)), alerts


def _entry(
    state: State, *rest: Any, evidence: dict[str, Any] | None = None, alerts: Iterable[Alert] = ()
) -> Entry:
    """(state, [alerts,] event, actor, reason): `_resolving` gives state and alerts at once."""
    *told, event, actor, reason = rest
    before: tuple[Alert, ...] = told[0] if told else ()
    return Entry("", event, actor, reason, state, evidence or {}, (*before, *alerts))


def _next(state: State, now: int, **changes: Any) -> State:
    return replace(state, seq=state.seq + 1, at=now, **changes)


def _with(these: tuple[str, ...], one: str) -> tuple[str, ...]:
    return these if one in these else (*these, one)


def _with_first_pair(state: State, verdict: Verdict) -> State:
    if state.first_pair is not None or verdict.first is None:
        return state
    return replace(state, first_pair=milliseconds(verdict.first))


def _said_by(text: str) -> str:
    """On one line; bytes of a command line that are no UTF-8 have no form in the log."""
    return " ".join(text.encode(errors="replace").decode().split())


def _named(version: VersionRef) -> str:
    return version.model or "the stable version"


def _said(state: State) -> str:
    stage = f" in stage {state.stage}" if not state.phase.out else ""
    return f"{state.phase.value.replace('_', ' ')}{stage}"


def _instead(command: Command, state: State) -> str:
    phase = state.phase
    if command is Command.RESTART and phase.out:
        return "restart needs a new epoch: change the candidate or the rules, or raise generation, and give the reason"
    if command is Command.ABORT and phase is Phase.COMPLETED:
        return "to go back to the previous stable version, say return"
    if command is Command.RETURN:
        return "return goes back to the previous stable version, while it is kept after a promotion to 100%"
    allowed = {
        Phase.RUNNING: "pause, promote, abort",
        Phase.PAUSED: "resume, promote, abort",
        Phase.INCONCLUSIVE: "resume, promote, pause, abort",
        Phase.PASSED: "abort",
        Phase.COMPLETED: "return",
        Phase.WAITING: "restart",
    }.get(phase, "nothing but a new epoch")
    return f"{command} can't be done; what can: {allowed}"
