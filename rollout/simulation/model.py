"""From what traffic is like and what is done to the candidate, to the kinds of pairs that come."""

from collections.abc import Iterable, Iterator, Sequence
from math import log, nan, sqrt
from statistics import NormalDist

from shadowlane.errors import ConfigError
from shadowlane.evaluators.gates.hypotheses import ERROR_RATE, QUALITY, Hypothesis, Observable
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.rollout.simulation.baseline import Level, Spread
from shadowlane.rollout.simulation.effects import SCALED, Change, Effect
from shadowlane.rollout.simulation.kinds import Errors, Kind, Mix, Quality, pair_kinds, two_points

_OWN = ("candidate_error", "discordant_error", "candidate_quality", "quality_difference")
_NORMAL = NormalDist()


def mix_of(level: Level, hypotheses: Iterable[Hypothesis], changes: Sequence[Change] = ()) -> Mix:
    """The kinds of pairs of such traffic, with ``changes`` done to the candidate."""
    by = {change.metric: change.by for change in changes}
    failing = _clipped(level.error_rate + by.get(ERROR_RATE, 0.0))
    answers = _clipped(level.quality + by.get(QUALITY, 0.0))
    kinds = pair_kinds(
        Errors.sharing(failing, level.error_rate, level.shared_errors),
        Quality(
            answers,
            level.quality,
            level.quality_sd,
            level.difference_sd,
            level.worthless,
            level.worthless,
        ),
    )
    others = {h.observable.name: h.observable for h in hypotheses if h.observable.name not in _OWN}
    return Mix(
        tuple(part for kind in kinds for part in _scored(level, kind)),
        {name: _measured(level, name, _points(level, observable, by)) for name, observable in others.items()},
    )


def _scored(level: Level, kind: Kind) -> Iterator[Kind]:
    """Its pairs with all scores, with the candidate's alone, with none."""
    both = min(level.measured.get("quality_difference", 1.0), 1.0)
    own = max(min(level.measured.get("candidate_quality", 1.0), 1.0), both)
    for part, missing in (
        (both, ()),
        (own - both, ("quality_difference",)),
        (1 - own, ("quality_difference", "candidate_quality")),
    ):
        if part > 0:
            values = {name: x for name, x in kind.values.items() if name not in missing}
            yield Kind(kind.probability * part, values, kind.answered)


def _measured(
    level: Level, observable: str, points: Sequence[tuple[float, float]]
) -> tuple[tuple[float, float], ...]:
    """nan: a pair in which nobody measured it."""
    part = min(level.measured.get(observable, 1.0), 1.0)
    there = tuple((p * part, x) for p, x in points)
    return there if part == 1 else (*there, (1 - part, nan))


def check_effect(effect: Effect, rules: Iterable[Rules], slices: Iterable[str]) -> None:
    """Refuses an effect that no test could see: a metric that no rule names, a slice that is not looked at.

    Raises ConfigError.
    """
    seen = {ERROR_RATE, QUALITY}
    for h in (h for each in rules for h in each.hypotheses):
        seen |= {_metric(h.observable)} - {""}
    for change in effect.changes:
        if change.metric not in seen:
            known = ", ".join(sorted(seen))
            raise ConfigError(
                f"{effect.text!r}: no rule of this rollout looks at {change.metric} (there: {known})"
            )
    attribute = effect.slice.partition("=")[0]
    if effect.slice and attribute not in slices:
        known = ", ".join(sorted(slices)) or "none"
        raise ConfigError(
            f"{effect.text!r}: the rollout does not look at slices by {attribute}; add it under slices (there: {known})"
        )


def _metric(observable: Observable) -> str:
    """What an effect calls the metric that an observable is of."""
    if observable.scorer:
        return observable.scorer
    rest = observable.name.partition(".")[2]
    return next((name for name in SCALED if rest.startswith(name)), "")


def _points(level: Level, observable: Observable, by: dict[str, float]) -> tuple[tuple[float, float], ...]:
    """(probability, value) of a number beside errors and quality, with exactly the mean that it should have."""
    metric = _metric(observable)
    change = by.get(metric, 0.0)
    known = level.others.get(observable.name)
    if observable.scorer:
        at = known or Spread(level.quality, level.quality_sd)
        low, high = observable.lo, observable.hi
        return _within(low, high, at.mean + change, at.sd)
    if observable.name.startswith("ratio."):
        return _within(-1.0, 1.0, log(1 + change), known.sd if known else 0.2)
    if observable.name.startswith("difference."):
        return _relative(level, observable, 1 + change)
    if observable.binary:
        share = known.mean if known else 0.01
        return _bit(_over(share, 1 + change, level.latency_spread))
    at = known or Spread(observable.guess / 2, observable.guess / 2)
    return _within(observable.lo, observable.hi, at.mean * (1 + change), at.sd * (1 + change))


def _relative(level: Level, observable: Observable, scale: float) -> tuple[tuple[float, float], ...]:
    """(candidate above factor × T) − (stable above T), each arm by itself."""
    stable = 1 - observable.quantile
    candidate = _over(stable, scale / observable.factor, level.latency_spread)
    worse, better = candidate * (1 - stable), stable * (1 - candidate)
    return tuple((p, x) for p, x in ((worse, 1.0), (better, -1.0), (1 - worse - better, 0.0)) if p > 0)


def _over(share: float, scale: float, spread: float) -> float:
    """The part above a threshold once everything is ``scale`` times as large; ``share`` before. Lognormal."""
    if not 0 < share < 1 or spread <= 0:
        return share
    return 1 - _NORMAL.cdf(_NORMAL.inv_cdf(1 - share) - log(scale) / spread)


def _bit(share: float) -> tuple[tuple[float, float], ...]:
    return tuple((p, x) for p, x in ((1 - share, 0.0), (share, 1.0)) if p > 0)


def _within(low: float, high: float, mean: float, sd: float) -> tuple[tuple[float, float], ...]:
    """`two_points` on [low, high]."""
    width = high - low
    return tuple((p, low + width * x) for p, x in two_points((mean - low) / width, sd / width))


def _clipped(rate: float) -> float:
    return min(max(rate, 0.0), 1.0)


def moments_of(mix: Mix, observable: str) -> tuple[float, float, float]:
    """(part of the pairs that have it, mean, standard deviation) of one number."""
    seen = mix.points(observable)
    there = sum(p for p, _ in seen)
    if not there:
        return 0.0, 0.0, 0.0
    mean = sum(p * x for p, x in seen) / there
    return there, mean, sqrt(sum(p * (x - mean) ** 2 for p, x in seen) / there)


__all__ = ["check_effect", "mix_of", "moments_of"]
