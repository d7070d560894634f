"""When something stands still, and when it only looks so. Each step is a look, ten seconds after the one before."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.lag import Lag
from shadowlane.processors.watch.stall import Reading, Seen, Stall, Stalls

AFTER_S = 60.0
PLACE = ("responses.served", 0)
LOOP = "event loop"


def looks(*seen: Seen, every: float = 10.0) -> list[Stall]:
    """What the last of these finds."""
    stalls, found = Stalls(AFTER_S), list[Stall]()
    for each in seen:
        found = stalls.look(each, every)
    return found


def at(committed: int, end: int, reading: Reading, **more: object) -> Seen:
    seen = Seen(readings={PLACE: reading}, lags={PLACE: Lag(committed, 0, end)})
    return replace(seen, **more)  # type: ignore[arg-type]  # a test's shorthand


READS_NOT = at(5, 9, Reading(next=5, may_commit=5))
COMMITS_NOT = at(5, 9, Reading(next=9, may_commit=9))


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (Seen(loops={LOOP: (7, 15.0)}), "its event loop does not turn"),
        (READS_NOT, "no message of partition 0 of responses.served is taken, though offset 5 is there"),
        (
            at(5, 9, Reading()),
            "no message of partition 0 of responses.served is taken",
        ),  # not one, since assigned
        (COMMITS_NOT, "is not committed beyond 5, though all before 9 is done"),
        (at(5, 5, Reading(next=5), overdue=123.0), "a half whose time is over does not go out"),
    ],
)
def test_what_stands_still_for_so_long_is_stalled(seen: Seen, text: str) -> None:
    (stall,) = looks(*[seen] * 7)
    assert text in stall.what
    assert stall.seconds == AFTER_S
    assert looks(*[seen] * 6) == []


@pytest.mark.parametrize(
    "seen",
    [
        at(9, 9, Reading(next=9, may_commit=9)),  # nothing to do
        at(5, 9, Reading(next=5, may_commit=5, paused=True)),  # as much waits as may
        at(5, 9, Reading(next=9, may_commit=5)),  # a half waits, and holds back its commit
        replace(READS_NOT, held=True),  # what is written waits for Kafka
        replace(COMMITS_NOT, lags={}),  # Kafka is away, or its word is old
        replace(READS_NOT, lags={("responses.served", 1): Lag(5, 0, 9)}),  # another one's partition
        at(5, 7, Reading(next=9, may_commit=9)),  # an end that lags behind, or a topic made anew
    ],
)
def test_what_has_a_reason_is_not(seen: Seen) -> None:
    assert looks(*[seen] * 50) == []


def test_a_loop_that_works_within_one_turn_is_not() -> None:
    assert looks(*(Seen(loops={LOOP: (7, 15.0)}, work=n) for n in range(50))) == []


def test_while_a_loop_is_busy_with_one_turn_nothing_else_stands_still() -> None:
    busy = replace(READS_NOT, loops={LOOP: (7, 1000.0)})
    assert looks(*[busy] * 50) == []
    turning = [replace(READS_NOT, loops={LOOP: (n, 1000.0)}) for n in range(7)]
    assert looks(*turning[:3], *[turning[3]] * 50, *turning[4:]) != []  # what was counted before stays
    assert looks(*turning[:3], *[turning[3]] * 50, *turning[4:6]) == []


def test_a_loop_may_take_as_long_as_it_says() -> None:
    seen = Seen(loops={LOOP: (7, 150.0)})
    assert looks(*[seen] * 15) == []
    assert looks(*[seen] * 16) != []


def test_any_progress_begins_the_time_anew() -> None:
    moved = at(6, 9, Reading(next=6, may_commit=6))
    assert looks(*[READS_NOT] * 6, moved, *[moved] * 5) == []
    assert looks(*[READS_NOT] * 6, moved, *[moved] * 6) != []


def test_a_pause_begins_the_time_anew() -> None:
    paused = at(5, 9, Reading(next=5, may_commit=5, paused=True))
    assert looks(*[READS_NOT] * 6, paused, *[READS_NOT] * 6) == []


def test_one_side_alone_that_stands_still_is_enough() -> None:
    other = ("responses.shadow", 0)

    def seen(n: int) -> Seen:
        return replace(
            READS_NOT,
            readings={**READS_NOT.readings, other: Reading(next=n, may_commit=n)},
            lags={**READS_NOT.lags, other: Lag(n, 0, n + 3)},
        )

    (stall,) = looks(*(seen(n) for n in range(7)))
    assert stall.unread == (PLACE, 5)


def test_what_is_excused_begins_anew() -> None:
    stalls = Stalls(AFTER_S)
    for _ in range(7):
        found = stalls.look(READS_NOT, 10.0)
    assert found
    stalls.excuse(found[0])
    assert not any(stalls.look(READS_NOT, 10.0) for _ in range(6))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans(), st.booleans()), max_size=60))
def test_it_is_stalled_where_it_has_not_moved_for_so_long(
    steps: list[tuple[int, int, bool, bool]],
) -> None:
    stalls, unread, hung, before = Stalls(AFTER_S), 0.0, 0.0, (-1, -1)
    unknown = True
    for following, turns, paused, away in steps:
        seen = at(0, 9, Reading(following, following, paused), loops={LOOP: (turns, 0.0)})
        found = stalls.look(replace(seen, lags={}) if away else seen, 10.0)
        turned = turns != before[1]
        hung = 0.0 if turned else hung + 10
        if paused or away or unknown or following != before[0]:
            unread = 0.0
        elif turned:
            unread += 10
        unknown, before = paused or away, (following, turns)
        assert any("event loop" in stall.what for stall in found) == (hung >= AFTER_S)
        assert any(stall.unread for stall in found) == (unread >= AFTER_S)
