"""A provider that changes the model under a rollout: told once for each name, whatever comes after it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.rollout.incidents import Told
from shadowlane.rollout.machine import HOUR_MS, on_models
from shadowlane.rollout.models import FRESH_MS, LEARN_MS, LOOK_MS, MOST, Change, Models, Name, changes
from shadowlane.rollout.state import Action
from tests.rollout.making import NOW, rollout, started

LATER = NOW + LEARN_MS


def name(served: str, first: int, asked: str = "m") -> Name:
    return Name(asked, served, first, first + 1, 1)


def test_another_name_is_a_change_and_the_first_is_none() -> None:
    names = [name("m-1", NOW), name("m-2", LATER), name("n-1", LATER, "n")]
    assert changes(names, (), LATER) == [Change("m", "m-1", "m-2", LATER)]
    assert changes(names, ("m → m-2",), LATER) == []
    assert changes([], (), LATER) == []


def test_what_a_model_began_with_is_none_and_what_is_long_ago_is_no_news() -> None:
    assert changes([name("m-1", NOW), name("m-2", NOW + LEARN_MS - 1)], (), LATER) == []
    names = [name("m-1", NOW), name("m-2", LATER)]
    assert changes(names, (), LATER + FRESH_MS)
    assert changes(names, (), LATER + FRESH_MS + 1) == []


def test_a_server_that_names_each_answer_anew_is_told_of_a_few_times() -> None:
    names = [name(f"m-{n:03}", NOW + n * LEARN_MS) for n in range(100)]
    found = changes(names, (), LATER)
    assert [change.last for change in found] == [False] * (MOST - 1) + [True]
    assert changes(names, [change.key for change in found], LATER) == []


@given(st.lists(st.tuples(st.sampled_from("mn"), st.integers(0, 9), st.integers(0, 100)), max_size=30))
def test_each_name_is_told_once_whenever_it_is_looked_at(answers: list[tuple[str, int, int]]) -> None:
    """Told at each look, from the names that there are by then; and all at once: the same names, but for the order."""
    seen: dict[tuple[str, str], int] = {}
    told: list[str] = []
    for asked, number, minutes in sorted(answers, key=lambda answer: answer[2]):
        at = NOW + minutes * 60_000
        seen.setdefault((asked, f"{asked}-{number}"), at)
        found = changes([name(s, first, a) for (a, s), first in seen.items()], told, at)
        assert len(found) <= 2
        told += [change.key for change in found]
    assert len(told) == len(set(told))
    for asked in "mn":
        assert sum(key.startswith(asked) for key in told) <= MOST


class Store:
    """Answers of one model, as (served, when); counts how often all of them are read."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, int]] = []
        self.whole = 0

    def rows(self, _sql: str, parameters: Any) -> list[dict[str, Any]]:
        self.whole += parameters["since"] == 0
        found: dict[str, list[int]] = {}
        for served, at in self.answers:
            if at >= parameters["since"]:
                found.setdefault(served, []).append(at)
        return [
            {"asked": "m", "served": s, "first": min(at), "last": max(at), "pairs": len(at)}
            for s, at in found.items()
        ]


def test_two_snapshots_to_and_fro_are_told_once_and_all_pairs_seldom_read() -> None:
    store, told = Store(), list[str]()
    models = Models(store.rows)
    for minute in range(600):
        now = NOW + minute * LOOK_MS
        store.answers.append(("m-1" if minute < 30 or minute % 2 else "m-2", now))
        found = models.look("r", told, now)
        assert models.look("r", [*told, *(c.key for c in found)], now + 1) == []
        told += [change.key for change in found]
    assert told == ["m → m-2"]
    assert store.whole <= 4


def test_it_is_an_event_with_an_alert_that_ends_after_an_hour() -> None:
    state = started(rollout())
    change = Change("b", "b-1", "b-2", NOW)
    entry = on_models(state, Told(), [change], NOW)
    assert entry is not None
    (alert,) = entry.alerts
    assert (entry.event, entry.state.served, entry.state.open) == (
        "model_changed",
        ("b → b-2",),
        (alert.incident,),
    )
    assert (alert.action, alert.severity, alert.since) == (Action.TRIGGER, "warning", NOW)
    assert "b was answered as b-1, and is as b-2" in alert.what
    assert on_models(entry.state, Told(), [], NOW + HOUR_MS - 1) is None
    over = on_models(entry.state, Told(), [], NOW + HOUR_MS)
    assert over is not None
    assert (over.event, over.state.open, over.state.served) == ("resolved", (), ("b → b-2",))
    assert [(a.action, a.incident) for a in over.alerts] == [(Action.RESOLVE, alert.incident)]
    assert on_models(over.state, Told(), [], NOW + 2 * HOUR_MS) is None
