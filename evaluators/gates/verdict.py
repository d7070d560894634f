"""The verdict on a stage: rules and folded evidence in, one of four answers out, with everything it rests on.

docs/verdict.md tells it to a user. Pure: the moment is handed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from types import MappingProxyType

from shadowlane.evaluators.gates.evidence import Evidence, Latch, alarms, promotions
from shadowlane.evaluators.gates.fold import Fold
from shadowlane.evaluators.gates.hypotheses import ERRORS_WORSE
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.slices import budget_share

NO_SHARES: Mapping[str, float] = MappingProxyType({})


class Decision(StrEnum):
    PROMOTE = "promote"
    HOLD = "hold"
    ROLL_BACK = "roll_back"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, and what it rests on. orjson writes it as it stands.

    ``reason`` is for a person: what decided, or what is missing, in ``missing`` one by one. ``pairs_needed``
    is how many pairs more a promotion takes at the effect seen so far: 0 where pairs are not what is missing,
    None where it would never come. ``promote`` has the required claims of all traffic, then those of the major
    slices; ``alarms`` the causes in all traffic, then in each slice. ``roll_back`` is the latch: set once, it stays.
    ``untracked`` is `Fold.untracked`: pairs of slices that nobody looks at, since too many came before them.
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
    untracked: int = 0


def decide(
    rules: Rules,
    fold: Fold,
    *,
    started: datetime,
    now: datetime,
    covered_from: datetime | None = None,
    major: Mapping[str, float] = NO_SHARES,
    guard: bool = False,
    unit: str = "pairs",
) -> Verdict:
    """The verdict on the stage that began at ``started``, from its evidence.

    A roll back is latched: the first bucket at which the causes' evidence together reaches 1/α decides, and
    no later bucket takes it back. It is reported whether or not ``auto_rollback.enabled``: that setting says
    what the controller does about it, and a report must not look better because nobody acts.

    ``fold`` may have an open bucket on top, since the evidence is valid at every moment; a roll back that it decides
    is final once it is closed.

    Args:
        covered_from: when the first pair of the epoch was stored, if that was before the stage's: where the rules
            count the stages before, the pairs span the traffic cycle from there.
        major: by attribute, the share of the stage's pairs from which on a slice must show all that is required by
            itself.
        guard: nothing is to be promoted any more: roll back, or hold.
        unit: what a person calls the units of the fold: pairs, or sessions.
    """
    judged = (fold.whole(rules), *fold.major(major))
    promote = tuple(evidence for state in judged for evidence in promotions(rules, state))
    missing = () if guard else _missing(rules, promote, fold, covered_from, now - started)
    over = rules.duration is not None and now - started >= rules.duration
    if fold.latch is not None:
        decision, reason = Decision.ROLL_BACK, _why_roll_back(rules, fold.latch, unit)
    elif guard:
        decision, reason = Decision.HOLD, f"nothing rolls back, on {fold.pairs:,} pairs"
    elif not missing:
        decision, reason = Decision.PROMOTE, _why_promote(promote, fold.pairs)
    elif over:
        decision = Decision.INCONCLUSIVE
        reason = f"the stage is over ({_time(now - started)}) and undecided: {'; '.join(missing)}"
    else:
        decision, reason = Decision.HOLD, f"not decided yet: {'; '.join(missing)}"
    return Verdict(
        verdict=decision,
        reason=reason,
        missing=missing,
        pairs=fold.pairs,
        pairs_needed=None if guard or fold.latch else _pairs_needed(rules, promote, fold),
        first=fold.first,
        last=fold.last,
        promote=promote,
        alarms=_alarms(rules, fold),
        roll_back=fold.latch,
        untracked=fold.untracked,
    )


def _alarms(rules: Rules, fold: Fold) -> tuple[Evidence, ...]:
    states = tuple(fold.slices.values()) or (fold.whole(rules),)
    return tuple(
        evidence
        for place, state in enumerate(states)
        for evidence in alarms(rules, state, budget_share(place, sliced=fold.sliced))
    )


def _missing(
    rules: Rules,
    promote: tuple[Evidence, ...],
    fold: Fold,
    covered_from: datetime | None,
    stayed: timedelta,
) -> tuple[str, ...]:
    missing = [_not_shown(e) for e in promote if not e.reached]
    if fold.pairs < rules.min_pairs:
        missing.append(f"{fold.pairs} of at least {rules.min_pairs} pairs")
    if stayed < rules.min_stay:
        missing.append(
            f"the stage lasts at least {_time(rules.min_stay)}, {_time(rules.min_stay - stayed)} more"
        )
    covered = timedelta(0)
    if fold.first and fold.last:
        began = covered_from if rules.whole_epoch and covered_from else fold.first
        covered = fold.last - min(fold.first, began)
    if covered < rules.traffic_cycle:
        missing.append(f"the pairs span {_time(covered)} of a traffic cycle of {_time(rules.traffic_cycle)}")
    return tuple(missing)


def _not_shown(evidence: Evidence) -> str:
    state = f"not shown{_within(evidence)}: {evidence.claim} (evidence {evidence.e:.3g} of {evidence.threshold:.3g}"
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


def _within(evidence: Evidence) -> str:
    return f" in {evidence.slice}" if evidence.slice else ""


def _why_promote(promote: tuple[Evidence, ...], pairs: int) -> str:
    shown = "; ".join(f"{e.claim}{_within(e)} (evidence {e.e:.3g} of {e.threshold:.3g})" for e in promote)
    return f"shown on {pairs:,} pairs: {shown}"


def _why_roll_back(rules: Rules, latch: Latch, unit: str) -> str:
    causes = " and ".join(e.claim + _within(e) + _seen(e, unit) for e in latch.leading)
    by_itself = f", {latch.alone} by itself enough of it" if latch.alone else ""
    return (
        f"{causes}: evidence of all causes together {latch.e:.3g} of {1 / rules.alpha_roll_back:.3g}{by_itself} "
        f"at {latch.since:%Y-%m-%d %H:%M} UTC, after {latch.pairs:,} pairs"
    )


def _seen(evidence: Evidence, unit: str) -> str:
    if evidence.mean is None:
        return ""
    if evidence.name == ERRORS_WORSE and unit == "pairs":
        alone = round(evidence.mean * evidence.n)
        return f" (of {evidence.n:,} pairs in which one side alone failed, it was the candidate in {alone:,})"
    return f" ({evidence.mean:.4g} over {evidence.n:,} {unit})"


def _pairs_needed(rules: Rules, promote: tuple[Evidence, ...], fold: Fold) -> int | None:
    needed = [max(rules.min_pairs - fold.pairs, 0)]
    for required in promote:
        if required.pairs_needed is None:
            return None
        # At a slice's share of the traffic, its pairs come with so many of all.
        whole = fold.pairs / fold.slices[required.slice].pairs if required.slice else 1
        needed.append(ceil(required.pairs_needed * whole))
    return max(needed)


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
