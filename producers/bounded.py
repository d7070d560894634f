"""A service's own function, called so that the mirror goes on where it does not come back."""

import os
import queue
import threading
from collections.abc import Callable

GIVEN_UP_AFTER = 3
"""So many calls that did not come back, and the function is not called any more."""

_Asked = tuple[bytes, "queue.SimpleQueue[tuple[bytes, BaseException | None]]"]


class Bounded:
    """``function``, in a thread of its own.

    A thread can't be ended: one that hangs is left behind, asleep or busy, and another takes its place. So
    there may be as many of them as :data:`GIVEN_UP_AFTER`, and then the function is given up. What holds
    Python's lock for good (a regular expression that explodes) holds up the service itself: that nobody but
    its author can bound.
    """

    def __init__(self, function: Callable[[bytes], bytes], limit_s: float) -> None:
        self._function = function
        self._limit_s = limit_s
        self._hung = 0
        self._lock = threading.Lock()  # one call at a time
        self._asked: queue.SimpleQueue[_Asked] | None = None
        self._pid = 0

    def __call__(self, data: bytes) -> bytes:
        """What the function gives; raises what it raises.

        Raises:
            TimeoutError: it did not come back, or is given up since it did not several times.
        """
        if self._pid != os.getpid():  # a fork has none of its parent's threads, and may have its locks
            self._pid, self._asked, self._lock = os.getpid(), None, threading.Lock()
        with self._lock:
            if self._hung >= GIVEN_UP_AFTER:
                raise TimeoutError(f"it did not come back {self._hung} times, and is not called any more")
            asked = self._asked = self._asked or self._start()
            answered: queue.SimpleQueue[tuple[bytes, BaseException | None]] = queue.SimpleQueue()
            asked.put((data, answered))
            try:
                given, error = answered.get(timeout=self._limit_s)
            except queue.Empty:
                self._hung += 1
                self._asked = None
                raise TimeoutError(f"it did not come back within {self._limit_s:g} s") from None
        if isinstance(error, Exception):
            raise error
        if error is not None:  # SystemExit and its like are meant for the function's thread alone
            raise RuntimeError(f"it raised {type(error).__name__}")
        return given

    def _start(self) -> "queue.SimpleQueue[_Asked]":
        asked: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        threading.Thread(
            target=_serve, args=(self._function, asked), name="shadowlane-redact", daemon=True
        ).start()
        return asked


def _serve(function: Callable[[bytes], bytes], asked: "queue.SimpleQueue[_Asked]") -> None:
    while True:
        data, answered = asked.get()
        try:
            answered.put((function(data), None))
        except BaseException as exc:  # sys.exit too: it would end this thread alone
            answered.put((b"", exc))
