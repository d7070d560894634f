"""The evidence of a stage, folded from its closed buckets: of each promotion test and each roll back cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, exp, log, log1p

from shadowlane.evaluators.gates.buckets import NO_MOMENTS, Bucket, Moments
from shadowlane.evaluators.gates.hypotheses import Hypothesis
from shadowlane.evaluators.gates.kernel import AT_ONCE, SPREAD, Wealth, log_sum_exp
from shadowlane.evaluators.gates.rules import AllOf, Cause, Rules, Test

_LARGEST_LOG = 690.0  # e^690 is about 1e299: past it, E is shown as that, so that it stays a number in JSON
_HALVINGS = 50


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one claim so far. ``e`` speaks for it: 1 is nothing, below 1 is against it.

    ``share`` is its part of the error budget: alone it decides once share · e ≥ ``threshold``. ``n`` counts
    the pairs that have the metric and ``mean`` is theirs; 0 and None for a compound claim. ``pairs_needed``
    estimates how many pairs more it takes at the effect seen so far: 0 once it is reached, None where the
    effect points the other way or nothing is known.
    """

    name: str
    claim: str
    e: float
    log_e: float
    threshold: float
    share: float = 1.0
    n: int = 0
    mean: float | None = None
    pairs_needed: int | None = None

    @property
    def reached(self) -> bool:
        return self.log_e + log(self.share) >= log(self.threshold)


@dataclass(frozen=True, slots=True)
class Latch:
    """The moment of a roll back: the start of the bucket that decided it, the pairs and evidence until then.

    ``e`` is Σ share · e over all causes, which reached the threshold. ``leading`` are the fewest causes that
    reach it together, strongest first.
    """

    since: datetime
    pairs: int
    e: float
    leading: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class StageEvidence:
    """``promote`` has one entry for each required test, ``roll_back`` one for each cause."""

    promote: tuple[Evidence, ...]
    roll_back: tuple[Evidence, ...]
    latch: Latch | None


def collect(rules: Rules, buckets: Sequence[Bucket]) -> StageEvidence:
    """Folds closed buckets, in order of time. The same buckets give the same evidence, on any machine."""
    gains = {h.name: Wealth.start(AT_ONCE, len(h.bets)) for h in rules.required}
    alarms = {h.name: Wealth.start(SPREAD, len(h.bets)) for h in rules.watched}
    latch: Latch | None = None
    for number, bucket in enumerate(buckets, start=1):
        for name, wealth in gains.items():
            gains[name] = wealth.fold(bucket.log_sums[name])
        for name, wealth in alarms.items():
            alarms[name] = wealth.fold(bucket.log_sums[name])
        if latch is None and _together(rules, rules.causes, alarms) >= -log(rules.alpha_roll_back):
            latch = _latch(rules, buckets[:number], alarms)
    return StageEvidence(_promotions(rules, buckets, gains), _alarms(rules, buckets, alarms), latch)


def total_moments(buckets: Sequence[Bucket], observable: str) -> Moments:
    """The moments of one observable over all ``buckets``."""
    return sum((bucket.moments[observable] for bucket in buckets), NO_MOMENTS)


