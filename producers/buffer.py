"""What the mirror holds in memory: a queue bounded in bytes, and the books that go with it.

Every byte of a finished request counts until Kafka has acknowledged it, and of one that is under way all but
its first ``FREE_BYTES``; so ``limit_bytes`` bounds what is in flight, in the queue and inside the Kafka client
together.

One re-entrant lock guards the books: re-entrant because a garbage collection can finish an abandoned capture in
the middle of anything. It is never held across I/O, and a service's thread takes it only where a request is large
or the buffer nearly full: a lock costs more than all the rest of the append. Otherwise a request goes to the end
of ``incoming``, one call into C, and is counted as the largest that may come that way until :meth:`collect`
counts it exactly.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Generic, Protocol, TypeVar

from shadowlane.producers.ledger import MINUTE_MS, Drop, Ledger, Row


class Booked(Protocol):
    """What the books know of a request. ``cost`` is in bytes, reserved, given back when settled."""

    cost: int

    @property
    def ts(self) -> int: ...

    @property
    def service(self) -> str: ...

    @property
    def route(self) -> str: ...


class Queued(Booked, Protocol):
    """A request in the queue."""

    def charge(self) -> int:
        """Add to ``cost`` the bytes that it holds besides, and say how many; fewer than none where it had
        reserved too much. Asked once, as it is queued."""
        ...


T = TypeVar("T", bound=Queued)

Book = tuple[int, str, str]
"""Where the ledger has a request: minute, service, route."""

OVERHEAD_BYTES = 1024
"""What a request costs besides its bodies: the objects that hold it, rounded up."""


FREE_BYTES = 24 * 1024
"""What a request may hold before it reserves anything."""

_THREADS = 64  # this many may append between one's look at the bound and its own append


class Buffer(Generic[T]):
    """A bounded queue of requests on their way to Kafka, emptied by one thread.

    At every moment: eligible = sampled out + dropped + mirrored + ``pending``.

    Args:
        wake: called after an item was queued while ``asleep``, which whoever empties the queue sets.
    """

    def __init__(self, ledger: Ledger, limit_bytes: int, wake: Callable[[], None] = lambda: None) -> None:
        self.ledger = ledger
        self.limit_bytes = limit_bytes
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)  # requests were settled, or bytes came free
        self.closed_reason = ""  # once set, every request is dropped with it
        self.without_content: Counter[str] = Counter()
        self.wake = wake
        self.incoming: deque[T] = deque()  # while they are fewer than ``free``, one may be appended as it is
        self.free = 0
        self._reserved = 0  # bytes
        self._asleep = True
        self._taken = 0  # requests taken and not settled
        self._forked = False
        self._queue: deque[T] = deque()

    @property
    def reserved(self) -> int:
        """Bytes of the bound that are taken, but for those in ``incoming``."""
        return self._reserved

    @property
    def asleep(self) -> bool:
        """Whether who empties the queue wants to be woken. For that thread to say."""
        return self._asleep

    @asleep.setter
    def asleep(self, asleep: bool) -> None:
        with self.lock:
            self._asleep = asleep
            self._reserve(0)

    def _reserve(self, size: int) -> None:
        """With the lock. 0 bytes: what else ``free`` depends on has changed."""
        self._reserved += size
        if self._asleep or self.closed_reason:
            self.free = 0
        else:
            self.free = max(0, (self.limit_bytes - self._reserved) // FREE_BYTES - _THREADS)

    @property
    def pending(self) -> int:
        """Requests collected and not settled."""
        with self.lock:
            return self._taken + len(self._queue)

    def reserve(self, size: int) -> bool:
        """Take ``size`` bytes of the bound; False, and nothing taken, where there is no room."""
        with self.lock:
            if self._reserved + size > self.limit_bytes:
                return False
            self._reserve(size)
            return True

    def release(self, size: int) -> None:
        with self.lock:
            self._reserve(-size)

    def sample_out(self, ts: int, service: str, route: str, reason: str = "") -> None:
        with self.lock:
            self.ledger.add(ts, service, route, Row.ELIGIBLE)
            self.ledger.add(ts, service, route, Row.SAMPLED_OUT, reason)

    def refuse(self, ts: int, service: str, route: str, reason: str) -> None:
        """Book a request of which nothing is held."""
        if self._forked:
            return
        with self.lock:
            self.ledger.add(ts, service, route, Row.ELIGIBLE)
            self.ledger.add(ts, service, route, Row.DROPPED, reason)

    def offer(self, item: T) -> str:
        """Queue an item. Never waits. "", or why it was not taken: then its bytes are free again, and it is
        for the caller to book."""
        if len(self.incoming) >= self.free:
            return self.offer_exactly(item)
        self.incoming.append(item)
        return "" if self.free else self.look_again(item)

    def offer_exactly(self, item: T) -> str:
        """:meth:`offer` where ``free`` allows no append."""
        with self.lock:
            if self.incoming:
                self.collect()
            reason = self.closed_reason
            more = item.charge()
            if not reason and more > 0 and self._reserved + more > self.limit_bytes:
                reason = Drop.BUFFER_FULL
            self._reserve(more - item.cost if reason else more)
            if reason:
                return reason
            self._queue.append(item)
        if self._asleep:
            self.wake()
        return ""

    def look_again(self, item: T) -> str:
        """:meth:`offer` where ``free`` is 0 after an append: whoever empties the queue may sleep, or be gone."""
        if self._asleep:
            self.wake()
        if not self.closed_reason:
            return ""
        with self.lock:
            try:
                self.incoming.remove(item)
            except ValueError:
                return ""  # it was collected
            self._reserve(item.charge() - item.cost)
            return self.closed_reason

    def collect(self) -> None:
        """Count exactly what has come since. Before that it is in no number that this class tells."""
        with self.lock:
            coming = len(self.incoming)
            self.free = max(0, self.free - coming)  # what is being counted leaves no room before it is
            try:
                for _ in range(coming):
                    item = self.incoming.popleft()
                    self._reserved += item.charge()
                    self._queue.append(item)
            except IndexError:
                pass  # a garbage collection in between came here itself
            self._reserve(0)

    def put(self, item: T) -> bool:
        """Queue an item whose bytes are reserved. Never waits. False: closed, and it was dropped."""
        reason = self.offer_exactly(item)
        if reason:
            self.refuse(item.ts, item.service, item.route, reason)
        return not reason

    def head(self) -> T | None:
        """The oldest item in the queue, which stays there."""
        with self.lock:
            if not self._queue:
                self.collect()
            return self._queue[0] if self._queue else None

    def take(self, most: int = 1) -> list[tuple[T, Book]]:
        """The oldest items in the queue, so many at most. They stay pending, and their bytes reserved, until
        settled. For the thread that empties the queue, and no other."""
        with self.lock:
            self.collect()
            items = list(islice(self._queue, most))
        # Asks for routes, which may take a service's own redactor: under no lock.
        books = [(item.ts // MINUTE_MS * MINUTE_MS, item.service, item.route) for item in items]
        with self.lock:
            for (minute, service, route), count in Counter(books).items():  # not on the service's path
                self.ledger.add(minute, service, route, Row.ELIGIBLE, count=count)
            for _ in items:
                self._queue.popleft()
            self._taken += len(items)
        return list(zip(items, books, strict=True))

    def eligible(self) -> int:
        """Requests collected or refused so far; those still in the queue are not in the ledger yet."""
        with self.lock:
            return self.ledger.total(Row.ELIGIBLE) + len(self._queue)

    def queued(self) -> int:
        """Requests that can be taken, the uncollected ones included."""
        return len(self._queue) + len(self.incoming)

    def settle(self, taken: Iterable[tuple[Booked, Book]], row: Row, reason: str = "") -> None:
        """Each taken item is settled exactly once: ``mirrored``, or ``dropped`` with a reason."""
        taken = list(taken)
        books = Counter([book for _, book in taken])
        self.settle_all(books, sum([item.cost for item, _ in taken]), row, reason)

    def settle_all(self, books: Mapping[Book, int], size: int, row: Row, reason: str = "") -> None:
        """:meth:`settle` for taken items that are so many by book, and have ``size`` bytes reserved together."""
        with self.changed:
            for (minute, service, route), count in books.items():
                self.ledger.add(minute, service, route, row, reason, count)
            self._reserve(-size)
            self._taken -= sum(books.values())
            self.changed.notify_all()

    def close(self, reason: str) -> None:
        """Refuse, with ``reason``, whatever comes from now on."""
        with self.changed:
            self.closed_reason = reason
            self._reserve(0)
            self.changed.notify_all()

    def disown(self) -> None:
        """In a forked child, of its parent's buffer: take nothing, book nothing. The lock is a new one: a
        thread that is not here may have held the old one."""
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.closed_reason = Drop.SHUTDOWN
        self.free = 0
        self._forked = True
        self.incoming.clear()
