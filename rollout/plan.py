"""`shadowlane plan`: how many pairs and hours each stage needs, slice by slice, and what it can't decide at all.

No simulation: `shadowlane.rollout.reckoning` says how it is reckoned.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from shadowlane.evaluators.check import rules_of
from shadowlane.evaluators.gates.buckets import ALL
from shadowlane.evaluators.gates.hypotheses import Hypothesis
from shadowlane.evaluators.gates.rules import Cause
from shadowlane.rollout.recent import Recent
from shadowlane.rollout.reckoning import Claim, Detection, Reckoning, SlicePlan, StagePlan, within
from shadowlane.rollout.simulation.baseline import Level, Sessions
from shadowlane.rollout.simulation.effects import Effect
from shadowlane.rollout.simulation.model import check_effect
from shadowlane.rollout.simulation.stages import walked
from shadowlane.schemas.config import Rollout

__all__ = ["Claim", "Detection", "Plan", "SlicePlan", "StagePlan", "plan"]

_DROP = 0.10  # a slice in which not even so much would be seen is too small to look at


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rollout takes. ``hours`` is of all stages, None where one of them is never promoted.

    ``source`` says what traffic it was reckoned from. ``warnings`` are for a person, one sentence each.
    """

    rollout: str
    source: str
    pairs_per_hour: float
    sessions: Sessions | None
    level: Level
    hours: float | None
    stages: tuple[StagePlan, ...]
    slices: tuple[SlicePlan, ...]
    warnings: tuple[str, ...]


def plan(rollout: Rollout, traffic: Recent, effects: Sequence[Effect] = ()) -> Plan:
    """Raises ConfigError where an effect is on something that no rule looks at."""
    stages = walked(rollout)
    rules = [rules_of(rollout, stage) for stage in stages]
    for effect in effects:
        check_effect(effect, rules, [by.attribute for by in rollout.slices])
    slices = _slices(rollout, traffic)
    began: float | None = 0.0
    plans = []
    for stage, rule in zip(stages, rules, strict=True):
        one = Reckoning(rollout, stage, rule, traffic, slices).plan(began or 0.0, effects)
        plans.append(one)
        began = None if began is None or one.hours is None else began + one.hours
    slices = tuple(replace(s, too_small=all(_blind(one, s.name) for one in plans)) for s in slices)
    return Plan(
        rollout.name,
        traffic.baseline.source,
        traffic.baseline.pairs_per_hour,
        traffic.baseline.sessions,
        traffic.baseline.level,
        began,
        tuple(plans),
        slices,
        tuple(_warnings(rollout, traffic, plans, slices)),
    )


def _slices(rollout: Rollout, traffic: Recent) -> tuple[SlicePlan, ...]:
    """The largest first, which is also about the order in which they appear."""
    shares = {by.attribute: by.major_share for by in rollout.slices}
    total = traffic.pairs.get(ALL, 0)
    found = [
        SlicePlan(
            name,
            pairs / total,
            traffic.baseline.pairs_per_hour * pairs / total,
            pairs / total >= shares.get(name.partition("=")[0], 1.0),
            False,
        )
        for name, pairs in traffic.pairs.items()
        if name.partition("=")[0] in shares
    ]
    return tuple(sorted(found, key=lambda one: (-one.share, one.name)))


def _blind(stage: StagePlan, name: str) -> bool:
    """Whether a drop of ten points in this slice would not be seen before the stage ends."""
    worse = next((c for c in stage.claims if c.slice == name and c.decides == "roll_back"), None)
    return worse is not None and (worse.in_stage is None or worse.in_stage < -_DROP)


def _warnings(
    rollout: Rollout, traffic: Recent, stages: Sequence[StagePlan], slices: Sequence[SlicePlan]
) -> Iterator[str]:
    if not traffic.levels:
        yield f"reckoned from little: {traffic.baseline.source}"
    for stage in stages:
        if not stage.pairs_per_hour:
            yield (
                f"stage {stage.stage}: no pairs come at {stage.traffic_pct:g}%, since stable.base_url is not given "
                "and nobody can be asked what the stable version would have said"
            )
            continue
        yield from map(f"stage {stage.stage}: {{}}".format, _undecided(stage))
        for detection in stage.detections:
            if not detection.in_stage:
                after = "never" if detection.hours is None else f"after about {detection.hours:.3g} h"
                yield (
                    f"stage {stage.stage}: {detection.effect!r} would be seen {after}, "
                    f"and the stage ends after {stage.max_hours:g} h"
                )
    for one in slices:
        if one.too_small:
            yield (
                f"slice {one.name}: with {one.pairs_per_hour:.3g} pairs an hour, a drop of 10 points of quality "
                "there would not be seen in any stage; it still counts in all traffic"
            )
    for by in rollout.slices:
        if traffic.levels and not any(one.name.startswith(f"{by.attribute}=") for one in slices):
            yield f"slices: no recent pair has the attribute {by.attribute}"
    compound = {
        c.claim for r in map(partial(rules_of, rollout), walked(rollout)) for c in r.causes if _is_compound(c)
    }
    for claim in sorted(compound):
        yield f"auto_rollback.trigger: {claim!r} joins several tests, and is not reckoned here"


def _undecided(stage: StagePlan) -> Iterator[str]:
    """What can't be shown before the stage ends, although the candidate is as good as the stable version."""
    for claim in stage.claims:
        if claim.decides != "promote":
            continue
        where = f"{claim.claim}{within(claim.slice)}"
        if claim.part == 0:
            yield f"{where} can't be shown: no pair has this metric"
        elif claim.pairs is None or claim.hours is None:
            yield f"{where} is never shown of a candidate as good as the stable version, at a mean of {claim.mean:.4g}"
        elif claim.hours > stage.max_hours:
            yield (
                f"{where} takes about {_roughly(claim.pairs)} pairs, {claim.hours:.3g} h, at a mean of "
                f"{claim.mean:.4g}, and the stage ends after {stage.max_hours:g} h without a verdict"
            )


def _is_compound(cause: Cause) -> bool:
    return not isinstance(cause.test, Hypothesis)


def _roughly(pairs: int) -> str:
    """Two digits: an estimate has no more."""
    return f"{int(float(f'{pairs:.2g}')):,}"
