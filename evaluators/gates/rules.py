"""The rules of one stage: what promotes, what rolls back, with which error budgets, and when."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from typing import TypeAlias

import orjson

from shadowlane.errors import ConfigError
from shadowlane.evaluators.gates.expressions import And, Comparison, Expression, Or, comparisons
from shadowlane.evaluators.gates.hypotheses import (
    Hypothesis,
    absolute,
    errors_worse,
    quality_kept,
    quality_worse,
)
from shadowlane.evaluators.gates.measures import measure_of
from shadowlane.evaluators.gates.observables import (
    DISCORDANT_ERROR,
    ERROR_RATE,
    ERRORS,
    QUALITIES,
    QUALITY,
    Metric,
    Observable,
    metric_of,
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
class Rules:
    """The rules of one stage. Changing any of them starts a new epoch: no evidence carries over.

    ``margin`` is in points of quality in [0, 1]; ``alpha_*`` bound the probability of a false verdict over
    the whole stage; ``traffic_cycle`` is the time that the pairs must span before a promotion, those of the stages
    before among them if ``whole_epoch``. ``duration`` is the stage's end, None for a stage that waits as long as it
    takes.

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
    whole_epoch: bool = False
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
        """What a report shows: error rate, quality, and whatever else a rule names."""
        named = [*self.success_criteria, *(comparisons(self.trigger) if self.trigger else ())]
        return tuple(
            replace(metric, tests=tuple(h.name for h in self.hypotheses if _looks_at(h, metric)))
            for metric in dict.fromkeys((ERRORS, QUALITIES, *map(metric_of, named)))
        )

    @property
    def observables(self) -> tuple[Observable, ...]:
        """Every number that the tests and the report need of a pair, each once."""
        shown = (o for m in self.metrics for o in (m.stable, m.candidate, m.difference) if o)
        return tuple(dict.fromkeys((*(h.observable for h in self.hypotheses), *shown)))

    @property
    def digest(self) -> str:
        """Twelve hex digits of all that evidence is made of: it goes on under the same ones alone.

        What says when a stage may be promoted (pairs, stay, traffic cycle) is not in it, and may be changed.
        """
        made_of = (
            [h.name for h in self.required],
            [(cause.name, str(cause.test)) for cause in self.causes],
            self.hypotheses,
            self.observables,
            self.alpha_roll_back,
        )
        return sha256(orjson.dumps(made_of)).hexdigest()[:12]


def _looks_at(hypothesis: Hypothesis, metric: Metric) -> bool:
    looked_at = hypothesis.observable
    if looked_at == DISCORDANT_ERROR:
        return metric == ERRORS
    return looked_at in (metric.stable, metric.candidate, metric.difference)


def _test(expression: Expression) -> Test:
    if isinstance(expression, Comparison):
        return absolute(expression)
    tests = tuple(map(_test, expression.terms))
    return AllOf(tests) if isinstance(expression, And) else AnyOf(tests)


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low < value < high:
        raise ConfigError(f"{key}: {value} must lie between {low} and {high}, both excluded")


def _refuse_backwards(criteria: tuple[Comparison, ...], trigger: Expression | None) -> None:
    for criterion in criteria:
        refuse_direction("success_criteria", criterion, wanted=True)
    for feared in comparisons(trigger) if trigger else ():
        refuse_direction("auto_rollback.trigger", feared, wanted=False)


def refuse_direction(key: str, comparison: Comparison, *, wanted: bool) -> None:
    """``error_rate: ">0.5%"`` as a criterion would promote a candidate for failing: a slip of the hand.

    Raises ConfigError that names ``key``.
    """
    metric = comparison.metric
    if metric == QUALITY:
        better_high = True
    elif metric == ERROR_RATE or measure_of(metric):
        better_high = False
    else:
        return  # a scorer's author knows
    if comparison.operator.upward == (better_high == wanted):
        return
    better = "higher" if better_high else "lower"
    sign = "<" if comparison.operator.upward else ">"
    raise ConfigError(
        f"{key}: '{comparison}' points the wrong way: {metric} is better {better}; write {sign}"
    )
