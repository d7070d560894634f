"""One process's way to Kafka: a buffer, a worker, and the thread that runs it.

The thread starts with the first request and is a daemon. Until a request comes it sleeps; while there is
something to do it takes a round whenever some fifty requests have come, each 10 to 100 ms, since each round costs the
service's threads their caches; and between two requests it lets them run.
"""

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from shadowlane.errors import ConfigError
from shadowlane.producers.buffer import Buffer
from shadowlane.producers.ledger import Drop, Ledger, Row
from shadowlane.producers.link import Link
from shadowlane.producers.log import Log
from shadowlane.producers.worker import BATCH, Encoder, Item, Worker
from shadowlane.schemas.topics import Topics

ROUND_S = 0.01
ROUND_MAX_S = 0.1
ROUND_REQUESTS = 50
IDLE_S = 1.0
SLICE_S = 200e-6
REST_S = 20e-6

T = TypeVar("T", bound=Item)


class Pipeline(Generic[T]):
    """Args:
    make_link: builds the link, in the thread; raises ConfigError.
    encode: redacts and encodes one item, in the thread.
    blocked: a reason for which every request is dropped from the start, or "".
    chores: done in the thread with each round.
    """

    def __init__(
        self,
        make_link: Callable[[], Link],
        encode: Encoder[T],
        topics: Topics,
        log: Log,
        *,
        buffer_bytes: int,
        hold_s: float,
        blocked: str = "",
        chores: Callable[[], None] = lambda: None,
    ) -> None:
        self.buffer: Buffer[T] = Buffer(Ledger(uuid.uuid4().hex), buffer_bytes, self.wake)
        if blocked:
            self.buffer.close(blocked)
        self.log = log
        self._make_link = make_link
        self.connecting = threading.Lock()
        """Held by the thread from the making of the link until Kafka has answered it once, or has not in 2 s."""
        self._connects = False
        self._encode = encode
        self._topics = topics
        self._hold_s = hold_s
        self._chores = chores
        self._worker: Worker[T] | None = None
        self._thread: threading.Thread | None = None
        self._wake = _Wake()
        self._wait_s = ROUND_S
        self._flushing = 0
        self._stop_by: float | None = None

    def sample_out(self, ts: int, service: str, route: str, reason: str = "") -> None:
        self.buffer.sample_out(ts, service, route, reason)
        if self._thread is None:
            self.wake()

    def refuse(self, ts: int, service: str, route: str, reason: str) -> None:
        self.buffer.refuse(ts, service, route, reason)
        if self._thread is None:
            self.wake()

    def wake(self) -> None:
        """Start the thread if there is none, and have it look now."""
        if self._thread is None and not self.buffer.closed_reason:
            with self.buffer.lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="shadowlane-mirror", daemon=True)
                    self._thread.start()
        self._wake.set()

    def flush(self, timeout: float) -> bool:
        """Wait until nothing is left to send; False if that took longer than ``timeout`` seconds."""
        with self.buffer.changed:
            self.buffer.collect()
            if self._thread is None:
                return self.buffer.pending == 0
            self._flushing += 1
        self._wake.set()
        deadline = time.perf_counter() + timeout
        try:
            with self.buffer.changed:
                while not self._settled():
                    left = deadline - time.perf_counter()
                    if left <= 0:
                        return False
                    self.buffer.changed.wait(min(left, 0.05))
            return True
        finally:
            with self.buffer.changed:
                self._flushing -= 1

    def _settled(self) -> bool:
        return self._thread is None or (self._worker is not None and self._worker.settled())

    def close(self, timeout: float) -> None:
        """Send what can be sent within ``timeout`` seconds; what is left is dropped, counted and logged."""
        self.buffer.close(self.buffer.closed_reason or Drop.SHUTDOWN)
        with self.buffer.lock:
            thread = self._thread
        if thread is None or self._stop_by is not None:
            return
        self._stop_by = time.perf_counter() + timeout
        self._wake.set()
        thread.join(timeout + 3.0)  # giving up takes up to one second more, a metadata request two

    def stats(self) -> dict[str, Any]:
        buffer = self.buffer
        with buffer.lock:
            buffer.collect()
            ledger = buffer.ledger
            return {
                "eligible": buffer.eligible(),
                "sampled_out": ledger.total(Row.SAMPLED_OUT),
                "mirrored": ledger.total(Row.MIRRORED),
                "buffered": buffer.pending,
                "buffered_bytes": buffer.reserved,
                "dropped": ledger.dropped(),
                "without_content": dict(buffer.without_content),
                "connected": self._worker is not None and self._worker.connected,
                "problems": dict(self.log.counts),
                "last_problem": self.log.last,
            }

    def _run(self) -> None:
        self.buffer.asleep = (
            False  # or each request would wake it, until it has nothing to do for the first time
        )
        self.connecting.acquire()
        self._connects = True
        try:
            link = self._make_link()
        except ConfigError as exc:
            self._connected()
            self.log.problem("misconfigured", f"{exc}: nothing is mirrored")
            self._shut(Drop.MISCONFIGURED)
            return
        worker = self._worker = Worker(
            self.buffer,
            self._encode,
            link,
            self._topics,
            hold_s=self._hold_s,
            report=self.log.problem,
            pause=_Pause(),
        )
        while True:
            try:
                self._round(worker)
            except Exception as exc:  # the thread must live: without it nothing is mirrored any more
                self.log.problem("internal", f"{type(exc).__name__}: {exc}", exc_info=True)
                time.sleep(ROUND_S)
            if self._stop_by is not None and (worker.settled() or time.perf_counter() >= self._stop_by):
                break
        lost = worker.abandon(Drop.SHUTDOWN)
        if lost:
            self.log.problem("shutdown", f"the process ended before Kafka had acknowledged {lost} requests")

    def _round(self, worker: Worker[T]) -> None:
        urgent = self._flushing > 0 or self._stop_by is not None
        self._chores()
        try:
            waiting = worker.step(time.perf_counter(), urgent=urgent)
        finally:
            self._connected()
        if worker.idle() and not urgent:
            self.buffer.asleep = True
            # What was put between idle() and here did not wake anyone.
            if not self.buffer.queued():
                self._wake.wait(IDLE_S)
            self.buffer.asleep = False
        else:
            hurried = urgent or self.buffer.reserved * 2 > self.buffer.limit_bytes
            self._wait_s = ROUND_S if hurried else wait_s(self._wait_s, waiting)
            self._wake.wait(self._wait_s)

    def _connected(self) -> None:
        """The first step is over."""
        if self._connects:
            self._connects = False
            self.connecting.release()

    def _shut(self, reason: str) -> None:
        """Drop everything, now and from now on."""
        self.buffer.close(reason)
        while items := self.buffer.take(BATCH):
            self.buffer.settle(items, Row.DROPPED, reason)
        with self.buffer.changed:
            self._thread = None
            self.buffer.changed.notify_all()


def wait_s(waited_s: float, came: int) -> float:
    """Seconds until the next round, where so many requests came while the last one was waited for."""
    return min(max(ROUND_S, waited_s * ROUND_REQUESTS / (came or 1)), ROUND_MAX_S)


class _Wake:
    """Like an Event that a wait clears. Setting it is one call into C: an Event holds a lock of its own while
    it is set, and a garbage collection in that moment, which may end an abandoned stream and so come here
    again, would wait for itself for ever."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        with suppress(RuntimeError):  # set already
            self._lock.release()

    def wait(self, timeout: float) -> None:
        self._lock.acquire(timeout=timeout)


class _Pause:
    """Lets the service's threads run, after each ``SLICE_S`` of work. A thread that waits for Python's lock gets it
    only from one that really lets go: handing it back and forth after each request, or taking it again at once,
    costs both more than the encoding does."""

    def __init__(self) -> None:
        self._since = 0.0

    def __call__(self) -> None:
        now = time.perf_counter()
        if now - self._since >= SLICE_S:
            time.sleep(REST_S)
            self._since = time.perf_counter()
