"""The lines of `shadowlane status` about what waits and what is behind."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from shadowlane.cli.status import table
from shadowlane.processors.pressure import backlog, span, told
from shadowlane.processors.status import Part

STORE = {"what": "the store", "why": "it does not answer; the insert is tried again", "seconds": 130.2}
BEHIND = {"behind": 1204, "oldest_s": 61.0, "come": 60.0, "done": 6.0}


@pytest.mark.parametrize(
    ("come", "done", "says"),
    [
        (60.0, 6.0, "6.0/s are done, 60.0/s come, so it falls behind"),
        (20.0, 80.0, "80.0/s are done, 20.0/s come, so it catches up in about 20 s"),
        (0.0, 10.0, "10.0/s are done, 0.0/s come, so it catches up in about 2 min"),
        (60.0, 59.0, "59.0/s are done, 60.0/s come, so it stays so"),
        (60.0, 0.0, "none is done, 60.0/s come, so it falls behind"),
        (0.0, 0.0, "none is done"),
    ],
)
def test_a_backlog_says_where_it_is_going(come: float, done: float, says: str) -> None:
    assert backlog(1204, 61.0, come, done) == f"1,204 messages behind, the oldest for 1 min 1 s: {says}"


def test_what_has_just_come_is_no_backlog() -> None:
    assert backlog(3, 0.5, 60.0, 60.0) == ""
    assert backlog(0, 0.0, 0.0, 0.0) == ""


def test_waits_come_first() -> None:
    lines = told({"waits": [STORE], "pace": BEHIND})
    assert lines[0] == "waits for the store for 2 min 10 s: it does not answer; the insert is tried again"
    assert lines[1].startswith("1,204 messages behind")
    assert told({"waits": [], "pace": None}) == told({}) == []


json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.fixed_dictionaries({}, optional={"waits": json | st.lists(json, max_size=2), "pace": json}))
def test_another_versions_health_says_nothing_and_breaks_nothing(health: dict[str, Any]) -> None:
    assert isinstance(told(health), list)


@given(st.floats(min_value=-1, max_value=1e9))
def test_a_time_has_two_units_at_most(seconds: float) -> None:
    assert len(span(seconds).split()) in (2, 4)


def test_times_as_people_say_them() -> None:
    assert [span(s) for s in (0.2, 59.6, 130, 7200, 11_100, 187_200)] == [
        "0 s", "1 min", "2 min 10 s", "2 h", "3 h 5 min", "2 d 4 h",
    ]  # fmt: skip


def test_in_the_terminal_it_stands_beside_its_part() -> None:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(
            table(
                [
                    Part("broker", True, "127.0.0.1:9092, 6 of 6 topics"),
                    Part(
                        "sink", True, "group is stable", 1204, told=told({"waits": [STORE], "pace": BEHIND})
                    ),
                ]
            )
        )
    lines = [line.rstrip() for line in capture.get().splitlines()]
    assert "waits for the store for 2 min 10 s" in lines[2]
    assert lines[2].startswith("sink    up       1204")
    assert lines[3].strip().startswith("1,204 messages behind")
    assert lines[4].strip() == "group is stable"
