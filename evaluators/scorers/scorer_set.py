"""The scorers of one rollout, and what they say together: quality."""

import math
import numbers
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


class ScorerSet:
    """The scorers of one rollout. Made once, at start; :meth:`score` is called for each pair."""

    def __init__(self, scorers: list[_Scorer], weights: Mapping[str, float]) -> None:
        self._scorers = scorers
        largest = max(weights.values(), default=0.0)
        # By the largest, so that no sum of weights overflows.
        self._weights = {name: weight / largest for name, weight in weights.items() if weight > 0}
        both_sides = {s.name for s in scorers if s.kind is not Kind.PAIR}
        self._side_weights = {name: weight for name, weight in self._weights.items() if name in both_sides}

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
        return self._side_weights.keys() == self._weights.keys()

    def score(self, request_body: Any, stable: Response, candidate: Response) -> Scored:
        """Every scorer's word on one pair, and the quality of its sides. Never raises.

        A side that failed (``error`` is not ``""``) has the score 0 and the quality 0, so that failing never
        looks better than answering badly. Where the stable side failed, the scorers of the pair abstain.
        """
        scored = Scored()
        sides = ((stable, scored.stable), (candidate, scored.candidate))
        for scorer in self._scorers:
            if scorer.kind is Kind.SIDE:
                for answer, scores in sides:
                    value = _call(scorer, scored.failed, request_body, answer)
                    if value is not None:
                        _enter(scorer, value, answer, scores, scored.failed)
            elif scorer.kind is Kind.BOTH:
                values = _call(scorer, scored.failed, request_body, stable, candidate)
                if isinstance(values, tuple) and len(values) == 2:
                    for value, (answer, scores) in zip(values, sides, strict=True):
                        if value is not None:
                            _enter(scorer, value, answer, scores, scored.failed)
                elif values is not None:
                    scored.failed[scorer.name] = f"gave {_type(values)}, not (stable's, candidate's)"
            elif not stable.error:
                value = _call(scorer, scored.failed, request_body, stable, candidate)
                if value is not None:
                    _enter(scorer, value, candidate, scored.candidate, scored.failed)
        self._judge(scored, bool(stable.error), bool(candidate.error))
        return scored

    def _judge(self, scored: Scored, stable_failed: bool, candidate_failed: bool) -> None:
        if not self._weights:
            return
        scored.candidate_quality = 0.0 if candidate_failed else _mean(self._weights, scored.candidate)
        if not self._side_weights:
            return
        scored.stable_quality = 0.0 if stable_failed else _mean(self._side_weights, scored.stable)
        # What graded both sides; of a failed side, all that graded the other one.
        shared = {
            name: weight
            for name, weight in self._side_weights.items()
            if (stable_failed or name in scored.stable) and (candidate_failed or name in scored.candidate)
        }
        ours = 0.0 if stable_failed else _mean(shared, scored.stable)
        theirs = 0.0 if candidate_failed else _mean(shared, scored.candidate)
        if ours is not None and theirs is not None:
            scored.quality_difference = theirs - ours


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


def _mean(weights: Mapping[str, float], scores: Mapping[str, float]) -> float | None:
    """The weighted mean over the scores that are there; None where none is."""
    total = weighted = 0.0
    for name, weight in weights.items():
        score = scores.get(name)
        if score is not None:
            total += weight
            weighted += weight * score
    return min(1.0, weighted / total) if total else None


def _call(scorer: _Scorer, failed: dict[str, str], *arguments: Any) -> Any:
    try:
        return scorer.call(*arguments)
    except (KeyboardInterrupt, SystemExit):  # somebody stops the process
        raise
    except ScorerFailedError as exc:
        failed[scorer.name] = str(exc)
        return None
    except BaseException as exc:  # a panic in an extension written in Rust is no Exception
        failed[scorer.name] = told(exc)
        return None


def _enter(
    scorer: _Scorer, value: Any, answer: Response, scores: dict[str, float], failed: dict[str, str]
) -> None:
    number = value if type(value) is float else _number(value)
    if scorer.unit == "score" and number is not None and 0.0 <= number <= 1.0:  # nearly always
        scores[scorer.name] = 0.0 if answer.error else abs(number)  # -0.0 is no score
    elif number is None:
        failed[scorer.name] = f"gave {_type(value)}, not a number"
    elif not math.isfinite(number):
        failed[scorer.name] = f"gave {number}"
    elif scorer.unit != "score":
        scores[scorer.name] = number
    elif -_ROUNDING <= number <= 1 + _ROUNDING:  # somebody's mean of ones
        scores[scorer.name] = 0.0 if answer.error else min(1.0, max(0.0, number))
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
