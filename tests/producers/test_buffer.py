"""The buffer: bounded, and nothing in it is lost or booked twice, whoever comes at the same time."""

import sys
import threading
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from shadowlane.producers.buffer import FREE_BYTES, Book, Buffer
from shadowlane.producers.ledger import Ledger, Row


class Thing:
    ts = 1_700_000_000_000
    service = "shop"
    route = "r"

    def __init__(self, held: int) -> None:
        self.cost = 0
        self.unreserved = held

    def charge(self) -> int:
        more, self.unreserved = self.unreserved, 0
        self.cost += more
        return more


def offer(buffer: Buffer[Thing], size: int) -> str:
    """As an exchange does it: what is large is reserved before."""
    thing = Thing(size)
    if size > FREE_BYTES:
        if not buffer.reserve(size):
            return "buffer_full"
        thing.cost, thing.unreserved = size, 0
    return buffer.offer(thing)


@given(
    st.integers(1, 2_000_000),
    st.lists(st.integers(1, 3 * FREE_BYTES) | st.sampled_from(["collect", "take", "settle"]), max_size=300),
)
def test_what_is_held_stays_within_the_bound_and_the_books_add_up(
    limit: int, actions: list[int | str]
) -> None:
    buffer: Buffer[Thing] = Buffer(Ledger("m1"), limit)
    held = refused = 0
    taken: list[tuple[Thing, Book]] = []
    for action in actions:
        if isinstance(action, int):
            if offer(buffer, action):
                assert held + action > limit
                refused += 1
            else:
                held += action
        elif action == "collect":
            buffer.collect()
        elif action == "take":
            taken += buffer.take()
        else:
            held -= sum(thing.cost for thing, _ in taken)
            buffer.settle(taken, Row.MIRRORED)
            taken = []
        assert held <= limit
    buffer.collect()
    assert buffer.reserved == held
    assert buffer.eligible() == buffer.pending + buffer.ledger.total(Row.MIRRORED)
    assert buffer.eligible() == sum(isinstance(action, int) for action in actions) - refused


def test_a_buffer_that_closes_in_the_midst_of_many_loses_none() -> None:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        _close_in_the_midst()
    finally:
        sys.setswitchinterval(usual)


def _close_in_the_midst() -> None:
    for _ in range(20):
        buffer: Buffer[Thing] = Buffer(Ledger("m1"), 10**9)
        said: Counter[str] = Counter()
        started = threading.Barrier(5)

        def serve(
            buffer: Buffer[Thing] = buffer, said: Counter[str] = said, started: threading.Barrier = started
        ) -> None:
            mine: Counter[str] = Counter()
            started.wait()
            for _ in range(300):
                mine[offer(buffer, 100)] += 1
            with buffer.lock:
                said.update(mine)

        threads = [threading.Thread(target=serve) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        taken = 0
        while taken < 200:
            taken += len(buffer.take(7))
        buffer.close("shutdown")
        while items := buffer.take(7):
            taken += len(items)
        for thread in threads:
            thread.join()
        assert (said[""], said["shutdown"]) == (taken, 1200 - taken)
        assert buffer.queued() == 0
        assert buffer.reserved == 100 * taken
