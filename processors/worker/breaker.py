"""When a candidate that fails again and again is left alone for a while. Pure: the time is handed in.

The circuit breaker of Nygard, "Release It!" (2007): closed, it lets all calls pass; when too many of the last ones
failed it opens, and none passes; after a while one may try, and what becomes of that one says how it goes on. Times are
of a clock that nobody sets.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """``calls``: the last so many count. ``share``: of them must have failed. Times in seconds."""

    calls: int = 50
    share: float = 0.9
    open_s: float = 5.0  # doubled for each try that fails, up to
    max_open_s: float = 120.0


class Breaker:
    """Of one target. Only failures that say that it is not there count: no connection, no answer in time, 5xx."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._failed: deque[bool] = deque(maxlen=settings.calls)
        self._open_s = settings.open_s
        self._opens_again_at: float | None = None  # while it is not closed
        self._trying = False
        self._opened_at = 0.0

    def closed(self) -> bool:
        return self._opens_again_at is None

    def open_for(self, now: float) -> float:
        """Seconds; 0 while it is closed."""
        return 0.0 if self._opens_again_at is None else now - self._opened_at

    @property
    def calm(self) -> bool:
        """Whether it is closed, and none of the last calls failed."""
        return self._opens_again_at is None and True not in self._failed

    def passes(self, now: float) -> bool:
        """Whether a call may be made now. Who is let through while it is not closed is the one that tries, and
        must tell what became of it: by :meth:`told`, or :meth:`stopped`."""
        if self._opens_again_at is None:
            return True
        if self._trying or now < self._opens_again_at:
            return False
        self._trying = True
        return True

    def told(self, failed: bool, now: float, *, tried: bool = False) -> None:
        """What became of a call that was let through; ``tried``: it was while this was not closed."""
        if self._opens_again_at is not None:
            if not tried:
                return  # made before it opened
            self._trying = False
            if failed:
                self._open_s = min(2 * self._open_s, self._settings.max_open_s)
                self._opens_again_at = now + self._open_s
            else:
                self._close()
            return
        self._failed.append(failed)
        if failed and len(self._failed) == self._settings.calls and self._too_many():
            self._opened_at = now
            self._opens_again_at = now + self._open_s

    def stopped(self, *, tried: bool = False) -> None:
        """A call that was let through ended before anything was to be known of it: if it was to try, another may."""
        if tried:
            self._trying = False

    def _too_many(self) -> bool:
        return sum(self._failed) >= self._settings.share * len(self._failed)

    def _close(self) -> None:
        self._failed.clear()
        self._open_s = self._settings.open_s
        self._opens_again_at = None
