"""Confidence intervals of a mean, for display: valid at every moment at once, from sums alone.

For rates, the beta-binomial mixture of Robbins ("Statistical methods related to the law of the iterated
logarithm", 1970): the likelihood of the counts averaged over a Beta(½, ½) prior, divided by that under the
rate p, has mean 1 at every moment if p is the true rate.

For other bounded metrics, the empirical-Bernstein supermartingale of Howard, Ramdas, McAuliffe and Sekhon
("Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics, 2021, Theorem 4):
for x in [0, 1], predictions c that are fixed before x is seen, and λ in [0, 1),

    exp( λ Σ (x − μ) − ψ(λ) Σ (x − c)² ),   ψ(λ) = −log(1 − λ) − λ

has mean at most 1 at every moment. Mixed over a grid of λ and inverted in μ, it needs n, Σx and Σ(x − c)² alone.
The prediction for a bucket is the mean of the buckets before it; for the first it is a guess.

Both miss the mean, ever, with probability at most α. They are wider than the tests that decide are sharp,
which bet on each value: a verdict can be sure of what an interval still leaves open.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import lgamma, log, log1p, pi

from shadowlane.evaluators.gates.buckets import NO_MOMENTS, Moments
from shadowlane.evaluators.gates.kernel import log_sum_exp

_GRID = tuple(0.75 * 2.0**-k for k in range(9))
_PSI = tuple(-log1p(-bet) - bet for bet in _GRID)
_GUESS_WEIGHS = 10  # as many pairs as the guess counts for, so that a first tiny bucket doesn't mislead
_HALVINGS = 50


@dataclass(frozen=True, slots=True)
class Seen:
    """One observable over the buckets so far. ``spread`` is Σ(x − c)², c being each bucket's prediction."""

    moments: Moments = NO_MOMENTS
    spread: float = 0.0

    def after(self, bucket: Moments, guess: float) -> "Seen":
        """With one bucket more. ``guess`` is the prediction where nothing was seen."""
        predicted = (guess * _GUESS_WEIGHS + self.moments.total) / (_GUESS_WEIGHS + self.moments.n)
        apart = bucket.squares - 2 * predicted * bucket.total + bucket.n * predicted * predicted
        return Seen(self.moments + bucket, self.spread + apart)


def rate_interval(n: int, ones: int, *, alpha: float = 0.05) -> tuple[float, float]:
    """The 1 − ``alpha`` interval of the mean of a metric in {0, 1} that was 1 in ``ones`` of ``n`` pairs."""
    if not n:
        return 0.0, 1.0
    zeros = n - ones
    # Beta(½, ½) integrates to π.
    averaged = lgamma(ones + 0.5) + lgamma(zeros + 0.5) - lgamma(n + 1) - log(pi)

    def ruled_out(rate: float) -> bool:
        at_rate = (ones * log(rate) if ones else 0.0) + (zeros * log1p(-rate) if zeros else 0.0)
        return averaged - at_rate >= -log(alpha)

    seen = ones / n
    low = _edge(ruled_out, 0.0, seen) if ones else 0.0
    high = _edge(ruled_out, 1.0, seen) if zeros else 1.0
    return low, high


def interval(
    buckets: Iterable[Moments], lo: float, hi: float, *, guess: float, alpha: float = 0.05
) -> tuple[float, float]:
    """The 1 − ``alpha`` interval of the mean of a metric in [``lo``, ``hi``], within that range.

    ``buckets`` come in order of time; one bucket with everything is valid too, and wider the further
    ``guess`` is from the mean. Nothing seen gives (lo, hi).
    """
    seen = Seen()
    for moments in buckets:
        seen = seen.after(moments, guess)
    return interval_of(seen, lo, hi, alpha=alpha)


def interval_of(seen: Seen, lo: float, hi: float, *, alpha: float = 0.05) -> tuple[float, float]:
    """`interval`, of buckets that were added up before."""
    n, total, width = seen.moments.n, seen.moments.total, hi - lo
    if not n:
        return lo, hi
    unit_total = (total - n * lo) / width
    unit_spread = max(seen.spread, 0.0) / (width * width)
    low = _lower(n, unit_total, unit_spread, alpha / 2)
    high = 1 - _lower(n, n - unit_total, unit_spread, alpha / 2)
    return lo + width * low, lo + width * high


def _lower(n: int, total: float, spread: float, alpha: float) -> float:
    """The largest mean in [0, 1] that the wealth against "the mean is no larger" still rules out."""
    needed = log(len(_GRID) / alpha)

    def ruled_out(mean: float) -> bool:
        gain = total - n * mean
        terms = [bet * gain - psi * spread for bet, psi in zip(_GRID, _PSI, strict=True)]
        return log_sum_exp(terms) >= needed

    seen = min(max(total / n, 0.0), 1.0)
    return _edge(ruled_out, 0.0, seen) if ruled_out(0.0) else 0.0


def _edge(ruled_out: Callable[[float], bool], outside: float, inside: float) -> float:
    """Between a mean that may be ruled out and one that isn't: the last that is, by bisection."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if ruled_out(middle):
            outside = middle
        else:
            inside = middle
    return outside
