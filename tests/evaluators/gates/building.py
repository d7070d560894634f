"""Pairs and buckets for the tests of the gates: what the view gives, written down a second time in Python."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from shadowlane.evaluators.gates.buckets import Bucket, Moments
from shadowlane.evaluators.gates.expressions import parse_criteria, parse_trigger
from shadowlane.evaluators.gates.fold import Fold, fold
from shadowlane.evaluators.gates.hypotheses import Observable
from shadowlane.evaluators.gates.kernel import log_sums
from shadowlane.evaluators.gates.rules import Rules

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def usual_rules(**settings: Any) -> Rules:
    """The rules that the documentation shows."""
    return Rules(
        parse_criteria({"error_rate": "<0.5%", "quality_score": ">0.90"}),
        parse_trigger("error_rate > 2% OR quality_score < 0.80"),
        **settings,
    )


@dataclass(frozen=True)
class Pair:
    """One row of the view. A candidate that failed has quality 0."""

    candidate_quality: float | None = 0.96
    stable_quality: float | None = 0.96
    candidate_error: str = ""
    stable_error: str = ""
    candidate_scores: dict[str, float] = field(default_factory=dict)
    stable_scores: dict[str, float] = field(default_factory=dict)

    @property
    def quality_difference(self) -> float | None:
        if self.candidate_quality is None or self.stable_quality is None:
            return None
        return self.candidate_quality - self.stable_quality


FAILED = Pair(candidate_quality=0.0, candidate_error="timeout")


def value(observable: Observable, pair: Pair) -> float | None:
    """What ``observable.sql`` says of ``pair``."""
    candidate, stable = float(pair.candidate_error != ""), float(pair.stable_error != "")
    values: dict[str, float | None] = {
        "candidate_error": candidate,
        "stable_error": stable,
        "error_difference": candidate - stable,
        "discordant_error": candidate if candidate != stable else None,
        "candidate_quality": pair.candidate_quality,
        "stable_quality": pair.stable_quality,
        "quality_difference": pair.quality_difference,
    }
    if not observable.scorer:
        return values[observable.name]
    own = pair.candidate_scores.get(observable.scorer)
    other = pair.stable_scores.get(observable.scorer)
    if observable.name.startswith("difference."):
        return None if own is None or other is None else own - other
    return own if observable.name.startswith("candidate.") else other


def bucket(rules: Rules, minute: int, pairs: Sequence[Pair]) -> Bucket:
    """The sums of ``pairs`` that all became complete within minute number ``minute`` after START."""
    seen = {o.name: [x for x in (value(o, p) for p in pairs) if x is not None] for o in rules.observables}
    start = START + timedelta(minutes=minute)
    return Bucket(
        start=start,
        pairs=len(pairs),
        first=start,
        last=start + timedelta(seconds=59),
        moments={name: moments(xs) for name, xs in seen.items()},
        log_sums={h.name: log_sums(h.bets, h.null_mean, seen[h.observable.name]) for h in rules.hypotheses},
    )


def moments(xs: Iterable[float]) -> Moments:
    listed = list(xs)
    return Moments(len(listed), sum(listed), sum(x * x for x in listed))


def buckets(rules: Rules, minutes: Iterable[Sequence[Pair]]) -> list[Bucket]:
    return [bucket(rules, minute, pairs) for minute, pairs in enumerate(minutes)]


def folded(rules: Rules, found: Sequence[Bucket]) -> Fold:
    """The evidence of a stage that began at START, with all of these buckets."""
    until = found[-1].start + timedelta(minutes=1) if found else START
    return fold(rules, Fold.start(START, sliced=any(b.slice for b in found)), found, until)
