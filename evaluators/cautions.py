"""What is right in a configuration, and still not what somebody wants who thinks of it: warnings."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from shadowlane.errors import ConfigError
from shadowlane.evaluators.check import cycle_hours, longest_hours, priced_models, spans_epoch
from shadowlane.evaluators.gates.expressions import (
    Comparison,
    Or,
    comparisons,
    parse_criteria,
    parse_trigger,
)
from shadowlane.evaluators.gates.measures import Unit
from shadowlane.evaluators.scorers.contract import Kind
from shadowlane.evaluators.scorers.registry import find
from shadowlane.schemas.config import Match, Rollout, Settings
from shadowlane.schemas.config.errors import Location, dotted

Caution: TypeAlias = tuple[Location, str]


def warnings(settings: Settings, key: Callable[[Location], str] = dotted) -> list[str]:
    """One line for each caution, with its place. ``settings`` has passed `shadowlane.evaluators.check.check`.

    Args:
        key: how a message names a place in the configuration.
    """
    cautions = [*_of_settings(settings)]
    for number, rollout in enumerate(settings.rollouts):
        of_rollout = (
            *_of_traffic(rollout),
            *_of_telling(rollout, settings),
            *_of_stages(rollout),
            *_of_slices(rollout),
            *_of_quality(rollout),
            *_of_rules(rollout),
        )
        cautions += [(("rollouts", number, *where), text) for where, text in of_rollout]
    return [f"{key(where)}: {text}" for where, text in cautions]


def _of_settings(settings: Settings) -> Iterator[Caution]:
    controller = settings.controller
    if controller.lease_s < 2 * controller.poll_s:
        yield (
            ("controller", "lease_s"),
            f"a leader that is late by one poll ({controller.poll_s:g} s) is no longer the leader: "
            f"at least {2 * controller.poll_s:g}",
        )
    for number, rollout in enumerate(settings.rollouts):
        for before in settings.rollouts[:number]:
            if _takes_all(before.match, rollout.match):
                text = f"no request ever comes here: {before.name!r}, before it, takes them all"
                yield ("rollouts", number, "match"), text
                break


def _takes_all(match: Match, other: Match) -> bool:
    """Whether ``match`` takes every request that ``other`` takes."""
    return (
        match.service in (None, other.service)
        and match.route in (None, other.route)
        and match.attributes.items() <= other.attributes.items()
    )


def _of_traffic(rollout: Rollout) -> Iterator[Caution]:
    if not rollout.shifts_traffic:
        return
    first = rollout.stages[0]
    if first.traffic_pct > 0:
        yield (
            ("stages", 0, "traffic_pct"),
            f"{first.name!r} gives {first.traffic_pct:g}% of the users an answer of which nothing is known yet: "
            "a stage of 0% before it would tell",
        )
    if not rollout.stable.reachable:
        yield (
            ("stable",),
            "has no base_url: what the candidate serves can't be shadowed by the stable version, so those requests "
            "make no pairs, and at 100% and after promotion there is no evidence to roll back on",
        )
    stable, candidate = rollout.stable.model, rollout.candidate.model
    if not stable or not candidate or stable == candidate:
        yield (
            ("candidate", "model"),
            "does not differ from stable.model by name, so a request that does not say who served it counts as the "
            "stable version's: services must ask the router, or say the arm themselves",
        )
    if rollout.keep_previous_hours == 0 and rollout.stages[-1].traffic_pct == 100:
        yield (
            ("keep_previous_hours",),
            "with 0 nothing is guarded after promotion, and there is no version to go back to",
        )


def _of_telling(rollout: Rollout, settings: Settings) -> Iterator[Caution]:
    told = settings.alerts if rollout.alerts is None else rollout.alerts
    if told:
        return
    if not rollout.auto_rollback.enabled:
        yield (
            ("auto_rollback", "enabled"),
            "with false on-call is told and nothing else is done, and there is no alert channel",
        )
    elif rollout.shifts_traffic and rollout.alerts is None:
        yield (), "nobody is told of a roll back: there is no alert channel (alerts: [] if that is meant)"


def _of_stages(rollout: Rollout) -> Iterator[Caution]:
    if rollout.stages[0].confirm:
        yield ("stages", 0, "confirm"), "is not asked: a rollout is in its first stage as soon as it is there"
    for number, stage in enumerate(rollout.stages):
        cycle, room = cycle_hours(rollout, stage), longest_hours(rollout, stage)
        if spans_epoch(rollout, stage):
            room = sum(longest_hours(rollout, before) for before in rollout.stages[: number + 1])
        if cycle > room:
            yield (
                ("stages", number, "max_hours"),
                f"{stage.name!r} ends before its pairs can span the traffic cycle of {cycle:g} h: it never promotes",
            )


def _of_slices(rollout: Rollout) -> Iterator[Caution]:
    for number, by in enumerate(rollout.slices):
        if value := rollout.match.attributes.get(by.attribute):
            yield (
                ("slices", number),
                f"is one slice, of all requests: match takes those of {by.attribute}={value} alone",
            )
    if rollout.auto_rollback.slices == "alone" and not rollout.slices:
        yield ("auto_rollback", "slices"), "there are no slices that could be rolled back alone"


def _of_quality(rollout: Rollout) -> Iterator[Caution]:
    weighted = [scorer.name for scorer in rollout.scorers if scorer.quality_weight]
    if not weighted:
        yield (
            ("scorers",),
            "none has a quality_weight: there is no quality, and without it nothing is promoted",
        )
        return
    try:
        kinds = {find(name, "")[1].kind for name in weighted}
    except ConfigError:
        return  # told by the check
    if kinds == {Kind.PAIR}:
        yield (
            ("scorers",),
            f"of those with a quality_weight ({', '.join(weighted)}) none grades both sides, so that quality can't "
            "be shown to be kept, and nothing is promoted: give answered, or another of one side, a weight",
        )


def _of_rules(rollout: Rollout) -> Iterator[Caution]:
    trigger = parse_trigger(rollout.auto_rollback.trigger)
    criteria: list[tuple[Location, Comparison]] = [
        ((*under, "success_criteria", criterion.metric), criterion)
        for under, texts in (
            ((), rollout.success_criteria),
            *((("stages", n), stage.success_criteria or {}) for n, stage in enumerate(rollout.stages)),
        )
        for criterion in parse_criteria(texts)
    ]
    for where, criterion in criteria:
        for feared in trigger.terms if isinstance(trigger, Or) else (trigger,):
            if isinstance(feared, Comparison) and _overlap(criterion, feared):
                yield (
                    where,
                    f"{criterion} may hold while the trigger '{feared}' does: such a candidate is rolled back",
                )
    for where, rule in (*criteria, *((("auto_rollback", "trigger"), c) for c in comparisons(trigger))):
        if "" in priced_models(rule, rollout):
            yield (
                where,
                f"{rule.metric!r} has a number only where the model that the service asks for has a price",
            )


def _overlap(criterion: Comparison, feared: Comparison) -> bool:
    """Whether some value is good enough and bad enough at once."""
    if criterion.metric != feared.metric or (criterion.unit is Unit.TIMES) != (feared.unit is Unit.TIMES):
        return False
    if criterion.operator.upward == feared.operator.upward:
        return False
    low, high = (criterion, feared) if criterion.operator.upward else (feared, criterion)
    return low.value < high.value
