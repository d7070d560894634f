"""The tests there are: what each looks at, its null hypothesis, and its bets.

| metric | x | rolls back by rejecting | promotes by rejecting |
|---|---|---|---|
| quality, relative | candidate − stable, in [−1, 1] | E[x] ≥ −m | E[x] ≤ −m |
| quality or a scorer, absolute | candidate, in [0, 1] | E[x] ≥ trigger | E[x] ≤ criterion |
| error rate, absolute | 1 if the candidate failed | E[x] ≤ trigger | E[x] ≥ criterion |
| error rate, relative | where one side alone failed: 1 if the candidate | E[x] ≤ OR/(1+OR) | – |
"""

from dataclasses import dataclass
from typing import Final

from shadowlane.evaluators.gates.expressions import Comparison
from shadowlane.evaluators.gates.kernel import bet_grid

ERROR_RATE: Final = "error_rate"
QUALITY: Final = "quality_score"
ERRORS_WORSE: Final = "errors_worse"

# The smallest bets: what the smallest effects need that someone should wait for.
_LEAST_ON_DIFFERENCES: Final = 0.06
_LEAST_ON_DISCORDANT: Final = 0.2
_LEAST_UP_ON_RATES: Final = 0.5
_LEAST: Final = 0.1


@dataclass(frozen=True, slots=True)
class Observable:
    """A number that a pair has, or has not (NULL: the pair is skipped wherever this number is used).

    ``sql`` is its expression over the columns of the view ``pairs``; ``{scorer}`` in it stands for the name
    in ``scorer``, which travels as a query parameter. Values lie in [lo, hi]; ``binary`` ones are 0 or 1.
    ``guess`` is the mean of a service without fault: intervals start from it.
    """

    name: str
    sql: str
    lo: float
    hi: float
    guess: float
    binary: bool = False
    scorer: str = ""


_CANDIDATE_FAILED = "(candidate_error != '')"
_STABLE_FAILED = "(stable_error != '')"

CANDIDATE_ERROR: Final = Observable(
    "candidate_error", f"toFloat64({_CANDIDATE_FAILED})", 0, 1, guess=0, binary=True
)
STABLE_ERROR: Final = Observable("stable_error", f"toFloat64({_STABLE_FAILED})", 0, 1, guess=0, binary=True)
ERROR_DIFFERENCE: Final = Observable(
    "error_difference", f"toFloat64({_CANDIDATE_FAILED}) - toFloat64({_STABLE_FAILED})", -1, 1, guess=0
)
DISCORDANT_ERROR: Final = Observable(
    "discordant_error",
    f"if({_CANDIDATE_FAILED} != {_STABLE_FAILED}, toFloat64({_CANDIDATE_FAILED}), NULL)",
    0,
    1,
    guess=0.5,
    binary=True,
)
CANDIDATE_QUALITY: Final = Observable("candidate_quality", "candidate_quality", 0, 1, guess=1)
STABLE_QUALITY: Final = Observable("stable_quality", "stable_quality", 0, 1, guess=1)
QUALITY_DIFFERENCE: Final = Observable("quality_difference", "quality_difference", -1, 1, guess=0)


def candidate_score(scorer: str) -> Observable:
    """The candidate's number from one scorer, where it gave one."""
    return Observable(
        f"candidate.{scorer}",
        "if(mapContains(candidate_scores, {scorer}), candidate_scores[{scorer}], NULL)",
        0,
        1,
        guess=1,
        scorer=scorer,
    )


def stable_score(scorer: str) -> Observable:
    """The stable side's number from one scorer, where it gave one."""
    return Observable(
        f"stable.{scorer}",
        "if(mapContains(stable_scores, {scorer}), stable_scores[{scorer}], NULL)",
        0,
        1,
        guess=1,
        scorer=scorer,
    )


def score_difference(scorer: str) -> Observable:
    """Candidate − stable by one scorer, where it graded both sides."""
    return Observable(
        f"difference.{scorer}",
        "if(mapContains(candidate_scores, {scorer}) AND mapContains(stable_scores, {scorer}), "
        "candidate_scores[{scorer}] - stable_scores[{scorer}], NULL)",
        -1,
        1,
        guess=0,
        scorer=scorer,
    )


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
    if comparison.metric == ERROR_RATE:
        observable = CANDIDATE_ERROR
    elif comparison.metric == QUALITY:
        observable = CANDIDATE_QUALITY
    else:
        observable = candidate_score(comparison.metric)
    upward = comparison.operator.upward
    least = _LEAST_UP_ON_RATES if upward and observable is CANDIDATE_ERROR else _LEAST
    text = str(comparison)
    return _hypothesis(text, text, observable, comparison.value, upward, least)


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
