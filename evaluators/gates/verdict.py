"""The verdict on a stage: rules and closed buckets in, one of four answers out, with everything it rests on.

docs/verdict.md tells it to a user. Pure: the moment is handed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from shadowlane.evaluators.gates.buckets import Bucket
from shadowlane.evaluators.gates.evidence import Evidence, Latch, StageEvidence, collect, total_moments
from shadowlane.evaluators.gates.hypotheses import ERRORS_WORSE, Observable
from shadowlane.evaluators.gates.intervals import interval, rate_interval
from shadowlane.evaluators.gates.rules import Rules


class Decision(StrEnum):
    PROMOTE = "promote"
    HOLD = "hold"
    ROLL_BACK = "roll_back"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over ``n`` pairs, and its 95% interval, which holds at every moment at once."""

    n: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MetricReport:
    """One metric of both arms, and of the difference candidate − stable on the same requests.

    None where no pair has it.
    """

    name: str
    stable: Estimate | None
    candidate: Estimate | None
    difference: Estimate | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, and what it rests on. orjson writes it as it stands.

    ``reason`` is for a person: what decided, or what is missing, in ``missing`` one by one. ``pairs_needed``
    is how many pairs more a promotion takes at the effect seen so far: 0 where pairs are not what is missing,
    None where it would never come. ``roll_back`` is the latch: set once, it stays.
    """

    verdict: Decision
    reason: str
    missing: tuple[str, ...]
    pairs: int
    pairs_needed: int | None
    first: datetime | None
    last: datetime | None
    promote: tuple[Evidence, ...]
    alarms: tuple[Evidence, ...]
    roll_back: Latch | None
    metrics: tuple[MetricReport, ...]


def decide(rules: Rules, buckets: Sequence[Bucket], *, started: datetime, now: datetime) -> Verdict:
    """The verdict on the stage that began at ``started``, from its closed buckets in order of time.

    A roll back is latched: the first bucket at which the causes' evidence together reaches 1/α decides, and
    no later bucket takes it back. It is reported whether or not ``auto_rollback.enabled``: that setting says
    what the controller does about it, and a report must not look better because nobody acts.

    ``buckets`` are all of the stage's, each closed: nothing is added to it any more. The last may be open, since
    the evidence is valid at every moment; a roll back that it decides is final once it is closed.
    """
    evidence = collect(rules, buckets)
    pairs = sum(bucket.pairs for bucket in buckets)
    first = buckets[0].first if buckets else None
    last = max(bucket.last for bucket in buckets) if buckets else None
    missing = _missing(rules, evidence, pairs, first, last, now - started)
    over = rules.duration is not None and now - started >= rules.duration
    if evidence.latch is not None:
        decision, reason = Decision.ROLL_BACK, _why_roll_back(rules, evidence.latch)
    elif not missing:
        decision, reason = Decision.PROMOTE, _why_promote(evidence, pairs)
    elif over:
        decision = Decision.INCONCLUSIVE
        reason = f"the stage is over ({_time(now - started)}) and undecided: {'; '.join(missing)}"
    else:
        decision, reason = Decision.HOLD, f"not decided yet: {'; '.join(missing)}"
    return Verdict(
        verdict=decision,
        reason=reason,
        missing=missing,
        pairs=pairs,
        pairs_needed=_pairs_needed(rules, evidence, pairs),
        first=first,
        last=last,
        promote=evidence.promote,
        alarms=evidence.roll_back,
        roll_back=evidence.latch,
        metrics=_metrics(rules, buckets),
    )


def _missing(
    rules: Rules,
    evidence: StageEvidence,
    pairs: int,
    first: datetime | None,
    last: datetime | None,
    stayed: timedelta,
) -> tuple[str, ...]:
    missing = [_not_shown(e) for e in evidence.promote if not e.reached]
    if pairs < rules.min_pairs:
        missing.append(f"{pairs} of at least {rules.min_pairs} pairs")
    if stayed < rules.min_stay:
        missing.append(
            f"the stage lasts at least {_time(rules.min_stay)}, {_time(rules.min_stay - stayed)} more"
        )
    covered = last - first if first and last else timedelta(0)
    if covered < rules.traffic_cycle:
        missing.append(f"the pairs span {_time(covered)} of a traffic cycle of {_time(rules.traffic_cycle)}")
    return tuple(missing)


def _not_shown(evidence: Evidence) -> str:
    state = f"not shown: {evidence.claim} (evidence {evidence.e:.3g} of {evidence.threshold:.3g}"
    if evidence.mean is None:
        return f"{state}, no pair has this metric)"
    if evidence.pairs_needed is None:
        return f"{state}, never at the {evidence.mean:.4g} seen so far)"
    return (
        f"{state}, about {_roughly(evidence.pairs_needed)} pairs more at the {evidence.mean:.4g} seen so far)"
    )


def _roughly(pairs: int) -> str:
    """Two digits, since an estimate has no more: 58,162 is 58,000."""
    return f"{int(float(f'{pairs:.2g}')):,}"


def _why_promote(evidence: StageEvidence, pairs: int) -> str:
    shown = "; ".join(f"{e.claim} (evidence {e.e:.3g} of {e.threshold:.3g})" for e in evidence.promote)
    return f"shown on {pairs:,} pairs: {shown}"


def _why_roll_back(rules: Rules, latch: Latch) -> str:
    causes = " and ".join(e.claim + _seen(e) for e in latch.leading)
    return (
        f"{causes}: evidence of all causes together {latch.e:.3g} of {1 / rules.alpha_roll_back:.3g} "
        f"at {latch.since:%Y-%m-%d %H:%M} UTC, after {latch.pairs:,} pairs"
    )


def _seen(evidence: Evidence) -> str:
    if evidence.mean is None:
        return ""
    if evidence.name == ERRORS_WORSE:
        alone = round(evidence.mean * evidence.n)
        return f" (of {evidence.n:,} pairs in which one side alone failed, it was the candidate in {alone:,})"
    return f" ({evidence.mean:.4g} over {evidence.n:,} pairs)"


def _pairs_needed(rules: Rules, evidence: StageEvidence, pairs: int) -> int | None:
    needed = [max(rules.min_pairs - pairs, 0)]
    for required in evidence.promote:
        if required.pairs_needed is None:
            return None
        needed.append(required.pairs_needed)
    return None if evidence.latch else max(needed)


def _metrics(rules: Rules, buckets: Sequence[Bucket]) -> tuple[MetricReport, ...]:
    return tuple(
        MetricReport(
            metric.name,
            _estimate(metric.stable, buckets),
            _estimate(metric.candidate, buckets),
            _estimate(metric.difference, buckets),
        )
        for metric in rules.metrics
    )


def _estimate(observable: Observable, buckets: Sequence[Bucket]) -> Estimate | None:
    total = total_moments(buckets, observable.name)
    if total.mean is None:
        return None
    if observable.binary:
        low, high = rate_interval(total.n, round(total.total))
    else:
        moments = (bucket.moments[observable.name] for bucket in buckets)
        low, high = interval(moments, observable.lo, observable.hi, guess=observable.guess)
    return Estimate(total.n, total.mean, low, high)


def _time(span: timedelta) -> str:
    """``1 d 2 h``, ``35 min``, ``12 s``: the two largest units."""
    seconds = max(int(span.total_seconds()), 0)
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts = []
    for name, size in units:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"
