"""When each request of a replay is due. Pure: times are handed in."""


class Pace:
    """As fast as it goes; or so many requests a second; or with the gaps between the requests' own times.

    Args:
        rate: requests a second.
        speed: 1 keeps the gaps, 10 makes a tenth of them.
    """

    def __init__(self, *, rate: float | None = None, speed: float | None = None) -> None:
        self._rate = rate
        self._speed = speed
        self._first: int | None = None
        self._due = 0.0
        self._before = 0.0  # of all repetitions before this one
        self._count = 0

    @property
    def waits(self) -> bool:
        return bool(self._rate or self._speed)

    def due(self, ts: int | None) -> float:
        """Seconds from the beginning at which the next request is due; it never goes back. ``ts`` is its own time,
        Unix milliseconds; one without is due with the one before it."""
        if self._rate:
            self._due = self._count / self._rate
        elif self._speed and ts is not None:
            if self._first is None:
                self._first = ts
            self._due = max(self._due, self._before + (ts - self._first) / 1000 / self._speed)
        self._count += 1
        return self._due

    def again(self) -> None:
        """The times begin anew: a repetition."""
        self._before, self._first = self._due, None
