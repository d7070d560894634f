"""When each request of a replay is due."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.producers.replay import Pace


def test_as_fast_as_it_goes() -> None:
    pace = Pace()
    assert [pace.due(ts) for ts in (5_000, 1_000, None)] == [0, 0, 0]
    assert not pace.waits


def test_so_many_a_second() -> None:
    pace = Pace(rate=4)
    assert [pace.due(None) for _ in range(5)] == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(("speed", "dues"), [(1, [0, 0.5, 0.5, 0.5, 2]), (10, [0, 0.05, 0.05, 0.05, 0.2])])
def test_the_gaps_of_the_times(speed: float, dues: list[float]) -> None:
    pace = Pace(speed=speed)
    assert [pace.due(ts) for ts in (10_000, 10_500, None, 10_400, 12_000)] == pytest.approx(dues)


def test_a_repetition_begins_where_the_last_one_ended() -> None:
    pace = Pace(speed=1)
    dues = []
    for _ in range(2):
        dues += [pace.due(1_000), pace.due(3_000)]
        pace.again()
    assert dues == [0, 2, 2, 4]


@given(
    st.lists(st.none() | st.integers(0, 4_102_444_799_999)),
    st.sampled_from([{}, {"rate": 3.0}, {"speed": 2.0}]),
)
def test_it_never_goes_back(times: list[int | None], kind: dict[str, float]) -> None:
    pace = Pace(**kind)
    dues = [pace.due(ts) for ts in times]
    assert dues == sorted(dues)
    assert all(due >= 0 for due in dues)
