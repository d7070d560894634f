"""The watchdog, with a component and a Kafka that a test moves, and an end that the test survives."""

import queue
import threading

import pytest

from shadowlane.processors.lag import Lag, Place
from shadowlane.processors.watch import EXIT_STALLED, Board, Reading, Seen
from shadowlane.processors.watch.watchdog import Watchdog

PLACE = ("responses.served", 0)
NOT_READ = Seen(readings={PLACE: Reading(next=5, may_commit=5)})


class Kafka:
    """Five messages are committed, and nine are there; ``real`` says whether any can be read."""

    def __init__(self, *, real: bool) -> None:
        self.real = real
        self.owned = False
        self.lags = {PLACE: Lag(5, 0, 9)}
        self.asked: list[tuple[Place, int]] = []

    def has_message(self, place: Place, offset: int) -> bool:
        self.asked.append((place, offset))
        return self.real

    def is_owned(self) -> bool:
        return self.owned


def board() -> Board:
    return Board("pairing", unready=list, figures=list)


def test_a_loop_that_hangs_ends_the_process_with_the_stacks_in_the_log(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    hung, ended = board(), queue.SimpleQueue[int]()
    hung.loop("event loop", within_s=0.1)
    watchdog = Watchdog(hung, Seen, None, 0.1, end=ended.put)
    watchdog.start()
    assert ended.get(timeout=60) == EXIT_STALLED
    watchdog.stop()
    stacks = capfd.readouterr().err
    assert "most recent call first" in stacks
    assert "test_watchdog.py" in stacks  # what this thread was doing
    assert "pairing stands still: its event loop does not turn" in caplog.text


def test_a_lock_that_the_hung_thread_holds_does_not_save_it() -> None:
    import logging

    held, ended, release = threading.Event(), queue.SimpleQueue[int](), threading.Event()

    class Held(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            held.set()
            release.wait(60)

    logger, handler = logging.getLogger("shadowlane.watch"), Held()
    logger.addHandler(handler)
    hung = board()
    hung.loop("event loop", within_s=0.1)
    watchdog = Watchdog(hung, Seen, None, 0.1, end=ended.put)
    try:
        watchdog.start()
        assert ended.get(timeout=60) == EXIT_STALLED
        assert held.is_set()
    finally:
        release.set()
        logger.removeHandler(handler)
        watchdog.stop()


def test_a_loop_that_turns_does_not() -> None:
    turning = board()
    loop = turning.loop("event loop", within_s=1.0)
    watchdog = Watchdog(turning, Seen, None, 10.0)
    for _ in range(100):
        loop.turn()
        assert watchdog.look(1.0) == []


def test_one_whose_loop_may_hang_is_left_alone() -> None:
    polling = board()
    polling.loop("poll loop", within_s=1.0, ends=False)
    watchdog = Watchdog(polling, Seen, None, 10.0)
    assert not any(watchdog.look(1.0) for _ in range(100))


def test_a_message_that_is_not_taken_is_looked_for_first() -> None:
    kafka = Kafka(real=True)
    watchdog = Watchdog(board(), lambda: NOT_READ, kafka, 10.0)
    assert not any(watchdog.look(1.0) for _ in range(10))
    assert kafka.asked == []
    (stall,) = watchdog.look(1.0)
    assert stall.unread == (PLACE, 5)
    assert kafka.asked == [(PLACE, 5)]


def test_an_offset_that_holds_no_message_is_no_stall() -> None:
    kafka = Kafka(real=False)
    watchdog = Watchdog(board(), lambda: NOT_READ, kafka, 10.0)
    assert not any(watchdog.look(1.0) for _ in range(50))
    assert len(kafka.asked) == 4  # once in eleven looks


def test_a_group_whose_partitions_nobody_has_ends_one_that_waits_for_them() -> None:
    watchdog = Watchdog(board(), lambda: Seen(assigned=False), Kafka(real=True), 10.0)
    assert not any(watchdog.look(1.0) for _ in range(20))
    (stall,) = watchdog.look(1.0)
    assert stall.unowned
    assert "gives it no partition" in stall.what


def test_one_that_stands_by_while_another_member_has_them_is_left_alone() -> None:
    kafka = Kafka(real=True)
    kafka.owned = True
    watchdog = Watchdog(board(), lambda: Seen(assigned=False), kafka, 10.0)
    assert not any(watchdog.look(1.0) for _ in range(100))


def test_one_that_waits_while_others_commit_is_left_alone() -> None:
    kafka = Kafka(real=True)
    watchdog = Watchdog(board(), lambda: Seen(assigned=False), kafka, 10.0)
    for committed in range(100):
        kafka.lags = {PLACE: Lag(committed, 0, 1000)}
        assert not any(watchdog.look(1.0) for _ in range(15))
