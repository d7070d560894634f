"""The rules of one stage: what promotes, what rolls back, with which error budgets, and when."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from shadowlane.errors import ConfigError
from shadowlane.evaluators.gates.expressions import (
    And,
    Comparison,
    Expression,
    Or,
    comparisons,
)
from shadowlane.evaluators.gates.hypotheses import (
    CANDIDATE_ERROR,
    CANDIDATE_QUALITY,
    ERROR_DIFFERENCE,
    ERROR_RATE,
    QUALITY,
    QUALITY_DIFFERENCE,
    STABLE_ERROR,
    STABLE_QUALITY,
    Hypothesis,
    Observable,
    absolute,
    candidate_score,
    errors_worse,
    quality_kept,
    quality_worse,
    score_difference,
    stable_score,
)


@dataclass(frozen=True, slots=True)
class AllOf:
    """A compound claim: every one of ``tests``."""

    tests: tuple["Test", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A compound claim: at least one of ``tests``."""

    tests: tuple["Test", ...]


Test: TypeAlias = Hypothesis | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason to roll back, with its share of the error budget: a relative test, or a term of the trigger.

    Each side of the trigger's outermost ``OR`` is a cause of its own.
    """

    name: str
    claim: str
    test: Test


@dataclass(frozen=True, slots=True)
class Metric:
    """What a report shows of one metric: both arms, and the difference on the same requests."""

    name: str
    stable: Observable
    candidate: Observable
    difference: Observable


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one stage. Changing any of them starts a new epoch: no evidence carries over.

    ``margin`` is in points of quality in [0, 1]; ``alpha_*`` bound the probability of a false verdict over
    the whole stage; ``traffic_cycle`` is the time that the pairs must span before a promotion. ``duration``
    is the stage's end, None for a stage that waits as long as it takes.

    ``auto_rollback.enabled`` is not here on purpose: whether a roll back is carried out is the controller's
    business, and the evidence, and so the verdict, is the same either way.
    """

    success_criteria: tuple[Comparison, ...] = ()
    trigger: Expression | None = None
    margin: float = 0.02
    odds_ratio: float = 1.5
    alpha_promote: float = 0.05
    alpha_roll_back: float = 0.01
    min_pairs: int = 500
    min_stay: timedelta = timedelta(0)
    traffic_cycle: timedelta = timedelta(hours=24)
    duration: timedelta | None = None
    required: tuple[Hypothesis, ...] = field(init=False)
    causes: tuple[Cause, ...] = field(init=False)
    watched: tuple[Hypothesis, ...] = field(init=False)

    def __post_init__(self) -> None:
        _within("quality_margin", self.margin, 0, 1)
        _within("alpha_promote", self.alpha_promote, 0, 1)
        _within("alpha_roll_back", self.alpha_roll_back, 0, 1)
        if not self.odds_ratio >= 1:
            raise ConfigError(
                f"error_odds_ratio: {self.odds_ratio} is below 1; write 1.5, or another from 1 up"
            )
        _refuse_backwards(self.success_criteria, self.trigger)
        required = {h.name: h for h in (quality_kept(self.margin), *map(absolute, self.success_criteria))}
        terms = (
            self.trigger.terms if isinstance(self.trigger, Or) else (self.trigger,) if self.trigger else ()
        )
        relative = (quality_worse(self.margin), errors_worse(self.odds_ratio))
        causes = {h.name: Cause(h.name, h.claim, h) for h in relative}
        causes |= {str(term): Cause(str(term), str(term), _test(term)) for term in terms}
        feared = (absolute(c) for term in terms for c in comparisons(term))
        watched = {h.name: h for h in (*relative, *feared)}
        object.__setattr__(self, "required", tuple(required.values()))
        object.__setattr__(self, "causes", tuple(causes.values()))
        object.__setattr__(self, "watched", tuple(watched.values()))

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """Every test once, by name: those that promote, then those that roll back.

        A comparison that is both criterion and trigger is one test. `Bucket.log_sums` has them all.
        """
        return tuple({h.name: h for h in (*self.required, *self.watched)}.values())

    @property
    def weight(self) -> float:
        """Each cause's share of the roll back's error budget. They sum to 1.

        Slices, once they exist, take half of it.
        """
        return 1 / len(self.causes)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What a report shows: error rate, quality, and each scorer that a rule names."""
        named = [*self.success_criteria, *(comparisons(self.trigger) if self.trigger else ())]
        scorers = dict.fromkeys(c.metric for c in named if c.metric not in (ERROR_RATE, QUALITY))
        return (
            Metric(ERROR_RATE, STABLE_ERROR, CANDIDATE_ERROR, ERROR_DIFFERENCE),
            Metric(QUALITY, STABLE_QUALITY, CANDIDATE_QUALITY, QUALITY_DIFFERENCE),
            *(Metric(s, stable_score(s), candidate_score(s), score_difference(s)) for s in scorers),
        )

    @property
    def observables(self) -> tuple[Observable, ...]:
        """Every number that the tests and the report need of a pair, each once."""
        shown = (o for m in self.metrics for o in (m.stable, m.candidate, m.difference))
        return tuple(dict.fromkeys((*(h.observable for h in self.hypotheses), *shown)))


def _test(expression: Expression) -> Test:
    if isinstance(expression, Comparison):
        return absolute(expression)
    tests = tuple(map(_test, expression.terms))
    return AllOf(tests) if isinstance(expression, And) else AnyOf(tests)


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low < value < high:
        raise ConfigError(f"{key}: {value} must lie between {low} and {high}, both excluded")


def _refuse_backwards(criteria: tuple[Comparison, ...], trigger: Expression | None) -> None:
    """``error_rate: ">0.5%"`` as a criterion would promote a candidate for failing: a slip of the hand."""
    for criterion in criteria:
        _refuse_direction("success_criteria", criterion, wanted=True)
    for feared in comparisons(trigger) if trigger else ():
        _refuse_direction("auto_rollback.trigger", feared, wanted=False)


def _refuse_direction(key: str, comparison: Comparison, *, wanted: bool) -> None:
    better_high = {ERROR_RATE: False, QUALITY: True}.get(comparison.metric)
    if better_high is None or comparison.operator.upward == (better_high == wanted):
        return
    better = "higher" if better_high else "lower"
    sign = "<" if comparison.operator.upward else ">"
    raise ConfigError(
        f"{key}: '{comparison}' points the wrong way: {comparison.metric} is better {better}; write {sign}"
    )
