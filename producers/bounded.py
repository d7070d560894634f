"""A service's own function, called so that the mirror goes on where it does not come back."""

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable

GIVEN_UP_AFTER = 3
"""So many calls that did not come back, and the function is not called until one of them has."""
REST = 30
"""So many times its limit is what so many late calls may happen in: the mirror's thread waits for a tenth of it."""

_Answered = queue.SimpleQueue[tuple[bytes, BaseException | None]]
_Asked = queue.SimpleQueue[tuple[bytes, _Answered] | None]


class Bounded:
    """``function``, in a thread of its own.

    A thread can't be ended: one that hangs is left behind, asleep or busy, and another takes its place. So
    there may be as many of them as :data:`GIVEN_UP_AFTER`, and then the function is given up, until one comes
    back after all: the first calls may only have waited for something that was loaded. One that is late again
    and again is left alone in between. What holds Python's lock for good (a regular expression that explodes)
    holds up the service itself: that nobody but its author can bound.
    """

    def __init__(
        self, function: Callable[[bytes], bytes], limit_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._function = function
        self._limit_s = limit_s
        self._clock = clock
        self._start_empty()

    def _start_empty(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()  # one call at a time
        self._asked: _Asked | None = None
        self._hung: set[_Asked] = set()  # of threads that are left behind
        self._late: deque[float] = deque(maxlen=GIVEN_UP_AFTER)  # when calls were

    def __call__(self, data: bytes) -> bytes:
        """What the function gives; raises what it raises.

        Raises:
            TimeoutError: it did not come back, or is left alone since it did not several times.
        """
        if self._pid != os.getpid():  # a fork has none of its parent's threads, and may have its locks
            self._start_empty()
        with self._lock:
            self._check()
            asked = self._asked = self._asked or self._start()
            answered: _Answered = queue.SimpleQueue()
            asked.put((data, answered))
            try:
                given, error = answered.get(timeout=self._limit_s)
            except queue.Empty:
                self._hung.add(asked)
                self._late.append(self._clock())
                self._asked = None
                asked.put(None)
                raise TimeoutError(f"it did not come back within {self._limit_s:g} s") from None
        if isinstance(error, Exception):
            raise error
        if error is not None:  # SystemExit and its like are meant for the function's thread alone
            raise RuntimeError(f"it raised {type(error).__name__}")
        return given

    def _check(self) -> None:
        """Raises TimeoutError where it is not to be called now."""
        if len(self._hung) >= GIVEN_UP_AFTER:
            raise TimeoutError(
                f"it did not come back {len(self._hung)} times, and is not called before it has"
            )
        if len(self._late) == GIVEN_UP_AFTER and self._clock() - self._late[0] < REST * self._limit_s:
            raise TimeoutError(f"it was late {GIVEN_UP_AFTER} times, and is left alone for a while")

    def _start(self) -> _Asked:
        asked: _Asked = queue.SimpleQueue()
        threading.Thread(target=self._serve, args=(asked,), name="shadowlane-redact", daemon=True).start()
        return asked

    def _serve(self, asked: _Asked) -> None:
        while (task := asked.get()) is not None:
            data, answered = task
            try:
                answered.put((self._function(data), None))
            except BaseException as exc:  # sys.exit too: it would end this thread alone
                answered.put((b"", exc))
        self._hung.discard(asked)
