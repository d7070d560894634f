"""The parts of the configuration that only the evaluators can judge: criteria, triggers, scorers."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial

from shadowlane.errors import ConfigError
from shadowlane.evaluators.gates.expressions import (
    Comparison,
    Expression,
    check_metrics,
    comparisons,
    parse_criteria,
    parse_trigger,
)
from shadowlane.evaluators.gates.measures import Unit, measure_of
from shadowlane.evaluators.gates.observables import ERROR_RATE, QUALITY
from shadowlane.evaluators.gates.rules import Rules, refuse_direction
from shadowlane.evaluators.scorers import ScorerSet
from shadowlane.evaluators.scorers.registry import find
from shadowlane.schemas.config import Price, Rollout, Settings, Stage
from shadowlane.schemas.config.errors import Location, dotted


def check(settings: Settings, key: Callable[[Location], str] = dotted) -> None:
    """Reads every rollout as the components will.

    Args:
        key: how a message names a place in the configuration.

    Raises:
        ConfigError: everything that is wrong, each fault with its key.
    """
    faults = [
        fault
        for number, rollout in enumerate(settings.rollouts)
        for fault in _faults(rollout, settings.prices, ("rollouts", number), key)
    ]
    if faults:
        raise ConfigError("\n".join(faults))


def _faults(
    rollout: Rollout, prices: Mapping[str, Price], at: Location, key: Callable[[Location], str]
) -> Iterator[str]:
    known = [ERROR_RATE, QUALITY, *(scorer.name for scorer in rollout.scorers)]

    def criterion(under: Location, metric: str, text: str) -> None:
        place = key((*at, *under, "success_criteria", metric))
        # The key's last part is the metric; `parse_criteria` puts it there by itself.
        (parsed,) = parse_criteria({metric: text}, place.removesuffix(f".{metric}"))
        rule(place, parsed, wanted=True)

    def trigger() -> None:
        place = key((*at, "auto_rollback", "trigger"))
        rule(place, parse_trigger(rollout.auto_rollback.trigger, place), wanted=False)

    def rule(place: str, expression: Expression, *, wanted: bool) -> None:
        check_metrics([expression], known, place)
        for comparison in comparisons(expression):
            refuse_direction(place, comparison, wanted=wanted)
            _check_scorer(place, comparison)
            _check_prices(place, comparison, rollout, prices)

    def scorers() -> None:
        ScorerSet.from_rollout(rollout, prices, lambda n: key((*at, "scorers", n)))

    reads: list[Callable[[], None]] = [
        partial(criterion, under, metric, text)
        for under, criteria in (
            ((), rollout.success_criteria),
            *(
                (("stages", number), stage.success_criteria or {})
                for number, stage in enumerate(rollout.stages)
            ),
        )
        for metric, text in criteria.items()
    ]
    for read in [*reads, trigger, scorers]:
        try:
            read()
        except ConfigError as exc:
            yield str(exc)


def _check_scorer(place: str, comparison: Comparison) -> None:
    if comparison.metric in (ERROR_RATE, QUALITY) or measure_of(comparison.metric):
        return
    try:
        unit = find(comparison.metric, "")[1].unit
    except ConfigError:
        return  # told where the scorer is named
    if unit != "score":
        raise ConfigError(
            f"{place}: {comparison.metric!r} is measured in {unit}, and of a scorer's numbers only scores in [0, 1] "
            "can be decided on; take the rule out"
        )


def _check_prices(place: str, comparison: Comparison, rollout: Rollout, prices: Mapping[str, Price]) -> None:
    for model in priced_models(comparison, rollout):
        if model and model not in prices:
            raise ConfigError(
                f"{place}: {comparison.metric!r} needs the price of {model!r}, which is not among the prices; add "
                f"{model}: {{input: …, output: …}} there, in USD for a million tokens"
            )


def priced_models(comparison: Comparison, rollout: Rollout) -> tuple[str, ...]:
    """The models whose prices a rule needs; ``""`` for one that only the service's request names."""
    measure = measure_of(comparison.metric)
    if measure is None or measure.base != "cost":
        return ()
    stable = rollout.stable.model
    candidate = rollout.candidate.model or stable
    return (stable, candidate) if comparison.unit is Unit.TIMES else (candidate,)


def rules_of(rollout: Rollout, stage: Stage | None = None) -> Rules:
    """What promotes the candidate out of a stage (the first one unless given), and what rolls it back.

    Raises:
        ConfigError: criteria or trigger can't be read, or name a metric that nobody measures.
    """
    stage = stage or rollout.stages[0]
    criteria = parse_criteria(rollout.criteria_of(stage))
    trigger = parse_trigger(rollout.auto_rollback.trigger)
    known = [ERROR_RATE, QUALITY, *(scorer.name for scorer in rollout.scorers)]
    check_metrics(criteria, known, "success_criteria")
    check_metrics([trigger], known, "auto_rollback.trigger")
    return Rules(
        criteria,
        trigger,
        margin=rollout.margin,
        min_pairs=stage.min_pairs,
        min_stay=timedelta(hours=stage.duration_hours),
        traffic_cycle=timedelta(hours=cycle_hours(rollout, stage)),
        whole_epoch=spans_epoch(rollout, stage),
        duration=timedelta(hours=longest_hours(rollout, stage)),
    )


def cycle_hours(rollout: Rollout, stage: Stage) -> float:
    """What the pairs must span before the stage is promoted: all of a traffic cycle before the step to 100%."""
    if stage.traffic_cycle_hours is not None:
        return stage.traffic_cycle_hours
    if spans_epoch(rollout, stage):
        return rollout.traffic_cycle_hours
    return min(rollout.traffic_cycle_hours, stage.duration_hours)


def spans_epoch(rollout: Rollout, stage: Stage) -> bool:
    """Whether the pairs of the stages before count for what the pairs must span: before the step to 100%."""
    if stage.traffic_cycle_hours is not None or stage.traffic_pct >= 100:
        return False
    after = rollout.stages[rollout.stages.index(stage) + 1 :]
    return not after or after[0].traffic_pct >= 100


def longest_hours(rollout: Rollout, stage: Stage) -> float:
    """How long the stage may take: at its end it is inconclusive."""
    return (
        stage.duration_hours + 24 + rollout.traffic_cycle_hours
        if stage.max_hours is None
        else stage.max_hours
    )
