"""A service's own redactor that does not come back costs requests their content, and holds up nobody."""

import os
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from shadowlane.producers.bounded import GIVEN_UP_AFTER, REST, Bounded
from shadowlane.producers.capture import Capture
from shadowlane.producers.outflow import Redactor


@pytest.fixture
def held() -> Iterator[Callable[[bytes], bytes]]:
    """A function that comes back only for ``b"quick"``, until the test is over."""
    over = threading.Event()

    def function(data: bytes) -> bytes:
        if data != b"quick":
            over.wait()
        return data.upper()

    yield function
    over.set()


def test_it_gives_what_the_function_gives_and_raises_what_it_raises() -> None:
    bounded = Bounded(lambda data: data[::-1] if data != b"bad" else data.index(b"x").to_bytes(), 2.0)
    assert bounded(b"abc") == b"cba"
    with pytest.raises(ValueError, match="not found"):
        bounded(b"bad")


def test_one_that_hangs_is_left_behind_and_the_next_call_answered(held: Callable[[bytes], bytes]) -> None:
    bounded = Bounded(held, limit_s=0.05)
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        bounded(b"slow")
    assert bounded(b"quick") == b"QUICK"


def test_it_is_given_up_after_some_that_hang(held: Callable[[bytes], bytes]) -> None:
    bounded = Bounded(held, limit_s=0.02)
    for _ in range(GIVEN_UP_AFTER):
        with pytest.raises(TimeoutError, match="within"):
            bounded(b"slow")
    before = threading.active_count()
    with pytest.raises(TimeoutError, match="not called before it has"):
        bounded(b"quick")
    assert threading.active_count() == before


def test_one_that_was_late_is_left_alone_for_a_while_and_called_again() -> None:
    now, ready = 100.0, threading.Event()

    def function(data: bytes) -> bytes:
        ready.wait()  # something is loaded
        return data.upper()

    before = set(threading.enumerate())
    bounded = Bounded(function, limit_s=0.02, clock=lambda: now)
    for _ in range(GIVEN_UP_AFTER):
        with pytest.raises(TimeoutError, match="within"):
            bounded(b"early")
    behind = [each for each in set(threading.enumerate()) - before if each.name == "shadowlane-redact"]
    assert len(behind) == GIVEN_UP_AFTER
    ready.set()
    for thread in behind:
        thread.join(20)
        assert not thread.is_alive()
    now += (REST - 1) * 0.02
    with pytest.raises(TimeoutError, match="for a while"):
        bounded(b"early")
    now += 0.03
    assert bounded(b"in time") == b"IN TIME"


def test_an_exit_in_it_ends_nobody() -> None:
    with pytest.raises(RuntimeError, match="SystemExit"):
        Bounded(lambda _: sys.exit(1), 2.0)(b"x")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_it_works_in_a_forked_child() -> None:
    redactor = Redactor(Capture(redact=lambda data: data.upper()))
    assert redactor.text("abc") == "ABC"
    child = os.fork()
    if child == 0:
        os._exit(0 if redactor.text("abc") == "ABC" else 1)
    assert os.waitpid(child, 0)[1] == 0
