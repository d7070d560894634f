"""A group's lag over time."""

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.lag import Lag
from shadowlane.processors.watch.behind import KEPT, Course, Courses, Pace


def course(*readings: tuple[float, int | None, int]) -> Course:
    made = Course()
    for now, committed, end in readings:
        made.read(Lag(committed, 0, end), now)
    return made


def test_a_commit_that_moves_does_not_stall() -> None:
    assert course((0, 0, 5), (10, 3, 9), (20, 4, 12)).stalled == 0


def test_a_commit_that_does_not_move_stalls_while_there_is_lag() -> None:
    assert course((0, 3, 3), (10, 3, 5), (20, 3, 9), (30, 3, 9)).stalled == 20
    assert course((0, 3, 5), (10, 3, 5), (20, 5, 5), (90, 5, 5)).stalled == 0
    assert course((0, None, 5), (10, None, 5)).stalled == 10


def test_the_oldest_message_is_as_old_as_the_reading_that_saw_it_first() -> None:
    assert course((0, 0, 0), (10, 0, 4), (20, 0, 8), (30, 2, 12)).age == 20
    assert course((0, 0, 0), (10, 0, 4), (20, 0, 8), (30, 4, 12)).age == 10
    assert course((0, 0, 0), (10, 0, 4), (20, 0, 8), (30, 12, 12)).age == 0


def test_a_topic_made_anew_begins_anew() -> None:
    assert course((0, 0, 100), (50, 0, 3), (60, 0, 3)).age == 10


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=3 * KEPT))
def test_the_age_is_true_to_an_interval_and_takes_bounded_memory(steps: list[tuple[int, int]]) -> None:
    made, written, committed, end = Course(), list[int](), 0, 0
    for now, (read, wrote) in enumerate(steps):
        written += [now] * wrote  # by offset: when the reading first saw it
        end += wrote
        committed = min(end, committed + read)
        made.read(Lag(committed, 0, end), float(now))
        assert len(made._ends) <= KEPT
        true_age = now - written[committed] if committed < end else 0
        assert made.age <= true_age
        if len(steps) <= KEPT:  # not thinned out
            assert made.age == true_age


def paced(*readings: tuple[float, int, int]) -> Courses:
    made = Courses()
    for now, committed, end in readings:
        made.read({("requests", 0): Lag(committed, 0, end)}, now)
    return made


def test_the_pace_is_of_the_last_readings() -> None:
    readings = [(float(now), min(6 * now, 300), 60 * now) for now in range(0, 101, 2)]
    assert paced(*readings).pace() == Pace(6000 - 300, 94.0, 60.0, 0.0)
    assert paced(*readings[:20]).pace() == Pace(54 * 38, 34.0, 60.0, 6.0)


def test_one_reading_has_no_pace_nor_has_a_topic_made_anew() -> None:
    assert paced((0, 0, 9)).pace() is None
    assert paced((0, 0, 9), (2, 0, 11)).pace() is not None
    assert paced((0, 9, 9), (2, 0, 3)).pace() is None


def test_a_partition_that_is_added_begins_anew() -> None:
    made = paced((0, 0, 9), (2, 5, 9))
    made.read({("requests", 0): Lag(5, 0, 9), ("requests", 1): Lag(None, 0, 50)}, 4)
    assert made.pace() is None
