"""The tests there are: what each looks at, its null hypothesis, and its bets.

| metric | x | rolls back by rejecting | promotes by rejecting |
|---|---|---|---|
| quality, relative | candidate − stable, in [−1, 1] | E[x] ≥ −m | E[x] ≤ −m |
| quality or a scorer, absolute | candidate, in [0, 1] | E[x] ≥ trigger | E[x] ≤ criterion |
| error rate, absolute | 1 if the candidate failed | E[x] ≤ trigger | E[x] ≥ criterion |
| error rate, relative | where one side alone failed: 1 if the candidate | E[x] ≤ OR/(1+OR) | – |
| ``latency_pNN``, absolute | 1 if the candidate was slower than the threshold | E[x] ≤ 1 − NN/100 | E[x] ≥ 1 − NN/100 |
| ``latency_pNN``, ``1.2x`` | (1 if the candidate was slower than 1.2 T) − (1 if stable was than T), T stable's pNN | \
E[x] ≤ 0 | E[x] ≥ 0 |
| ``cost``, absolute | the candidate's, clipped at 20 thresholds | E[x] ≤ trigger | E[x] ≥ criterion |
| ``cost`` and tokens, ``1.1x`` | ln(candidate / stable), clipped to ±1 | E[x] ≤ ln 1.1 | E[x] ≥ ln 1.1 |

``ttft_pNN`` and ``cost_pNN`` are as ``latency_pNN``.
"""

from dataclasses import dataclass
from math import log
from typing import Final

from shadowlane.evaluators.gates.expressions import Comparison
from shadowlane.evaluators.gates.kernel import bet_grid
from shadowlane.evaluators.gates.measures import Measure, Unit, measure_of
from shadowlane.evaluators.gates.observables import (
    CANDIDATE_ERROR,
    DISCORDANT_ERROR,
    ERROR_RATE,
    QUALITY,
    QUALITY_DIFFERENCE,
    Observable,
    tested,
)

__all__ = [
    "ERRORS_WORSE",
    "ERROR_RATE",
    "QUALITY",
    "Hypothesis",
    "Observable",
    "absolute",
    "errors_worse",
    "quality_kept",
    "quality_worse",
]

ERRORS_WORSE: Final = "errors_worse"

# The smallest bets: what the smallest effects need that someone should wait for.
_LEAST_ON_DIFFERENCES: Final = 0.06
_LEAST_ON_DISCORDANT: Final = 0.2
_LEAST_UP_ON_RATES: Final = 0.5
_LEAST: Final = 0.1
_LEAST_ON_SHARES: Final = 0.2  # of requests above a percentile: from 5% to 6%, from 50% to 55%
_LEAST_ON_COSTS: Final = 0.02  # of costs in thresholds, whose standard deviation is 1 or more: 5% of the mean


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One null hypothesis on a mean. ``claim`` is what its rejection says, in words for a report.

    ``upward`` rejects "E[x] ≤ null_mean"; else "E[x] ≥ null_mean". ``bets`` are signed, boldest first.
    ``name`` is unique within a rule set and stable: it keys the evidence in reports and in the store.
    """

    name: str
    claim: str
    observable: Observable
    null_mean: float
    upward: bool
    bets: tuple[float, ...]


def absolute(comparison: Comparison) -> Hypothesis:
    """The test whose rejection says that ``comparison`` holds for the candidate, be it wanted or feared."""
    observable, upward = tested(comparison), comparison.operator.upward
    measure = measure_of(comparison.metric)
    if measure is None:
        null_mean = comparison.value
        least = _LEAST_UP_ON_RATES if upward and observable is CANDIDATE_ERROR else _LEAST
    else:
        null_mean, least = _of_measure(measure, comparison)
    text = str(comparison)
    return _hypothesis(text, text, observable, null_mean, upward, least)


def _of_measure(measure: Measure, comparison: Comparison) -> tuple[float, float]:
    """The null mean, and the smallest bet."""
    relative = comparison.unit is Unit.TIMES
    if measure.percentile is not None:
        return (
            (0.0, _LEAST_ON_DIFFERENCES) if relative else ((100 - measure.percentile) / 100, _LEAST_ON_SHARES)
        )
    if relative:
        return log(comparison.value), _LEAST_ON_DIFFERENCES
    return comparison.value, _LEAST_ON_COSTS / comparison.value


def quality_worse(margin: float) -> Hypothesis:
    """Rejection says: the candidate's quality is worse than the stable version's by more than ``margin``."""
    claim = f"quality is worse than stable's by more than {margin:g}"
    return _hypothesis("quality_worse", claim, QUALITY_DIFFERENCE, -margin, False, _LEAST_ON_DIFFERENCES)


def quality_kept(margin: float) -> Hypothesis:
    """Rejection says: it is not worse by ``margin`` or more. The two claims can't both be true."""
    claim = f"quality is not worse than stable's by {margin:g} or more"
    return _hypothesis("quality_kept", claim, QUALITY_DIFFERENCE, -margin, True, _LEAST_ON_DIFFERENCES)


def errors_worse(odds_ratio: float) -> Hypothesis:
    """Rejection says: the odds of an error are more than ``odds_ratio`` times the stable version's.

    Where the odds ratio is at most ``odds_ratio`` on like requests, then of the pairs where one side alone
    failed, at most odds_ratio / (1 + odds_ratio) fail at the candidate (McNemar).
    """
    claim = f"errors are more than {odds_ratio:g} times as likely as with stable"
    null_mean = odds_ratio / (1 + odds_ratio)
    return _hypothesis(ERRORS_WORSE, claim, DISCORDANT_ERROR, null_mean, True, _LEAST_ON_DISCORDANT)


def _hypothesis(
    name: str, claim: str, observable: Observable, null_mean: float, upward: bool, least: float
) -> Hypothesis:
    bets = bet_grid(null_mean, observable.lo, observable.hi, upward=upward, least=least)
    return Hypothesis(name, claim, observable, null_mean, upward, bets)
