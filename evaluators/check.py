"""The parts of the configuration that only the evaluators can judge: criteria, triggers, scorers."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial

from shadowlane.errors import ConfigError
from shadowlane.evaluators.gates.expressions import check_metrics, parse_criteria, parse_trigger
from shadowlane.evaluators.gates.hypotheses import ERROR_RATE, QUALITY
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.scorers import ScorerSet
from shadowlane.schemas.config import Price, Rollout, Settings
from shadowlane.schemas.config_errors import Location, dotted


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

    def criterion(metric: str, text: str) -> None:
        # The key's last part is the metric; `parse_criteria` puts it there by itself.
        place = key((*at, "success_criteria", metric)).removesuffix(f".{metric}")
        check_metrics(parse_criteria({metric: text}, place), known, place)

    def trigger() -> None:
        place = key((*at, "auto_rollback", "trigger"))
        check_metrics([parse_trigger(rollout.auto_rollback.trigger, place)], known, place)

    def scorers() -> None:
        ScorerSet.from_rollout(rollout, prices, lambda n: key((*at, "scorers", n)))

    reads: list[Callable[[], None]] = [
        partial(criterion, metric, text) for metric, text in rollout.success_criteria.items()
    ]
    for read in [*reads, trigger, scorers]:
        try:
            read()
        except ConfigError as exc:
            yield str(exc)


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
