"""How many are too many: by the windows of the log, whatever the order, the speed and the repetitions."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.dead_letters.limit import PoisonLimit, shown
from shadowlane.schemas.codec import dead_letter
from shadowlane.schemas.config import DeadLetters
from shadowlane.schemas.events import DeadLetter

WINDOW_MS = 60_000


def letter(offset: int, *, reason: str = "not JSON", topic: str = "t.requests", ts: int = 1) -> DeadLetter:
    return dead_letter(
        b"{", reason, component="worker", topic=topic, partition=offset % 3, offset=offset, number=0, ts=ts
    )


def limit(most: int) -> PoisonLimit:
    return PoisonLimit(DeadLetters(limit=most, window_s=60), "worker")


@given(st.lists(st.integers(1, 10 * WINDOW_MS), max_size=60), st.integers(1, 20))
def test_no_window_has_more_than_the_limit_and_none_is_refused_below_it(stamps: list[int], most: int) -> None:
    it = limit(most)
    admitted: Counter[int] = Counter()
    for offset, stamp in enumerate(stamps):
        if it.admit(letter(offset), stamp):
            admitted[stamp // WINDOW_MS] += 1
        elif it.error is not None:
            break
    assert all(count <= most for count in admitted.values())
    wanted = Counter(stamp // WINDOW_MS for stamp in stamps)
    assert (it.error is not None) == any(count > most for count in wanted.values())


@given(
    st.lists(st.integers(1, 5 * WINDOW_MS), max_size=40),
    st.integers(1, 10),
    st.randoms(use_true_random=False),
)
def test_order_and_repetition_change_nothing(stamps: list[int], most: int, chance: random.Random) -> None:
    straight, shuffled = limit(most), limit(most)
    for offset, stamp in enumerate(stamps):
        straight.admit(letter(offset), stamp)
    again = [*enumerate(stamps), *enumerate(stamps)]
    chance.shuffle(again)
    for offset, stamp in again:
        shuffled.admit(letter(offset), stamp)
    assert (straight.error is None) == (shuffled.error is None)


def test_once_one_is_refused_no_new_one_is_admitted() -> None:
    it = limit(2)
    assert [it.admit(letter(n), 5) for n in range(3)] == [True, True, False]
    assert not it.admit(letter(9), 50 * WINDOW_MS)
    assert it.admit(letter(0), 5)  # it is one already


def test_nothing_is_no_limit() -> None:
    it = limit(0)
    assert all(it.admit(letter(n), 5) for n in range(5000))
    assert it.error is None


def test_where_kafka_gives_no_time_the_letters_own_counts() -> None:
    it = limit(2)
    assert all(it.admit(letter(n, ts=n * WINDOW_MS), 0) for n in range(10))
    assert [it.admit(letter(n, ts=99 * WINDOW_MS), 0) for n in range(10, 13)] == [True, True, False]


def test_a_trickle_is_forgotten_in_the_end() -> None:
    it = limit(1)
    for n in range(10_500):
        assert it.admit(letter(n), (n + 1) * WINDOW_MS)
    assert len(it._windows) < 10_100


def test_it_says_how_many_from_where_why_and_what_to_do() -> None:
    it = limit(3)
    reasons = ["not JSON: column 7", "not JSON: column 12", "\x1b]8;;http://x\x07[red]\nschema", "other"]
    for n, reason in enumerate(reasons):
        it.admit(letter(n + 100, reason=reason), 5)
    said = str(it.error)
    assert "3 records that came within 60 s" in said
    assert "t.requests, partition 1, offset 103, line 0" in said
    assert "partition 0: offsets 102 to 102" in said
    assert "of 2: not JSON: column 7. Nothing" in said
    assert "SHADOWLANE_DEAD_LETTERS__LIMIT=0" in said
    assert "shadowlane dlq list --component worker" in said


@given(st.text())
def test_a_reason_is_shown_in_one_line_that_no_terminal_obeys(reason: str) -> None:
    assert shown(reason).isprintable()
    assert len(shown(reason)) <= 200
