"""What one closed bucket says: the sums that are all a verdict needs of its pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

ALL = ""
"""The slice that is all traffic."""
UNTRACKED = "*"
"""What stands for every slice that is not followed: too many came before it. No slice's name: those have a "="."""
MOST_SLICES = 200
"""How many slices are followed, in order of appearance: first bucket, then name."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Of one observable over some units: how many have it, their sum, their sum of squares."""

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

    @property
    def counts(self) -> bool:
        """Of numbers in [0, 1]: whether each was 0 or 1. A session's mean of such may lie between."""
        return self.squares == self.total


NO_MOMENTS = Moments(0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One closed bucket of one slice. ``start``, ``first`` and ``last`` are in UTC.

    ``slice`` is `ALL`, or ``attribute=value``, or `UNTRACKED`. ``pairs`` counts scored pairs, ``first`` and ``last``
    are when the first and the last of them were stored. ``moments`` is keyed by the observable's name, ``log_sums``
    by the hypothesis's, with one sum for each of its bets. Both are over units: the pairs, or the sessions that
    came to their end in this bucket, each with its means.
    """

    start: datetime
    pairs: int
    first: datetime
    last: datetime
    moments: Mapping[str, Moments]
    log_sums: Mapping[str, tuple[float, ...]]
    slice: str = ALL