def pairs_to_go(
    hypothesis: Hypothesis, wealth: Wealth, moments: Moments, log_threshold: float
) -> float | None:
    """About how many more of the pairs that have the metric, until log E reaches ``log_threshold``.

    Each bet's log wealth goes on growing by what a pair is expected to add at the mean and variance seen so
    far: exactly for rates, else λδ − λ²(σ² + δ²)/2, δ being the distance beyond the null mean. The best bet
    alone would give log(1/α)/g; that the wealth starts out divided among all bets costs up to half as much
    again, so their sum is followed. None where every bet loses, or nothing was seen.
    """
    if moments.mean is None:
        return None
    growth = [_growth(hypothesis, bet, moments.mean, moments.variance) for bet in hypothesis.bets]
    alone = [(log_threshold - w) / g for w, g in zip(wealth.log_wealth, growth, strict=True) if g > 0]
    if not alone:
        return None
    low, high = 0.0, max(min(alone), 0.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        after = [w + middle * g for w, g in zip(wealth.log_wealth, growth, strict=True)]
        low, high = (low, middle) if log_sum_exp(after) >= log_threshold else (middle, high)
    return high


def _growth(hypothesis: Hypothesis, bet: float, mean: float, variance: float) -> float:
    """What one more pair is expected to add to the log wealth of ``bet``."""
    if hypothesis.observable.binary:
        won, lost = log1p(bet * (1 - hypothesis.null_mean)), log1p(-bet * hypothesis.null_mean)
        return mean * won + (1 - mean) * lost
    beyond = mean - hypothesis.null_mean
    return bet * beyond - bet * bet * (variance + beyond * beyond) / 2


def _promotions(rules: Rules, buckets: Sequence[Bucket], gains: Mapping[str, Wealth]) -> tuple[Evidence, ...]:
    return tuple(
        _of_test(h.name, h.claim, h, gains, buckets, 1 / rules.alpha_promote, 1.0) for h in rules.required
    )


def _alarms(rules: Rules, buckets: Sequence[Bucket], alarms: Mapping[str, Wealth]) -> tuple[Evidence, ...]:
    threshold = 1 / rules.alpha_roll_back
    return tuple(
        _of_test(c.name, c.claim, c.test, alarms, buckets, threshold, rules.weight) for c in rules.causes
    )


def _of_test(
    name: str,
    claim: str,
    test: Test,
    wealths: Mapping[str, Wealth],
    buckets: Sequence[Bucket],
    threshold: float,
    share: float,
) -> Evidence:
    log_e = _log_e(test, wealths)
    shown = exp(min(log_e, _LARGEST_LOG))
    if not isinstance(test, Hypothesis):
        return Evidence(name, claim, shown, log_e, threshold, share)
    moments = total_moments(buckets, test.observable.name)
    needed, log_needed = None, log(threshold) - log(share)
    if log_e >= log_needed:
        needed = 0
    elif (to_go := pairs_to_go(test, wealths[test.name], moments, log_needed)) is not None:
        # Of all pairs, only moments.n have this metric.
        needed = ceil(to_go * sum(bucket.pairs for bucket in buckets) / moments.n)
    return Evidence(name, claim, shown, log_e, threshold, share, moments.n, moments.mean, needed)


def _log_e(test: Test, wealths: Mapping[str, Wealth]) -> float:
    """log E of a test, simple or compound.

    *All of A, B*: its null hypothesis says that A's or B's null holds. Under A's, E_A is an e-process, and
    the smaller of the two is never above it; under B's likewise. So min(E_A, E_B) is valid under both.
    *Any of A, B*: its null hypothesis is that both nulls hold, under which any weighted mean is valid.
    """
    if isinstance(test, Hypothesis):
        return wealths[test.name].log_e
    logs = [_log_e(part, wealths) for part in test.tests]
    return min(logs) if isinstance(test, AllOf) else log_sum_exp(logs) - log(len(logs))


def _together(rules: Rules, causes: Sequence[Cause], alarms: Mapping[str, Wealth]) -> float:
    return log(rules.weight) + log_sum_exp([_log_e(cause.test, alarms) for cause in causes])


def _latch(rules: Rules, buckets: Sequence[Bucket], alarms: Mapping[str, Wealth]) -> Latch:
    order = sorted(rules.causes, key=lambda cause: -_log_e(cause.test, alarms))
    fewest = 1
    while fewest < len(order) and _together(rules, order[:fewest], alarms) < -log(rules.alpha_roll_back):
        fewest += 1
    by_name = {evidence.name: evidence for evidence in _alarms(rules, buckets, alarms)}
    return Latch(
        since=buckets[-1].start,
        pairs=sum(bucket.pairs for bucket in buckets),
        e=exp(min(_together(rules, order, alarms), _LARGEST_LOG)),
        leading=tuple(by_name[cause.name] for cause in order[:fewest]),
    )
