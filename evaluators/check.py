"""The parts of the configuration that only the evaluators can judge: criteria, triggers, scorers."""

from datetime import timedelta

from shadowlane.errors import ConfigError
from shadowlane.evaluators.gates.expressions import check_metrics, parse_criteria, parse_trigger
from shadowlane.evaluators.gates.hypotheses import ERROR_RATE, QUALITY
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.scorers import ScorerSet
from shadowlane.schemas.config import Rollout, Settings


def check(settings: Settings) -> None:
    """Reads every rollout as the components will.

    Raises:
        ConfigError: one line for each rollout that is wrong, with the key.
    """
    faults = []
    for number, rollout in enumerate(settings.rollouts):
        try:
            rules_of(rollout)
            ScorerSet.from_rollout(rollout, settings.prices)
        except ConfigError as exc:
            faults.append(f"rollouts[{number}] ({rollout.name}): {exc}")
    if faults:
        raise ConfigError("\n".join(faults))


def rules_of(rollout: Rollout) -> Rules:
    """What promotes the candidate of a rollout, and what rolls it back.

    Raises:
        ConfigError: criteria or trigger can't be read, or name a metric that nobody measures.
    """
    criteria = parse_criteria(rollout.success_criteria)
    trigger = parse_trigger(rollout.auto_rollback.trigger)
    known = [ERROR_RATE, QUALITY, *(scorer.name for scorer in rollout.scorers)]
    check_metrics(criteria, known, "success_criteria")
    check_metrics([trigger], known, "auto_rollback.trigger")
    stage = rollout.stage
    return Rules(
        criteria,
        trigger,
        margin=rollout.margin,
        min_pairs=stage.min_pairs,
        min_stay=timedelta(hours=stage.min_hours),
        traffic_cycle=timedelta(hours=stage.traffic_cycle_hours),
        duration=None if stage.duration_hours is None else timedelta(hours=stage.duration_hours),
    )
