"""The join: in any order, twice, late or never, each request ends once, and what waits is bounded."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.ingest.join import Alone, Became, Ended, Join

WAIT_S = 10.0
MAX_BYTES = 100

came = st.tuples(
    st.sampled_from(["asked", "served", "expire"]),
    st.integers(0, 6),  # which request
    st.integers(1, 60),  # bytes
    st.floats(0, 8),  # seconds since the last
)


def play(
    join: Join[str, str], steps: list[tuple[str, int, int, float]]
) -> list[tuple[float, Ended[str, str]]]:
    """What ended, and when."""
    now, ended = 0.0, []
    for kind, number, size, later in steps:
        now += later
        if kind == "expire":
            ended += [(now, each) for each in join.expire(now)]
        else:
            which: Any = join.asked if kind == "asked" else join.served
            ended += [(now, each) for each in which(f"r{number}", f"r{number}", size, now)[1]]
        assert 0 <= join.bytes <= MAX_BYTES
    return ended


@given(st.lists(came, max_size=60))
def test_each_request_ends_once_and_as_it_must(steps: list[tuple[str, int, int, float]]) -> None:
    join: Join[str, str] = Join(WAIT_S, MAX_BYTES, remembered=1000)
    ended = play(join, steps)
    waited = join.waiting
    last = list(join.close("shutdown"))
    assert (len(last), join.waiting, join.bytes) == (waited, 0, 0)
    everything = [each for _, each in ended] + last
    seen = {f"r{number}" for kind, number, *_ in steps if kind != "expire"}
    assert Counter(each.asked or each.served for each in everything) == Counter(seen)
    for each in everything:
        assert (each.asked is not None and each.served is not None) == (each.reason == "")
        assert each.asked in (None, each.served) or each.served is None
        assert each.reason != Alone.NO_RESPONSE or each.served is None
        assert each.reason != Alone.NO_REQUEST or each.asked is None


@given(st.lists(came.filter(lambda step: step[0] != "expire"), max_size=40))
def test_both_halves_within_their_time_and_room_are_joined(steps: list[tuple[str, int, int, float]]) -> None:
    join: Join[str, str] = Join(WAIT_S, 10_000, remembered=1000)
    halves: dict[str, set[str]] = {}
    became = Counter[Became]()
    for kind, number, size, _ in steps:
        which: Any = join.asked if kind == "asked" else join.served
        halves.setdefault(f"r{number}", set()).add(kind)
        became[which(f"r{number}", f"r{number}", size, 0.0)[0]] += 1
    both = sum(len(kinds) == 2 for kinds in halves.values())
    assert became[Became.JOINED] == both
    assert became[Became.WAITING] == len(halves)
    assert join.waiting == len(halves) - both


def test_a_half_waits_for_so_long_and_what_comes_later_is_known() -> None:
    join: Join[str, str] = Join(WAIT_S, MAX_BYTES, remembered=10)
    join.asked("r1", "a", 10, 0.0)
    assert list(join.expire(9.9)) == []
    assert list(join.expire(10.0)) == [Ended("a", None, Alone.NO_RESPONSE)]
    assert join.served("r1", "s", 10, 11.0) == (Became.REPEATED, [])
    assert join.served("r2", "s", 10, 11.0) == (Became.WAITING, [])
    assert list(join.expire(21.0)) == [Ended(None, "s", Alone.NO_REQUEST)]


def test_the_oldest_gives_way() -> None:
    join: Join[str, str] = Join(WAIT_S, MAX_BYTES, remembered=10)
    join.asked("r1", "one", 60, 0.0)
    assert join.asked("r2", "two", 60, 1.0) == (Became.WAITING, [Ended("one", None, Alone.FULL)])
    assert join.served("r2", "said", 60, 2.0) == (Became.JOINED, [Ended("two", "said")])


def test_so_many_ids_are_known_again() -> None:
    join: Join[str, str] = Join(WAIT_S, MAX_BYTES, remembered=2)
    for number in range(3):
        join.asked(f"r{number}", "a", 1, 0.0)
        join.served(f"r{number}", "s", 1, 0.0)
    assert join.asked("r2", "a", 1, 0.0)[0] is Became.REPEATED
    assert join.asked("r0", "a", 1, 0.0)[0] is Became.WAITING
