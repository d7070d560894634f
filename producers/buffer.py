"""What the mirror holds in memory: a queue bounded in bytes, and the books that go with it.

Every byte counts from the moment it is captured until Kafka has acknowledged it, so ``limit_bytes`` bounds
what is in flight, in the queue and inside the Kafka client together. One re-entrant lock guards all of it:
re-entrant because a garbage collection can finish an abandoned capture in the middle of anything. It is held
for a few hundred nanoseconds, never across I/O.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from shadowlane.producers.ledger import Ledger, Row


class Booked(Protocol):
    """What the books know of a request. ``cost`` is in bytes, reserved before, given back when settled."""

    ts: int
    service: str
    route: str
    cost: int


T = TypeVar("T", bound=Booked)

OVERHEAD_BYTES = 1024
"""What a request costs besides its bodies: the objects that hold it, rounded up."""


class Buffer(Generic[T]):
    """A bounded queue of requests on their way to Kafka.

    At every moment: eligible = sampled out + dropped + mirrored + ``pending``.
    """

    def __init__(self, ledger: Ledger, limit_bytes: int) -> None:
        self.ledger = ledger
        self.limit_bytes = limit_bytes
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)  # requests were settled, or bytes came free
        self.pending = 0  # requests accepted and not settled
        self.reserved = 0  # bytes
        self.closed_reason = ""  # once set, every request is dropped with it
        self.without_content: Counter[str] = Counter()
        self._queue: deque[T] = deque()

    def reserve(self, size: int) -> bool:
        """Take ``size`` bytes of the bound; False, and nothing taken, where there is no room."""
        with self.lock:
            if self.reserved + size > self.limit_bytes:
                return False
            self.reserved += size
            return True

    def reserve_waiting(self, size: int, timeout: float) -> bool:
        """The same, but wait up to ``timeout`` seconds for room. More than the whole bound waits for all."""
        with self.changed:
            size = min(size, self.limit_bytes)
            if not self.changed.wait_for(
                lambda: self.closed_reason or self.reserved + size <= self.limit_bytes, timeout
            ):
                return False
            self.reserved += size
            return True

    def release(self, size: int) -> None:
        with self.lock:
            self.reserved -= size

    def sample_out(self, ts: int, service: str, route: str) -> None:
        with self.lock:
            self.ledger.add(ts, service, route, Row.ELIGIBLE)
            self.ledger.add(ts, service, route, Row.SAMPLED_OUT)

    def refuse(self, ts: int, service: str, route: str, reason: str) -> None:
        """Book a request of which nothing is held."""
        with self.lock:
            self.ledger.add(ts, service, route, Row.ELIGIBLE)
            self.ledger.add(ts, service, route, Row.DROPPED, reason)

    def put(self, item: T) -> bool:
        """Queue an item whose bytes are reserved. Never waits. False: closed, and it was dropped."""
        with self.lock:
            if self.closed_reason:
                self.reserved -= item.cost
                self.refuse(item.ts, item.service, item.route, self.closed_reason)
                return False
            self.pending += 1
            self._queue.append(item)
            return True

    def head(self) -> T | None:
        """The oldest item in the queue, which stays there."""
        with self.lock:
            return self._queue[0] if self._queue else None

    def take(self) -> T | None:
        """The oldest item in the queue. It stays pending, and its bytes reserved, until settled."""
        with self.lock:
            if not self._queue:
                return None
            item = self._queue.popleft()
            self.ledger.add(item.ts, item.service, item.route, Row.ELIGIBLE)  # not on the service's path
            return item

    def eligible(self) -> int:
        """Requests seen so far; those still in the queue are not in the ledger yet."""
        with self.lock:
            return self.ledger.total(Row.ELIGIBLE) + len(self._queue)

    def reprice(self, item: T, cost: int) -> None:
        """A taken item takes up ``cost`` bytes from now on; encoded, a stream is a fraction of what came."""
        with self.lock:
            self.reserved += cost - item.cost
            item.cost = cost

    def queued(self) -> int:
        return len(self._queue)

    def settle(self, items: Iterable[Booked], row: Row, reason: str = "") -> None:
        """Each taken item is settled exactly once: ``mirrored``, or ``dropped`` with a reason."""
        with self.changed:
            for item in items:
                self.ledger.add(item.ts, item.service, item.route, row, reason)
                self.reserved -= item.cost
                self.pending -= 1
            self.changed.notify_all()

    def close(self, reason: str) -> None:
        """Refuse, with ``reason``, whatever comes from now on."""
        with self.changed:
            self.closed_reason = reason
            self.changed.notify_all()
