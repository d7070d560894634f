"""What one closed minute says: the sums that are all a verdict needs of its pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Moments:
    """Of one observable over some pairs: how many have it, their sum, their sum of squares."""

    n: int
    total: float
    squares: float

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float | None:
        return self.total / self.n if self.n else None

    @property
    def variance(self) -> float:
        """The variance of what was seen (divided by n); 0 where nothing was."""
        if not self.n:
            return 0.0
        mean = self.total / self.n
        return max(self.squares / self.n - mean * mean, 0.0)


NO_MOMENTS = Moments(0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One closed minute. ``start``, ``first`` and ``last`` are in UTC; ``pairs`` counts scored pairs.

    ``first`` and ``last`` are when the first and the last of its pairs became complete. ``moments`` is keyed
    by the observable's name, ``log_sums`` by the hypothesis's, with one sum for each of its bets.
    """

    start: datetime
    pairs: int
    first: datetime
    last: datetime
    moments: Mapping[str, Moments]
    log_sums: Mapping[str, tuple[float, ...]]
