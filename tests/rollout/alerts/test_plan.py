"""What is sent when: tables for each rule, and a model of a channel that fails as it likes."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowlane.rollout.alerts.plan import GIVE_UP_MS, Due, Plan, Tries, plan, recipients, retry_at
from shadowlane.rollout.state import Action, Alert
from shadowlane.schemas.config import AlertChannel, Settings
from tests.rollout.alerts.alerting import HOUR, MINUTE, alert

T0 = 1_772_366_400_000
TRIGGER, RESOLVE, NOTE = Action.TRIGGER, Action.RESOLVE, Action.NOTE
Known = dict[tuple[str, str], Tries]


def channel(name: str = "chat", kind: str = "slack", **changes: Any) -> AlertChannel:
    return AlertChannel.model_validate({"name": name, "kind": kind, **changes})


def planned(
    alerts: list[Alert],
    known: Known | None = None,
    now: int = T0 + HOUR,
    channels: tuple[AlertChannel, ...] = (channel(),),
    held: Mapping[str, int] | None = None,
) -> Plan:
    return plan(alerts, known or {}, lambda rollout: channels, now, held or {})


def sent(at: int = T0) -> Tries:
    return Tries(1, "sent", at, at)


def ids(found: Plan, *, dropped: bool = False) -> list[str]:
    return [due.alert.alert_id for due in found.due if bool(due.drop) == dropped]


def test_an_alert_is_due_on_each_channel() -> None:
    found = planned([alert(1, TRIGGER, T0)], channels=(channel("a"), channel("b")))
    assert [(due.channel, due.attempt) for due in found.due] == [("a", 1), ("b", 1)]
    assert found.waiting == 2


def test_what_was_sent_is_not_due() -> None:
    found = planned([alert(1, TRIGGER, T0)], {("to-b:1:0", "chat"): sent()})
    assert found == Plan(opened={"chat": [alert(1, TRIGGER, T0)]})


def test_a_resolve_waits_for_its_trigger_and_knows_it() -> None:
    trigger, resolve = alert(1, TRIGGER, T0), alert(2, RESOLVE, T0 + MINUTE)
    assert ids(planned([trigger, resolve])) == ["to-b:1:0"]
    waits = planned([trigger, resolve], {("to-b:1:0", "chat"): Tries(1, "failed", T0 + HOUR, T0 + HOUR)})
    assert (waits.due, waits.waiting) == ([], 2)
    then = planned([trigger, resolve], {("to-b:1:0", "chat"): sent()})
    assert then.due == [Due(resolve, "chat", 1, trigger)]
    assert not then.opened


@pytest.mark.parametrize("outcome", ["refused", "gave_up"])
def test_a_resolve_whose_trigger_was_never_sent_is_dropped_and_says_so(outcome: str) -> None:
    alerts = [alert(1, TRIGGER, T0), alert(2, RESOLVE, T0 + MINUTE)]
    found = planned(alerts, {("to-b:1:0", "chat"): Tries(1, outcome, T0, T0)})
    assert [(due.alert.alert_id, due.drop) for due in found.due] == [
        ("to-b:2:0", "not sent: its trigger never was")
    ]
    assert found.waiting == 0


@pytest.mark.parametrize("outcome", ["refused", "gave_up"])
def test_a_trigger_that_may_have_arrived_is_resolved(outcome: str) -> None:
    """An answer that was lost looks like a failure, and an end of nothing is better than an incident without one."""
    alerts = [alert(1, TRIGGER, T0), alert(2, RESOLVE, T0 + MINUTE)]
    found = planned(alerts, {("to-b:1:0", "chat"): Tries(2, outcome, T0, T0)})
    assert found.due == [Due(alerts[1], "chat", 1, alerts[0])]


def test_a_second_trigger_of_an_open_incident_is_dropped_and_its_resolve_still_sent() -> None:
    alerts = [alert(1, TRIGGER, T0), alert(2, TRIGGER, T0 + MINUTE), alert(3, RESOLVE, T0 + 2 * MINUTE)]
    known = {("to-b:1:0", "chat"): sent()}
    found = planned(alerts, known)
    assert (ids(found, dropped=True), ids(found)) == (["to-b:2:0"], ["to-b:3:0"])
    known["to-b:2:0", "chat"] = Tries(1, "gave_up", T0, T0)
    assert planned(alerts, known).due == [Due(alerts[2], "chat", 1, alerts[0])]


def test_of_two_triggers_that_two_controllers_sent_the_first_is_the_incidents() -> None:
    """Alertmanager wants the same labels all along."""
    alerts = [alert(1, TRIGGER, T0, severity="warning"), alert(2, TRIGGER, T0)]
    known = {("to-b:1:0", "chat"): sent(), ("to-b:2:0", "chat"): sent()}
    assert planned(alerts, known).opened == {"chat": [alerts[0]]}


def test_an_incident_that_comes_again_is_told_again() -> None:
    alerts = [alert(1, TRIGGER, T0), alert(2, RESOLVE, T0 + MINUTE), alert(3, TRIGGER, T0 + 2 * MINUTE)]
    known = {("to-b:1:0", "chat"): sent(), ("to-b:2:0", "chat"): sent()}
    assert ids(planned(alerts, known)) == ["to-b:3:0"]


def test_incidents_and_channels_do_not_wait_for_each_other() -> None:
    alerts = [alert(1, TRIGGER, T0), alert(2, TRIGGER, T0, incident="another")]
    known = {("to-b:1:0", "a"): Tries(1, "failed", T0 + HOUR, T0 + HOUR)}
    found = planned(alerts, known, channels=(channel("a"), channel("b")))
    assert {(due.alert.alert_id, due.channel) for due in found.due} == {
        ("to-b:1:0", "b"),
        ("to-b:2:0", "a"),
        ("to-b:2:0", "b"),
    }


def test_triggers_come_first_and_older_ones_before_younger_ones() -> None:
    alerts = [
        alert(1, NOTE, T0, incident="n"),
        alert(3, TRIGGER, T0 + MINUTE, incident="b"),
        alert(2, TRIGGER, T0, incident="c"),
    ]
    assert ids(planned(alerts)) == ["to-b:2:0", "to-b:3:0", "to-b:1:0"]


def test_a_channel_hears_from_its_severity_on_and_of_the_end_of_what_it_heard_of() -> None:
    quiet = (channel(min_severity="critical"),)
    warning = [alert(1, TRIGGER, T0, severity="warning"), alert(2, RESOLVE, T0 + MINUTE)]
    assert planned(warning, channels=quiet) == Plan()
    critical = [alert(1, TRIGGER, T0), alert(2, RESOLVE, T0 + MINUTE)]
    assert ids(planned(critical, {("to-b:1:0", "chat"): sent()}, channels=quiet)) == ["to-b:2:0"]


def test_an_incident_that_got_worse_is_told_to_who_hears_of_the_worse_alone() -> None:
    alerts = [
        alert(1, TRIGGER, T0, severity="warning"),
        alert(2, TRIGGER, T0 + MINUTE),
        alert(3, RESOLVE, T0 + HOUR),
    ]
    quiet = (channel(min_severity="critical"),)
    assert ids(planned(alerts, channels=quiet)) == ["to-b:2:0"]
    assert ids(planned(alerts, {("to-b:2:0", "chat"): sent()}, channels=quiet)) == ["to-b:3:0"]


def test_alertmanager_has_no_notes() -> None:
    assert planned([alert(1, NOTE, T0)], channels=(channel(kind="alertmanager"),)) == Plan()


def test_an_attempt_that_failed_is_due_again_and_says_when() -> None:
    tries = Tries(3, "failed", T0, T0 + MINUTE)
    at = retry_at("to-b:1:0", "chat", tries)
    known = {("to-b:1:0", "chat"): tries}
    before = planned([alert(1, TRIGGER, T0)], known, at - 1)
    assert (before.due, before.next_at, before.waiting) == ([], at, 1)
    assert [due.attempt for due in planned([alert(1, TRIGGER, T0)], known, at).due] == [4]


def test_a_channel_that_asked_for_it_is_left_alone() -> None:
    found = planned([alert(1, TRIGGER, T0)], now=T0, held={"chat": T0 + MINUTE})
    assert (found.due, found.next_at) == ([], T0 + MINUTE)
    assert ids(planned([alert(1, TRIGGER, T0)], now=T0 + MINUTE, held={"chat": T0 + MINUTE})) == ["to-b:1:0"]


@settings(deadline=None)
@given(st.integers(1, 10_000), st.text(min_size=1))
def test_waits_double_up_to_a_quarter_of_an_hour_and_are_the_same_everywhere(
    attempts: int, alert_id: str
) -> None:
    wait = retry_at(alert_id, "chat", Tries(attempts, "failed", T0, T0)) - T0
    whole = min(15 * MINUTE, 5000 * 2 ** min(attempts - 1, 30))
    assert whole / 2 <= wait <= whole
    assert wait == retry_at(alert_id, "chat", Tries(attempts, "failed", T0, T0)) - T0


def test_waits_of_different_alerts_differ() -> None:
    tries = Tries(5, "failed", T0, T0)
    assert len({retry_at(f"to-b:{n}:0", "chat", tries) for n in range(20)}) > 10


def test_after_a_day_of_attempts_it_is_given_up_and_not_before() -> None:
    known = {("to-b:1:0", "chat"): Tries(90, "failed", T0, T0 + GIVE_UP_MS - HOUR)}
    assert ids(planned([alert(1, TRIGGER, T0)], known, T0 + GIVE_UP_MS - 1)) == ["to-b:1:0"]
    found = planned([alert(1, TRIGGER, T0)], known, T0 + GIVE_UP_MS)
    assert [(due.attempt, due.drop) for due in found.due] == [
        (91, "given up 24 hours after the first attempt")
    ]


def test_what_nobody_was_there_to_send_is_sent_days_later() -> None:
    assert ids(planned([alert(1, TRIGGER, T0)], now=T0 + 3 * 24 * HOUR)) == ["to-b:1:0"]


def test_a_channel_that_is_added_hears_of_what_is_open_and_not_of_what_is_past() -> None:
    over = [alert(1, TRIGGER, T0), alert(2, RESOLVE, T0 + MINUTE)]
    is_open, note = alert(3, TRIGGER, T0, incident="b"), alert(4, NOTE, T0, incident="n")
    known = {(a.alert_id, "old"): sent() for a in (*over, is_open, note)}
    found = planned([*over, is_open, note], known, T0 + 24 * HOUR, channels=(channel("old"), channel("new")))
    assert [(due.alert.alert_id, due.channel) for due in found.due] == [("to-b:3:0", "new")]
    assert found.waiting == 1


def test_recipients_are_those_that_the_rollout_names() -> None:
    rollout = {"candidate": {"base_url": "http://127.0.0.1:1"}}
    content = {
        "alerts": [{"name": "a", "kind": "slack"}, {"name": "b", "kind": "slack"}],
        "rollouts": [
            rollout | {"name": "all"},
            rollout | {"name": "one", "alerts": ["b"]},
            rollout | {"name": "none", "alerts": []},
        ],
    }
    configured = Settings.model_validate(content)
    names = {name: [c.name for c in recipients(configured, name)] for name in ("all", "one", "none", "gone")}
    assert names == {"all": ["a", "b"], "one": ["b"], "none": [], "gone": ["a", "b"]}


ACTIONS = st.lists(st.sampled_from([TRIGGER, TRIGGER, RESOLVE, NOTE]), min_size=1, max_size=8)


@settings(deadline=None)
@given(ACTIONS, st.lists(st.sampled_from(["sent", "failed", "refused", "crash"]), max_size=200))
def test_whatever_the_channel_does_each_alert_is_settled_once_and_in_order(
    actions: list[Action], answers: list[str]
) -> None:
    """``crash``: it arrived, and the row was never written. What arrived once is not refused the next time."""
    alerts = [alert(n, action, T0 + n * MINUTE) for n, action in enumerate(actions, start=1)]
    known: Known = {}
    arrived: list[Alert] = []
    now, script, is_open, may_be_open = T0 + HOUR, iter(answers), False, False
    for _ in range(400):
        found = planned(alerts, known, now)
        assert len([due for due in found.due if not due.drop]) <= 1
        for due in found.due:
            told, place = due.alert, (due.alert.alert_id, "chat")
            outcome = "gave_up" if due.drop else next(script, "sent")
            if outcome == "refused" and told in arrived:
                outcome = "sent"
            if due.drop:
                assert is_open == (told.action is TRIGGER)
            elif told.action is RESOLVE:
                assert is_open or may_be_open or told in arrived
            elif told.action is TRIGGER:
                assert not is_open or told in arrived
            if outcome in ("sent", "crash"):
                arrived.append(told)
                is_open = is_open if told.action is NOTE else told.action is TRIGGER
            before = known.get(place)
            if told.action is TRIGGER:
                may_be_open = may_be_open or (outcome != "sent" and before is not None)
            elif told.action is RESOLVE and outcome not in ("failed", "crash"):
                is_open = may_be_open = False  # a refused end is an end: it is not tried again
            if outcome == "crash":
                continue
            assert before is None or not before.settled
            assert due.attempt == (before.attempts if before else 0) + 1
            known[place] = Tries(due.attempt, outcome, before.first_at if before else now, now)
        if not found.due and found.next_at is None:
            break
        now = max(now + 1, found.next_at or 0)
    assert {alert_id for alert_id, _ in known} == {a.alert_id for a in alerts}
    assert all(tries.settled for tries in known.values())
    places = [alerts.index(a) for a in arrived]
    assert places == sorted(places)  # a crash repeats the last one, and nothing is overtaken
