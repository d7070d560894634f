"""The scorers of one rollout, and what they say together: quality."""

import math
import numbers
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shadowlane.errors import ConfigError
from shadowlane.evaluators.scorers.apart import Apart, NoNumber, ScorerFailedError, told
from shadowlane.evaluators.scorers.contract import Kind, Unit
from shadowlane.evaluators.scorers.registry import BUILTINS, find, find_and_make, make
from shadowlane.schemas.config import Price, Rollout, Scorer
from shadowlane.schemas.events import Response

_ROUNDING = 1e-9  # a mean of ones may come out as 1.0000000000000002
_PLAIN = frozenset({float, int, bool})  # the types of nearly all numbers
_SIDE, _PAIR, _BOTH = Kind  # by names of their own: an Enum's attributes take Python five times as long


@dataclass(slots=True, kw_only=True)
class Scored:
    """What the scorers say of one pair. Scorers that abstain are not in the dictionaries.

    Qualities lie in [0, 1], their difference (candidate − stable) in [−1, 1]. ``failed`` says of each scorer
    that raised, or gave what is no number of its unit, why; it never holds a part of the answers.
    """

    stable: dict[str, float] = field(default_factory=dict)
    candidate: dict[str, float] = field(default_factory=dict)
    stable_quality: float | None = None
    candidate_quality: float | None = None
    quality_difference: float | None = None
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Scorer:
    name: str
    kind: Kind
    unit: Unit
    call: Callable[..., Any]

    @property
    def bounds(self) -> tuple[float, float]:
        """What its numbers lie between; what is not finite is none."""
        return (0.0, 1.0) if self.unit == "score" else (-sys.float_info.max, sys.float_info.max)


class ScorerSet:
    """The scorers of one rollout. Made once, at start; :meth:`score` is called for each pair."""

    def __init__(self, scorers: list[_Scorer], weights: Mapping[str, float]) -> None:
        self._scorers = [(s, s.name, s.kind, s.call, *s.bounds) for s in scorers]
        both_sides = {s.name for s in scorers if s.kind is not _PAIR}
        largest = max(weights.values(), default=0.0)
        # Name, weight, and whether it grades both sides. By the largest, so that no sum of weights overflows.
        self._weights = [(n, w / largest, n in both_sides) for n, w in weights.items() if w > 0]

    @classmethod
    def from_rollout(
        cls, rollout: Rollout, prices: Mapping[str, Price], key: Callable[[int], str] | None = None
    ) -> "ScorerSet":
        """The scorers that a rollout names, with their options and weights.

        Args:
            key: says where in the configuration the n-th scorer is, for messages.

        Raises:
            ConfigError: a line for each scorer that is not known, is named twice, can't be loaded, or is none;
                that has options which it does not take, or a weight and is no score.
        """
        scorers: list[_Scorer] = []
        faults: list[str] = []
        for position, wanted in enumerate(rollout.scorers):
            where = key(position) if key else f"rollouts[{rollout.name}].scorers[{position}]"
            try:
                if any(other.name == wanted.name for other in rollout.scorers[:position]):
                    raise ConfigError(f"{where}.name: {wanted.name!r} is there twice: take one out")
                scorers.append(_scorer(wanted, prices, where))
            except ConfigError as exc:
                faults.append(str(exc))
        if faults:
            raise ConfigError("\n".join(faults))
        return cls(scorers, {s.name: s.quality_weight for s in rollout.scorers})

    @property
    def grades_both_sides(self) -> bool:
        """Whether all of quality is made of scorers that grade both sides, so that its two means compare."""
        return all(both_sides for _, _, both_sides in self._weights)

    def score(self, request_body: Any, stable: Response, candidate: Response) -> Scored:
        """Every scorer's word on one pair, and the quality of its sides. Never raises.

        A side that failed (``error`` is not ``""``) has the score 0 and the quality 0, so that failing never
        looks better than answering badly. Where the stable side failed, the scorers of the pair abstain.
        """
        scored = Scored()
        stable_scores, candidate_scores, failed = scored.stable, scored.candidate, scored.failed
        stable_failed, candidate_failed = bool(stable.error), bool(candidate.error)
        # Some 23 calls a pair, so none of them has another one around it, and a usual number is entered right here.
        for scorer, name, kind, call, lowest, highest in self._scorers:
            ours: Any = None
            theirs: Any = None
            if kind is _SIDE:
                try:
                    ours = call(request_body, stable)
                except BaseException as exc:
                    _note(name, exc, failed)
                try:
                    theirs = call(request_body, candidate)
                except BaseException as exc:
                    _note(name, exc, failed)
            elif kind is _BOTH:
                ours, theirs = _of_both(scorer, request_body, stable, candidate, failed)
            elif not stable_failed:
                try:
                    theirs = call(request_body, stable, candidate)
                except BaseException as exc:
                    _note(name, exc, failed)
            if ours is not None:
                if type(ours) in _PLAIN and lowest <= ours <= highest and not stable_failed:
                    stable_scores[name] = ours + 0.0  # a float, and -0.0 is no score
                else:
                    _enter(scorer, ours, stable_failed, stable_scores, failed)
            if theirs is not None:
                if type(theirs) in _PLAIN and lowest <= theirs <= highest and not candidate_failed:
                    candidate_scores[name] = theirs + 0.0
                else:
                    _enter(scorer, theirs, candidate_failed, candidate_scores, failed)
        self._judge(scored, stable_failed, candidate_failed)
        return scored

    def _judge(self, scored: Scored, stable_failed: bool, candidate_failed: bool) -> None:
        """The qualities: weighted means of what did not abstain. A side that failed has 0 of each scorer."""
        stable_sum = stable_weight = candidate_sum = candidate_weight = 0.0
        shared_stable = shared_candidate = shared_weight = 0.0  # of what graded both sides
        for name, weight, both_sides in self._weights:
            theirs = 0.0 if candidate_failed else scored.candidate.get(name)
            if theirs is not None:
                candidate_sum += weight * theirs
                candidate_weight += weight
            if both_sides:
                ours = 0.0 if stable_failed else scored.stable.get(name)
                if ours is not None:
                    stable_sum += weight * ours
                    stable_weight += weight
                    if theirs is not None:
                        shared_stable += weight * ours
                        shared_candidate += weight * theirs
                        shared_weight += weight
        if candidate_weight:
            scored.candidate_quality = min(1.0, candidate_sum / candidate_weight)
        if stable_weight:
            scored.stable_quality = min(1.0, stable_sum / stable_weight)
        if shared_weight:
            theirs, ours = shared_candidate / shared_weight, shared_stable / shared_weight
            scored.quality_difference = min(1.0, theirs) - min(1.0, ours)


