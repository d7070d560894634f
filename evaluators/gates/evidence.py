"""The evidence of a stage, as numbers that a person can read: of each promotion test and each roll back cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, exp, log, log1p

from shadowlane.evaluators.gates.buckets import ALL, Moments
from shadowlane.evaluators.gates.hypotheses import Hypothesis
from shadowlane.evaluators.gates.kernel import Wealth, log_sum_exp
from shadowlane.evaluators.gates.rules import Rules, Test
from shadowlane.evaluators.gates.slices import SliceFold, budget_share, log_e

_LARGEST_LOG = 690.0  # e^690 is about 1e299: past it, E is shown as that, so that it stays a number in JSON
_HALVINGS = 50


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one claim so far. ``e`` speaks for it: 1 is nothing, below 1 is against it.

    ``share`` is its part of the error budget: alone it decides once share · e ≥ ``threshold``. ``n`` counts
    the units (pairs, or sessions) that have the metric and ``mean`` is theirs; 0 and None for a compound claim.
    ``pairs_needed`` estimates how many pairs more it takes at the effect seen so far: 0 once it is reached, None
    where the effect points the other way or nothing is known. ``slice`` is "" for all traffic.
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
    slice: str = ALL

    @property
    def log_needed(self) -> float:
        """What ``log_e`` must reach for the claim to decide alone."""
        return log(self.threshold) - log(self.share)

    @property
    def reached(self) -> bool:
        return self.log_e + log(self.share) >= log(self.threshold)


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """A row of the table ``evidence_log``, but for its rollout and its times. ``decides``: promote or roll_back."""

    slice: str
    decides: str
    claim: str
    pairs: int
    mean: float | None
    log_e: float
    log_needed: float


@dataclass(frozen=True, slots=True)
class Latch:
    """The moment of a roll back: the start of the bucket that decided it, the pairs and evidence until then.

    ``e`` is Σ share · e over all causes and slices, which reached the threshold. ``leading`` are the fewest causes
    that reach it together, strongest first. ``alone`` names the slice that reaches it by itself, where all traffic
    does not: the strongest, if there are several.
    """

    since: datetime
    pairs: int
    e: float
    leading: tuple[Evidence, ...]
    alone: str = ""


def promotions(rules: Rules, state: SliceFold) -> tuple[Evidence, ...]:
    """One entry for each required test of one slice."""
    threshold = 1 / rules.alpha_promote
    return tuple(_of_test(h.name, h.claim, h, state, state.gains, threshold, 1.0) for h in rules.required)


def alarms(rules: Rules, state: SliceFold, share: float) -> tuple[Evidence, ...]:
    """One entry for each cause in one slice, which has ``share`` of the error budget."""
    threshold, each = 1 / rules.alpha_roll_back, share / len(rules.causes)
    return tuple(
        _of_test(c.name, c.claim, c.test, state, state.alarms, threshold, each) for c in rules.causes
    )


def rows(rules: Rules, slices: Mapping[str, SliceFold], *, sliced: bool) -> list[EvidenceRow]:
    """Every claim of every slice, for the table ``evidence_log``."""
    found = []
    for place, state in enumerate(slices.values()):
        each = budget_share(place, sliced=sliced) / len(rules.causes)
        claims: list[tuple[str, str, Test, Mapping[str, Wealth], float]] = [
            *(("promote", h.claim, h, state.gains, -log(rules.alpha_promote)) for h in rules.required),
            *(
                ("roll_back", c.claim, c.test, state.alarms, -log(rules.alpha_roll_back) - log(each))
                for c in rules.causes
            ),
        ]
        for decides, claim, test, wealths, needed in claims:
            moments = _moments(test, state)
            n, mean = (moments.n, moments.mean) if moments else (0, None)
            found.append(EvidenceRow(state.name, decides, claim, n, mean, log_e(test, wealths), needed))
    return found


def latch(rules: Rules, slices: Mapping[str, SliceFold], *, sliced: bool, start: datetime) -> Latch | None:
    """The latch, if the causes of all slices together have reached the threshold now.

    ``slices`` are in order of appearance, all traffic first; ``start`` is that of the bucket folded last.
    """
    needed = -log(rules.alpha_roll_back)
    shares = {name: budget_share(place, sliced=sliced) for place, name in enumerate(slices)}
    weighed = {name: log(shares[name]) + state.log_alarm for name, state in slices.items()}
    together = log_sum_exp(list(weighed.values()))
    if together < needed:
        return None
    claims = [e for name, state in slices.items() for e in alarms(rules, state, shares[name])]
    claims.sort(key=lambda e: -(e.log_e + log(e.share)))
    alone = [name for name, log_weighed in weighed.items() if log_weighed >= needed]
    return Latch(
        since=start,
        pairs=slices[ALL].pairs,
        e=exp(min(together, _LARGEST_LOG)),
        leading=_leading(claims, needed),
        alone=max(alone, key=lambda name: weighed[name]) if alone and ALL not in alone else "",
    )


def _leading(claims: Sequence[Evidence], needed: float) -> tuple[Evidence, ...]:
    """The fewest of ``claims``, strongest first, whose weighted evidence reaches ``needed`` together."""
    for fewest in range(1, len(claims)):
        if log_sum_exp([e.log_e + log(e.share) for e in claims[:fewest]]) >= needed:
            return tuple(claims[:fewest])
    return tuple(claims)


def pairs_to_go(
    hypothesis: Hypothesis, wealth: Wealth, moments: Moments, log_threshold: float
) -> float | None:
    """About how many more of the units that have the metric, until log E reaches ``log_threshold``.

    Each bet's log wealth goes on growing by what a unit is expected to add at the mean and variance seen so
    far: exactly for rates, else λδ − λ²(σ² + δ²)/2, δ being the distance beyond the null mean. The best bet
    alone would give log(1/α)/g; that the wealth starts out divided among all bets costs up to half as much
    again, so their sum is followed. None where every bet loses, or nothing was seen.
    """
    if moments.mean is None:
        return None
    growth = [_growth(hypothesis, bet, moments) for bet in hypothesis.bets]
    alone = [(log_threshold - w) / g for w, g in zip(wealth.log_wealth, growth, strict=True) if g > 0]
    if not alone:
        return None
    low, high = 0.0, max(min(alone), 0.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        after = [w + middle * g for w, g in zip(wealth.log_wealth, growth, strict=True)]
        low, high = (low, middle) if log_sum_exp(after) >= log_threshold else (middle, high)
    return high


def _growth(hypothesis: Hypothesis, bet: float, moments: Moments) -> float:
    """What one more unit is expected to add to the log wealth of ``bet``."""
    mean = moments.mean or 0.0
    if hypothesis.observable.binary and moments.counts:
        won, lost = log1p(bet * (1 - hypothesis.null_mean)), log1p(-bet * hypothesis.null_mean)
        return mean * won + (1 - mean) * lost
    beyond = mean - hypothesis.null_mean
    return bet * beyond - bet * bet * (moments.variance + beyond * beyond) / 2


def _of_test(
    name: str,
    claim: str,
    test: Test,
    state: SliceFold,
    wealths: Mapping[str, Wealth],
    threshold: float,
    share: float,
) -> Evidence:
    log_evidence = log_e(test, wealths)
    shown = exp(min(log_evidence, _LARGEST_LOG))
    moments = _moments(test, state)
    if not isinstance(test, Hypothesis) or moments is None:
        return Evidence(name, claim, shown, log_evidence, threshold, share, slice=state.name)
    needed, log_needed = None, log(threshold) - log(share)
    if log_evidence >= log_needed:
        needed = 0
    elif (to_go := pairs_to_go(test, wealths[test.name], moments, log_needed)) is not None:
        # Of all pairs, only moments.n have this metric, or make a session that has it.
        needed = ceil(to_go * state.pairs / moments.n)
    return Evidence(
        name, claim, shown, log_evidence, threshold, share, moments.n, moments.mean, needed, state.name
    )


def _moments(test: Test, state: SliceFold) -> Moments | None:
    return state.seen[test.observable.name].moments if isinstance(test, Hypothesis) else None
