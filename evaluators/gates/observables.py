"""What is looked at in a pair: numbers, as SQL over the columns of the view ``pairs``."""

from dataclasses import dataclass, replace
from typing import Final

from shadowlane.evaluators.gates.expressions import Comparison
from shadowlane.evaluators.gates.measures import Measure, Unit, measure_of

ERROR_RATE: Final = "error_rate"
QUALITY: Final = "quality_score"

# How many thresholds' worth of cost one request may count as. A mean of something without an upper end can't be
# tested: however many cheap requests were seen, one in a million that costs a fortune would move it anywhere.
_MOST_COST: Final = 20


@dataclass(frozen=True, slots=True)
class Observable:
    """A number that a pair has, or has not (NULL: the pair is skipped wherever this number is used).

    ``sql`` is its expression over the columns of the view ``pairs``; ``{scorer}`` in it stands for the name
    in ``scorer``, which travels as a query parameter. Values lie in [lo, hi]; ``binary`` ones are 0 or 1.
    ``guess`` is the mean of a service without fault: intervals start from it.

    ``{threshold}`` in ``sql`` stands for a Float64, a parameter too: ``threshold``, or, where a ``baseline`` is
    named, ``factor`` times that baseline. A baseline is the ``quantile`` (in (0, 1)) of ``column``, an expression
    as ``sql`` is and NULL where there is no value, over the stage's first pairs. Those that give the baseline are
    not tested: until it is known, no pair has the number.
    """

    name: str
    sql: str
    lo: float
    hi: float
    guess: float
    binary: bool = False
    scorer: str = ""
    threshold: float | None = None
    baseline: str = ""
    column: str = ""
    quantile: float = 0.0
    factor: float = 1.0


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
class Metric:
    """What a report shows of one metric: both arms, and the difference on the same requests.

    ``unit`` is of all three: ``""`` a score in [0, 1], ``%`` a share of the requests (as a fraction), ``usd``, or
    ``x``: the natural logarithm of candidate / stable, of which there is a ``difference`` alone. ``tests`` are
    the names of the hypotheses that look at it.
    """

    name: str
    stable: Observable | None
    candidate: Observable | None
    difference: Observable
    unit: Unit = Unit.NONE
    tests: tuple[str, ...] = ()


ERRORS: Final = Metric(ERROR_RATE, STABLE_ERROR, CANDIDATE_ERROR, ERROR_DIFFERENCE, Unit.PERCENT)
QUALITIES: Final = Metric(QUALITY, STABLE_QUALITY, CANDIDATE_QUALITY, QUALITY_DIFFERENCE)


def metric_of(comparison: Comparison) -> Metric:
    """What a report shows beside a rule."""
    if comparison.metric == ERROR_RATE:
        return ERRORS
    if comparison.metric == QUALITY:
        return QUALITIES
    measure = measure_of(comparison.metric)
    if measure is None:
        scorer = comparison.metric
        return Metric(scorer, stable_score(scorer), candidate_score(scorer), score_difference(scorer))
    if measure.percentile is not None:
        return _over(measure, measure.percentile, comparison)
    if comparison.unit is Unit.TIMES:
        return Metric(f"{measure.base}, candidate / stable", None, None, _log_ratio(measure), Unit.TIMES)
    return _mean_cost(comparison.value)


def tested(comparison: Comparison) -> Observable:
    """The number whose mean a rule is about: the candidate's own, or the difference where it says ``x``."""
    metric = metric_of(comparison)
    if metric.candidate is None or comparison.unit is Unit.TIMES:
        return metric.difference
    return metric.candidate


def _over(measure: Measure, percentile: int, comparison: Comparison) -> Metric:
    """Shares of the requests above a threshold.

    Relative ones compare the candidate's share above ``factor`` times the stable version's percentile with the
    stable version's share above that percentile, on the same requests, rather than with the share that it had
    while the percentile was taken. So nothing hangs on how well a few hundred pairs tell a percentile, and an hour
    in which both are slow speaks against neither.
    """
    base, stable, candidate = measure.base, _value(measure, "stable"), _value(measure, "candidate")
    relative = comparison.unit is Unit.TIMES
    factor = comparison.value if relative else 1.0

    def observable(name: str, sql: str, lo: float, factor: float = 1.0) -> Observable:
        plain = Observable(name, sql, lo, 1, guess=0, binary=lo == 0)
        if not relative:
            return replace(plain, threshold=comparison.value)
        quantile = percentile / 100
        return replace(plain, baseline=comparison.metric, column=stable, quantile=quantile, factor=factor)

    over = f"toFloat64({candidate} > {{threshold}})"
    scaled = stable if factor == 1 else f"{stable} * {factor!r}"  # for {threshold} has the factor in it
    difference = f"{over} - toFloat64({scaled} > {{threshold}})"
    at = f"{base}>{comparison.threshold}{f'_p{percentile}' if relative else ''}"
    return Metric(
        f"{base} over {comparison.threshold}{f' p{percentile}' if relative else ''}",
        observable(
            f"stable.{base}>p{percentile}" if relative else f"stable.{at}",
            f"toFloat64({stable} > {{threshold}})",
            0,
        ),
        observable(f"candidate.{at}", over, 0, factor),
        observable(f"difference.{at}", difference, -1, factor),
        Unit.PERCENT,
    )


def _mean_cost(threshold: float) -> Metric:
    most = float(f"{_MOST_COST * threshold:g}")  # as its name says it
    guess = most / _MOST_COST
    at = f"cost<={most:g}usd"
    measure = Measure("cost")
    stable, candidate = _value(measure, "stable"), _value(measure, "candidate")

    def capped(cost: str) -> str:
        return (
            f"if({cost} > {{threshold}}, {{threshold}}, {cost})"  # least() would take NULL for the threshold
        )

    difference = f"{capped(candidate)} - {capped(stable)}"
    return Metric(
        f"cost up to {most:g}usd",
        Observable(f"stable.{at}", capped(stable), 0, most, guess=guess, threshold=most),
        Observable(f"candidate.{at}", capped(candidate), 0, most, guess=guess, threshold=most),
        Observable(f"difference.{at}", difference, -most, most, guess=0, threshold=most),
        Unit.USD,
    )


def _log_ratio(measure: Measure) -> Observable:
    """ln(candidate / stable) on the same request, clipped to ±1; none where both are 0 or a side failed."""
    stable, candidate = _value(measure, "stable"), _value(measure, "candidate")
    there = f"stable_error = '' AND candidate_error = '' AND {stable} + {candidate} > 0"
    sql = f"if({there}, greatest(-1., least(1., log({candidate} / {stable}))), NULL)"
    return Observable(f"ratio.{measure.base}", sql, -1, 1, guess=0)


def _value(measure: Measure, arm: str) -> str:
    """What was measured of one arm, NULL where it was not."""
    match measure.base:
        case "cost":
            return f"if(mapContains({arm}_scores, 'cost'), {arm}_scores['cost'], NULL)"
        case "latency" | "ttft":
            # A timeout was waited for; other failures are no fast answers.
            return f"if({arm}_error IN ('', 'timeout'), {arm}_{measure.base}_ms, NULL)"
        case tokens:
            return f"toFloat64({arm}_{tokens})"