def _scorer(wanted: Scorer, prices: Mapping[str, Price], where: str) -> _Scorer:
    target, mark = find(wanted.name, f"{where}.name")
    if wanted.quality_weight and mark.unit != "score":
        raise ConfigError(
            f"{where}.quality_weight: {wanted.name!r} is measured in {mark.unit}, and quality is made "
            "of scores in [0, 1] alone: take the weight out"
        )
    if not math.isfinite(wanted.quality_weight):
        raise ConfigError(f"{where}.quality_weight: {wanted.quality_weight} is no weight")
    call = make(target, mark, wanted.options, prices, where)
    if wanted.name not in BUILTINS:  # it may hang, or end the process
        call = Apart(wanted.name, find_and_make, (wanted.name, wanted.options, prices, where))
    return _Scorer(wanted.name, mark.kind, mark.unit, call)


def units(rollout: Rollout) -> dict[str, Unit]:
    """Scorer -> unit, in the rollout's order.

    Raises:
        ConfigError: a scorer that is not known, can't be loaded, or is none.
    """
    return {
        wanted.name: find(wanted.name, f"rollouts[{rollout.name}].scorers[{position}].name")[1].unit
        for position, wanted in enumerate(rollout.scorers)
    }


def _of_both(
    scorer: _Scorer, request_body: Any, stable: Response, candidate: Response, failed: dict[str, str]
) -> tuple[Any, Any]:
    try:
        values = scorer.call(request_body, stable, candidate)
    except BaseException as exc:
        _note(scorer.name, exc, failed)
        return None, None
    if isinstance(values, tuple) and len(values) == 2:
        return values
    if values is not None:
        failed[scorer.name] = f"gave {_type(values)}, not (stable's, candidate's)"
    return None, None


def _note(name: str, exc: BaseException, failed: dict[str, str]) -> None:
    """What a scorer raised. All but a stop: a panic in an extension written in Rust is no Exception."""
    if isinstance(exc, KeyboardInterrupt | SystemExit):  # somebody stops the process
        raise exc
    failed[name] = str(exc) if isinstance(exc, ScorerFailedError) else told(exc)


def _enter(
    scorer: _Scorer, value: Any, side_failed: bool, scores: dict[str, float], failed: dict[str, str]
) -> None:
    number = _number(value)
    if number is None:
        failed[scorer.name] = f"gave {_type(value)}, not a number"
    elif not math.isfinite(number):
        failed[scorer.name] = f"gave {number}"
    elif scorer.unit != "score":
        scores[scorer.name] = number
    elif -_ROUNDING <= number <= 1 + _ROUNDING:  # somebody's mean of ones
        scores[scorer.name] = 0.0 if side_failed else min(1.0, max(0.0, number))
    else:
        failed[scorer.name] = f"gave {number:g}, which is not in [0, 1]"


def _number(value: Any) -> float | None:
    try:
        return float(value) if type(value) is bool or isinstance(value, numbers.Real) else None
    except Exception:  # an integer too large for a float, or a number type that can't
        return None


def _type(value: Any) -> str:
    if isinstance(value, NoNumber):
        return f"a value of type {value.kind}"
    return f"a value of type {type(value).__name__}"
