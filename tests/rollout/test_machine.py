"""Every transition of a rollout, and what no sequence of events may ever bring about."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.errors import ConfigError, RefusedError
from shadowlane.evaluators.gates.verdict import Decision
from shadowlane.rollout.incidents import REGRESSION, Told, cause_of
from shadowlane.rollout.machine import (
    QUIET_MS,
    Command,
    begin,
    on_command,
    on_quiet,
    on_removal,
    on_silence,
    on_verdict,
)
from shadowlane.rollout.next_step import next_step
from shadowlane.rollout.state import Action, Entry, Phase, State
from shadowlane.schemas.config import Rollout
from tests.rollout.making import HOUR, NOW, STAGES, rollout, started, verdict

TOLD = Told()
R = rollout()


def said(state: State, command: Command, configured: Rollout = R, now: int = NOW) -> Entry:
    return on_command(configured, state, command, "Ada", "because", now, now)


def shown(state: State, configured: Rollout = R, now: int = NOW) -> Entry | None:
    return on_verdict(configured, state, verdict(Decision.PROMOTE), TOLD, now, now)


def must(entry: Entry | None) -> State:
    assert entry is not None
    return entry.state


def promoted_to(stage: str) -> State:
    state = started(R)
    while state.stage != stage:
        state = must(shown(state))
    return state


def in_phase(phase: Phase) -> State:
    running = promoted_to("canary")
    make: dict[Phase, Callable[[], State]] = {
        Phase.RUNNING: lambda: running,
        Phase.PAUSED: lambda: said(running, Command.PAUSE).state,
        Phase.INCONCLUSIVE: lambda: must(
            on_verdict(R, running, verdict(Decision.INCONCLUSIVE), TOLD, NOW, NOW)
        ),
        Phase.ROLLED_BACK: lambda: must(on_verdict(R, running, verdict(Decision.ROLL_BACK), TOLD, NOW, NOW)),
        Phase.ABORTED: lambda: said(running, Command.ABORT).state,
        Phase.COMPLETED: lambda: promoted_to("full"),
        Phase.SETTLED: lambda: must(
            on_verdict(R, promoted_to("full"), verdict(Decision.HOLD), TOLD, NOW + 169 * HOUR, NOW)
        ),
        Phase.PASSED: lambda: replace(running, phase=Phase.PASSED),
        Phase.WAITING: lambda: must(
            begin(rollout(generation=2), said(running, Command.ABORT).state, NOW, NOW)
        ),
    }
    state = make[phase]()
    assert state.phase is phase
    return state


# Every phase and every command: what it becomes, or that it is refused.
COMMANDS = {
    (Phase.RUNNING, Command.PAUSE): Phase.PAUSED,
    (Phase.RUNNING, Command.PROMOTE): Phase.RUNNING,
    (Phase.RUNNING, Command.ABORT): Phase.ABORTED,
    (Phase.PAUSED, Command.RESUME): Phase.RUNNING,
    (Phase.PAUSED, Command.PROMOTE): Phase.RUNNING,
    (Phase.PAUSED, Command.ABORT): Phase.ABORTED,
    (Phase.INCONCLUSIVE, Command.PAUSE): Phase.PAUSED,
    (Phase.INCONCLUSIVE, Command.RESUME): Phase.RUNNING,
    (Phase.INCONCLUSIVE, Command.PROMOTE): Phase.RUNNING,
    (Phase.INCONCLUSIVE, Command.ABORT): Phase.ABORTED,
    (Phase.PASSED, Command.ABORT): Phase.ABORTED,
    (Phase.COMPLETED, Command.RETURN): Phase.ABORTED,
    (Phase.WAITING, Command.RESTART): Phase.RUNNING,
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("command", Command)
def test_every_command_in_every_phase(phase: Phase, command: Command) -> None:
    state = in_phase(phase)
    configured = rollout(generation=2) if phase is Phase.WAITING else R
    becomes = COMMANDS.get((phase, command))
    if becomes is None:
        with pytest.raises(RefusedError, match=phase.value.replace("_", " ")):
            said(state, command, configured)
        return
    entry = said(state, command, configured)
    assert (entry.state.phase, entry.state.seq) == (becomes, state.seq + 1)
    assert (entry.actor, entry.reason) == ("Ada", "because")
    if becomes is Phase.ABORTED:
        assert entry.state.traffic_pct == 0
        assert entry.state.in_charge == state.stable


# Every phase and every verdict: (event, phase after), or None.
VERDICTS = {
    (Phase.RUNNING, Decision.PROMOTE): ("promoted", Phase.RUNNING),
    (Phase.RUNNING, Decision.INCONCLUSIVE): ("inconclusive", Phase.INCONCLUSIVE),
    **{(p, Decision.ROLL_BACK): ("rolled_back", Phase.ROLLED_BACK) for p in Phase if p.guarded},
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("decision", Decision)
def test_every_verdict_in_every_phase(phase: Phase, decision: Decision) -> None:
    state = in_phase(phase)
    entry = on_verdict(R, state, verdict(decision), TOLD, NOW + 1, NOW)
    expected = VERDICTS.get((phase, decision))
    assert (None if entry is None else (entry.event, entry.state.phase)) == expected
    if entry is not None:
        assert entry.evidence["verdict"] == decision
        assert entry.actor == "controller"


def test_the_stages_are_walked_to_the_end() -> None:
    state, seen = started(R), []
    for hour in range(1, 4):
        entry = shown(state, now=NOW + hour * HOUR)
        assert entry is not None
        state = entry.state
        seen.append((entry.event, state.stage, state.traffic_pct, state.phase))
        assert (state.entered, state.since) == (NOW + hour * HOUR, NOW + hour * HOUR)
    assert seen == [
        ("promoted", "canary", 5, Phase.RUNNING),
        ("promoted", "partial", 25, Phase.RUNNING),
        ("completed", "full", 100, Phase.COMPLETED),
    ]
    assert state.in_charge == state.candidate
    assert state.previous_until == NOW + (3 + 168) * HOUR
    assert state.first_pair == NOW - 600_000


def test_a_full_stage_with_a_stay_is_decided_at_its_end() -> None:
    configured = rollout(stages=[*STAGES[:-1], {"name": "full", "traffic_pct": 100, "duration_hours": 2}])
    state = started(configured)
    for _ in range(3):
        state = must(shown(state, configured))
    assert (state.stage, state.phase, state.traffic_pct) == ("full", Phase.RUNNING, 100)
    assert state.in_charge == state.stable
    state = must(shown(state, configured))
    assert (state.phase, state.in_charge) == (Phase.COMPLETED, state.candidate)


def test_a_last_stage_below_all_traffic_is_passed_and_stays() -> None:
    configured = rollout(stages=STAGES[:1])
    state = must(shown(started(configured), configured))
    assert (state.phase, state.traffic_pct, state.stage) == (Phase.PASSED, 0, "shadow")


def test_a_roll_back_takes_the_traffic_away_and_pages_once() -> None:
    state = promoted_to("partial")
    entry = on_verdict(R, state, verdict(Decision.ROLL_BACK, slice_="language=de"), TOLD, NOW, NOW)
    assert entry is not None
    assert entry.state.traffic_pct == 0
    assert entry.state.for_routers.traffic_pct == 0
    (alert,) = entry.alerts
    assert (alert.action, alert.severity, alert.slices) == (Action.TRIGGER, "critical", ("language=de",))
    assert "error_rate > 2% in language=de (0.05 over 525 pairs)" in alert.what
    assert alert.done == "the candidate serves 0%: a serves everybody, and no longer 75%"
    assert on_verdict(R, entry.state, verdict(Decision.ROLL_BACK), TOLD, NOW + 1, NOW) is None


def test_in_a_shadow_stage_nobody_was_harmed() -> None:
    entry = on_verdict(R, started(R), verdict(Decision.ROLL_BACK), TOLD, NOW, NOW)
    assert entry is not None
    assert entry.alerts[0].severity == "warning"


def test_the_guard_returns_to_the_previous_stable_version() -> None:
    completed = promoted_to("full")
    state = must(on_verdict(R, completed, verdict(Decision.ROLL_BACK), TOLD, NOW + HOUR, NOW))
    assert (state.phase, state.in_charge.model, state.traffic_pct) == (Phase.ROLLED_BACK, "a", 0)


def test_an_incident_is_resolved_once_the_candidate_serves_nobody() -> None:
    state = in_phase(Phase.ROLLED_BACK)
    (incident,) = state.open
    assert on_quiet(state, NOW + QUIET_MS - 1, None) is None
    assert on_quiet(state, NOW + QUIET_MS, NOW + 1000) is None  # a router that had not heard yet
    entry = on_quiet(state, NOW + QUIET_MS + 1000, NOW + 1000)
    assert entry is not None
    assert [(a.action, a.incident) for a in entry.alerts] == [(Action.RESOLVE, incident)]
    assert entry.state.open == ()
    assert on_quiet(entry.state, NOW + 3 * QUIET_MS, None) is None


def test_with_auto_rollback_off_on_call_is_told_once_and_decides() -> None:
    configured = rollout(auto_rollback={"enabled": False})
    state = must(shown(started(configured), configured))
    entry = on_verdict(configured, state, verdict(Decision.ROLL_BACK), TOLD, NOW, NOW)
    assert entry is not None
    assert (entry.event, entry.state.phase, entry.state.traffic_pct) == ("alarm", Phase.RUNNING, 5)
    assert on_verdict(configured, entry.state, verdict(Decision.ROLL_BACK), TOLD, NOW, NOW) is None
    aborted = on_command(configured, entry.state, Command.ABORT, "Ada", "seen", NOW, NOW)
    assert [a.action for a in aborted.alerts] == [Action.RESOLVE]


def test_an_alarm_against_the_stable_version_of_now_ends_with_what_could_be_returned_to() -> None:
    configured = rollout(auto_rollback={"enabled": False})
    state = promoted_to("full")
    bad = verdict(Decision.ROLL_BACK)
    alarmed = must(on_verdict(configured, state, bad, TOLD, NOW + HOUR, NOW))
    assert (alarmed.phase, alarmed.alarm) == (Phase.COMPLETED, True)
    assert next_step(configured, alarmed).endswith("return to a by hand")
    assert on_verdict(configured, alarmed, bad, TOLD, NOW + 167 * HOUR, NOW) is None
    entry = on_verdict(configured, alarmed, bad, TOLD, NOW + 168 * HOUR, NOW)
    assert entry is not None
    assert (entry.event, entry.state.phase, entry.state.open) == ("settled", Phase.SETTLED, ())
    assert [a.action for a in entry.alerts] == [Action.RESOLVE]
    # A regression that nobody was told of yet is told, however late.
    late = must(on_verdict(configured, state, bad, TOLD, NOW + 168 * HOUR, NOW))
    assert late.alarm


def test_an_alarm_does_not_outlive_its_epoch() -> None:
    configured = rollout(auto_rollback={"enabled": False})
    bad = verdict(Decision.ROLL_BACK)
    alarmed = must(on_verdict(configured, promoted_to("full"), bad, TOLD, NOW + HOUR, NOW))
    edited = rollout(auto_rollback={"enabled": False}, margin=0.03)
    entry = begin(edited, alarmed, NOW + 2 * HOUR, NOW + 2 * HOUR)
    assert entry is not None
    assert (entry.event, entry.state.alarm, entry.state.open) == ("reconfigured", False, ())
    again = on_verdict(edited, entry.state, bad, TOLD, NOW + 3 * HOUR, NOW)
    assert again is not None
    assert [(a.action, a.epoch) for a in again.alerts] == [(Action.TRIGGER, edited.epoch)]
    removed = on_removal(again.state, NOW + 4 * HOUR)
    assert removed is not None
    assert (removed.state.phase, removed.state.open, removed.state.alarm) == (Phase.COMPLETED, (), False)
    assert on_removal(removed.state, NOW + 5 * HOUR) is None


def test_passed_against_an_alarm_starts_its_evidence_over() -> None:
    configured = rollout(auto_rollback={"enabled": False}, stages=STAGES[:1])
    alarmed = must(on_verdict(configured, started(configured), verdict(Decision.ROLL_BACK), TOLD, NOW, NOW))
    passed = on_command(configured, alarmed, Command.PROMOTE, "Ada", "a false alarm", NOW + HOUR, NOW + HOUR)
    assert (passed.state.phase, passed.state.since) == (Phase.PASSED, NOW + HOUR)


def test_a_slice_that_is_out_and_regresses_still_takes_the_rest_with_it() -> None:
    """It should not happen; if it does, a roll back is not to be swallowed."""
    configured = rollout(auto_rollback={"slices": "alone"}, slices=["l"])
    bad = verdict(Decision.ROLL_BACK, alone="l=de", slice_="l=de")
    out = must(on_verdict(configured, started(configured), bad, TOLD, NOW, NOW))
    assert must(on_verdict(configured, out, bad, TOLD, NOW, NOW)).phase is Phase.ROLLED_BACK


def test_one_slice_alone_is_taken_out_and_the_rest_goes_on() -> None:
    configured = rollout(auto_rollback={"slices": "alone"}, slices=["language"])
    state = must(shown(started(configured), configured))
    bad = verdict(Decision.ROLL_BACK, alone="language=de", slice_="language=de")
    entry = on_verdict(configured, state, bad, TOLD, NOW + HOUR, NOW + HOUR)
    assert entry is not None
    after = entry.state
    assert (after.phase, after.traffic_pct, after.excluded) == (Phase.RUNNING, 5, ("language=de",))
    assert after.since == NOW + HOUR  # evidence starts over without it
    assert entry.alerts[0].slices == ("language=de",)
    assert after.for_routers.excluded == ["language=de"]
    # The same verdict where the whole rollout regressed is a roll back of all of it.
    whole = on_verdict(configured, state, verdict(Decision.ROLL_BACK), TOLD, NOW, NOW)
    assert must(whole).phase is Phase.ROLLED_BACK


def test_an_inconclusive_stage_waits_for_a_person() -> None:
    state = in_phase(Phase.INCONCLUSIVE)
    assert state.traffic_pct == 5
    assert shown(state) is None  # never by silence
    entry = said(state, Command.RESUME, now=NOW + 30 * HOUR)
    assert entry.state.entered == NOW + 30 * HOUR
    assert entry.state.since == state.since
    assert [a.action for a in entry.alerts] == [Action.RESOLVE]
    by_hand = said(state, Command.PROMOTE)
    assert (by_hand.state.stage, by_hand.state.open) == ("partial", ())


def test_a_pause_beyond_the_stages_end_is_no_end() -> None:
    paused = in_phase(Phase.PAUSED)
    soon = said(paused, Command.RESUME, now=NOW + 50 * HOUR)  # of 4 + 24 + 24
    assert soon.state.entered == paused.entered
    late = said(paused, Command.RESUME, now=NOW + 60 * HOUR)
    assert late.state.entered == NOW + 60 * HOUR


def test_a_gate_is_asked_once_and_must_say_yes() -> None:
    stages = [dict(s) for s in STAGES]
    stages[1]["confirm"] = {"url": "http://127.0.0.1:1/gate"}
    configured = rollout(stages=stages)
    state = started(configured)
    asked = shown(state, configured)
    assert asked is not None
    assert (asked.event, asked.state.stage, asked.state.traffic_pct) == ("confirmation_asked", "shadow", 0)
    assert shown(asked.state, configured) is None
    yes = on_verdict(configured, asked.state, verdict(Decision.PROMOTE), TOLD, NOW, NOW, confirmed=True)
    assert must(yes).stage == "canary"


def test_a_gate_that_never_says_yes_is_a_persons_at_the_stages_end() -> None:
    stages = [dict(s) for s in STAGES]
    stages[1]["confirm"] = {"url": "http://127.0.0.1:1/gate"}
    configured = rollout(stages=stages)
    asked = must(shown(started(configured), configured))
    assert shown(asked, configured, NOW + 49 * HOUR - 1) is None
    over = shown(asked, configured, NOW + 49 * HOUR)  # an hour, a day and a traffic cycle
    assert over is not None
    assert (over.event, over.state.phase, over.state.asked) == ("inconclusive", Phase.INCONCLUSIVE, "")
    assert over.alerts[0].what == ("the webhook before stage canary has not said yes",)
    # Resumed, it is asked again.
    again = said(over.state, Command.RESUME, configured, NOW + 50 * HOUR).state
    assert must(shown(again, configured, NOW + 50 * HOUR)).asked == "canary"


def test_while_a_slice_is_out_its_version_is_kept() -> None:
    state = replace(promoted_to("full"), excluded=("language=de",))
    assert on_verdict(R, state, verdict(Decision.HOLD), TOLD, NOW + 500 * HOUR, NOW) is None


def test_a_new_configuration_is_a_new_epoch_from_the_first_stage() -> None:
    state = promoted_to("partial")
    assert begin(R, state, NOW, NOW) is None
    entry = begin(rollout(margin=0.03), state, NOW + HOUR, NOW + HOUR)
    assert entry is not None
    assert (entry.event, entry.state.stage, entry.state.traffic_pct) == ("new_epoch", "shadow", 0)
    assert entry.state.epoch != state.epoch
    assert entry.state.seq == state.seq + 1


def test_an_older_configuration_takes_no_stable_version_away() -> None:
    """A controller that was not started again, or one of two with different files."""
    newer = rollout(candidate={"model": "c", "base_url": "http://127.0.0.1:1/v1"})
    state = must(begin(newer, promoted_to("full"), NOW, NOW))
    while state.stage != "full":
        state = must(shown(state, newer))
    with pytest.raises(ConfigError, match=r"went by this configuration .* before"):
        begin(R, state, NOW, NOW)
    assert begin(newer, state, NOW, NOW) is None
    assert must(begin(rollout(generation=2), state, NOW, NOW)).epoch == rollout(generation=2).epoch


def test_an_epoch_that_was_taken_out_never_comes_back() -> None:
    """Not by a controller that still has its file, and not by a reason: it takes a new epoch and a reason."""
    again = rollout(generation=2)
    running = said(must(begin(again, in_phase(Phase.ABORTED), NOW, NOW)), Command.RESTART, again).state
    waiting = must(begin(R, running, NOW + HOUR, NOW + HOUR))
    assert (waiting.phase, waiting.traffic_pct) == (Phase.WAITING, 0)
    with pytest.raises(RefusedError, match="restart needs a new epoch"):
        said(waiting, Command.RESTART)
    third = rollout(generation=3)
    assert must(begin(third, waiting, NOW, NOW)).phase is Phase.RUNNING


def test_an_edit_that_is_taken_back_leaves_nobody_without_a_guard() -> None:
    newer = rollout(margin=0.03)
    edited = must(begin(newer, promoted_to("partial"), NOW, NOW))
    back = must(begin(R, edited, NOW + HOUR, NOW + HOUR))
    assert (back.phase, back.epoch, back.stage, back.since) == (Phase.RUNNING, R.epoch, "shadow", NOW + HOUR)
    completed = must(begin(newer, promoted_to("full"), NOW, NOW))
    assert must(begin(R, completed, NOW, NOW)).phase is Phase.COMPLETED


def test_an_edited_rule_does_not_take_the_new_stable_version_away() -> None:
    entry = begin(rollout(margin=0.03), promoted_to("full"), NOW, NOW)
    assert entry is not None
    assert (entry.event, entry.state.phase, entry.state.traffic_pct) == ("reconfigured", Phase.COMPLETED, 100)


@pytest.mark.parametrize("phase", [Phase.ROLLED_BACK, Phase.ABORTED])
def test_a_candidate_that_was_taken_out_needs_a_new_epoch_and_a_reason(phase: Phase) -> None:
    state = in_phase(phase)
    with pytest.raises(RefusedError, match="new epoch"):
        said(state, Command.RESTART)
    again = rollout(generation=2)
    waiting = must(begin(again, state, NOW, NOW))
    assert (waiting.phase, waiting.traffic_pct) == (Phase.WAITING, 0)
    assert begin(again, waiting, NOW + HOUR, NOW) is None
    with pytest.raises(RefusedError, match="reason"):
        on_command(again, waiting, Command.RESTART, "Ada", "  ", NOW, NOW)
    restarted = said(waiting, Command.RESTART, again)
    assert (restarted.state.phase, restarted.state.stage_number) == (Phase.RUNNING, 0)
    # Another candidate needs no leave.
    other = rollout(candidate={"model": "c", "base_url": "http://127.0.0.1:1/v1"})
    assert must(begin(other, state, NOW, NOW)).phase is Phase.RUNNING


EVENTS = st.one_of(
    st.sampled_from(list(Command)),
    st.sampled_from(list(Decision)),
    st.sampled_from(["slice", "quiet", "epoch", "later", "silence", "noise"]),
)


@given(st.lists(EVENTS, max_size=40), st.booleans(), st.sampled_from(["whole", "alone"]))
def test_whatever_happens(events: list[object], enabled: bool, slices: str) -> None:
    """No traffic to a candidate that is out; no step up without evidence or a name; one incident per cause."""
    generation, now = 1, NOW

    def configured() -> Rollout:
        return rollout(generation=generation, auto_rollback={"enabled": enabled, "slices": slices})

    state = started(configured())
    opened: list[str] = []
    for event in events:
        now += HOUR
        before, entry = state, None
        if isinstance(event, Command):
            try:
                entry = on_command(configured(), state, event, "Ada", "because", now, now)
            except RefusedError:
                continue
        elif isinstance(event, Decision):
            entry = on_verdict(configured(), state, verdict(event), TOLD, now, now)
        elif event == "slice":
            bad = verdict(Decision.ROLL_BACK, alone="l=de", slice_="l=de")
            entry = on_verdict(configured(), state, bad, TOLD, now, now)
        elif event in ("silence", "noise"):
            last = now if event == "noise" else None
            entry = on_silence(configured(), state, TOLD, now, last, 7, HOUR / 2)
        elif event == "quiet":
            entry = on_quiet(state, now, None)
        elif event == "epoch":
            generation += 1
            entry = begin(configured(), state, now, now)
        else:
            now += 200 * HOUR
        if entry is None:
            continue
        state = entry.state
        assert state.seq == before.seq + 1
        if state.phase.out:
            assert state.traffic_pct == 0
            assert state.in_charge == state.stable
        if state.traffic_pct > before.traffic_pct:
            assert event in (Decision.PROMOTE, Command.PROMOTE)
            assert state.stage_number == before.stage_number + 1
        for alert in entry.alerts:
            if alert.action is Action.TRIGGER:
                assert alert.incident not in opened
                opened.append(alert.incident)
            elif alert.action is Action.RESOLVE:
                opened.remove(alert.incident)
            assert alert.alert_id.startswith(f"to-b:{state.seq}:")
        assert len({a.alert_id for a in entry.alerts}) == len(entry.alerts)
        assert sorted(opened) == sorted(state.open)
        if state.phase is Phase.ROLLED_BACK and before.phase is not Phase.ROLLED_BACK:
            assert any(cause_of(i) == REGRESSION for i in state.open)
