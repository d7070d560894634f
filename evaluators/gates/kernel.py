"""The sequential test under every verdict: bets, log sums, and the evidence folded from them.

For a metric x in [lo, hi] and a null mean μ0, a bet λ turns each x into the factor 1 + λ (x − μ0), which is
never negative and has mean at most 1 under the null hypothesis. Their running product is the wealth of a
gambler against that hypothesis; a grid of bets, averaged, needs no knowledge of the true mean. By Ville's
inequality the wealth ever reaches 1/α with probability at most α, however often anyone looks.

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B, 2024);
the spread of starting times for late changes follows Shin, Ramdas and Rinaldo, "E-detectors" (2024), with a
total starting mass of 1 so that the error bound stays one over the whole stage.

All in logs: 10 million pairs neither overflow nor underflow.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, inf, log, log1p

MINUTES_A_WEEK = 10_080
_BOLDEST = 0.95  # of the limit: a bet at the limit could lose everything on one pair


def bet_grid(null_mean: float, lo: float, hi: float, *, upward: bool, least: float) -> tuple[float, ...]:
    """The bets against one null hypothesis, boldest first, signed: 1 + λ (x − μ0) > 0 on all of [lo, hi].

    ``upward`` rejects "E[x] ≤ μ0" (bets are positive), else "E[x] ≥ μ0" (negative). They halve from 0.95 of
    the limit until one is no larger than ``least``: a grid that stops too early is blind to small effects.

    Raises ValueError when ``null_mean`` doesn't lie strictly inside (lo, hi), or ``least`` isn't positive.
    """
    if not lo < null_mean < hi:
        raise ValueError(f"the null mean {null_mean} must lie strictly between {lo} and {hi}")
    if not least > 0:
        raise ValueError(f"the least bet must be positive, not {least}")
    bet = _BOLDEST / (null_mean - lo if upward else hi - null_mean)
    grid = [bet]
    while bet > least:
        bet /= 2
        grid.append(bet)
    return tuple(grid) if upward else tuple(-bet for bet in grid)


def log_sums(bets: Sequence[float], null_mean: float, values: Iterable[float]) -> tuple[float, ...]:
    """Σ log(1 + λ (x − μ0)) over ``values``, one sum for each bet. ClickHouse computes the same."""
    sums = [0.0] * len(bets)
    for x in values:
        for j, bet in enumerate(bets):
            sums[j] += log1p(bet * (x - null_mean))
    return tuple(sums)


def log_sums_of_counts(bets: Sequence[float], null_mean: float, zeros: int, ones: int) -> tuple[float, ...]:
    """The same for a metric in {0, 1}, from its counts."""
    return tuple(zeros * log1p(-bet * null_mean) + ones * log1p(bet * (1 - null_mean)) for bet in bets)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When the starting wealth of 1 is put in: ``first`` at the first bucket, the rest spread evenly.

    ``horizon`` counts the buckets after the first that get an equal share of 1 − ``first``.
    """

    first: float
    horizon: int

    def share(self, bucket: int) -> float:
        """What is put in as bucket number ``bucket`` (0, 1, …) begins."""
        if bucket == 0:
            return self.first
        return (1 - self.first) / self.horizon if bucket <= self.horizon else 0.0

    def reserve(self, bucket: int) -> float:
        """What is not yet put in once bucket number ``bucket`` is over."""
        left = self.horizon - bucket
        return (1 - self.first) * left / self.horizon if left > 0 else 0.0


AT_ONCE = Schedule(first=1.0, horizon=0)
SPREAD = Schedule(first=0.5, horizon=MINUTES_A_WEEK)


@dataclass(frozen=True, slots=True)
class Wealth:
    """The state of one test: the log wealth of each bet after ``buckets`` closed buckets."""

    schedule: Schedule
    log_wealth: tuple[float, ...]
    buckets: int = 0

    @classmethod
    def start(cls, schedule: Schedule, bets: int) -> "Wealth":
        return cls(schedule, (-inf,) * bets)

    def fold(self, sums: Sequence[float]) -> "Wealth":
        """After one more closed bucket with these log sums, one for each bet.

        M_bj = exp(ℓ_bj) (M_{b−1,j} + γ_b / J). Raises ValueError when the number of sums is another.
        """
        if len(sums) != len(self.log_wealth):
            raise ValueError(f"{len(sums)} log sums for {len(self.log_wealth)} bets")
        share = self.schedule.share(self.buckets)
        if share == 0:
            after = tuple(map(float.__add__, self.log_wealth, map(float, sums)))
        else:
            added = log(share / len(sums))
            after = tuple(
                term + _log_add(wealth, added) for wealth, term in zip(self.log_wealth, sums, strict=True)
            )
        return Wealth(self.schedule, after, self.buckets + 1)

    @property
    def log_e(self) -> float:
        """log E = log(Σ_j M_j + what is not yet put in). 0 before the first bucket."""
        if self.buckets == 0:
            return 0.0
        reserve = self.schedule.reserve(self.buckets - 1)
        return log_sum_exp((*self.log_wealth, log(reserve) if reserve else -inf))


def log_sum_exp(logs: Sequence[float]) -> float:
    """log Σ exp, without overflow; −inf for nothing."""
    largest = max(logs, default=-inf)
    if largest == -inf:
        return -inf
    return largest + log(sum(exp(term - largest) for term in logs))


def _log_add(a: float, b: float) -> float:
    high, low = (a, b) if a > b else (b, a)
    return high + log1p(exp(low - high)) if low > -inf else high
