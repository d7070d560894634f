"""The report on a rollout: the verdict, every metric of both arms, and where every request went.

``build`` reads the store's documented views and nothing else, so that an analyst can check each number. Its
result is what ``shadowlane report --json`` prints; docs/report.md describes it, and it only ever grows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import sqrt
from typing import Any

from shadowlane.evaluators.gates.buckets import Moments
from shadowlane.evaluators.gates.estimates import (
    Estimate,
    MetricReport,
    SliceReport,
    metric_reports,
    slice_reports,
)
from shadowlane.evaluators.gates.evidence import Evidence
from shadowlane.evaluators.gates.expressions import comparisons, parse_trigger
from shadowlane.evaluators.gates.fold import Fold
from shadowlane.evaluators.gates.hypotheses import ERRORS_WORSE
from shadowlane.evaluators.gates.intervals import interval
from shadowlane.evaluators.gates.observables import QUALITY
from shadowlane.evaluators.gates.reading import advance, stored
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.scope import closed_until, milliseconds, moment
from shadowlane.evaluators.gates.verdict import Decision, Verdict
from shadowlane.evaluators.scorers import ScorerSet, units
from shadowlane.rollout.evidence import Stage, kept_fold
from shadowlane.rollout.ledger import RESOLVED, Entry, Ledger, add_up
from shadowlane.rollout.log import read_heads, read_history
from shadowlane.rollout.machine import begin
from shadowlane.rollout.next_step import next_step
from shadowlane.rollout.state import Entry as LogEntry
from shadowlane.rollout.state import Phase, State
from shadowlane.rollout.store import Rows
from shadowlane.schemas.config import Rollout, Settings

RELATIVE = frozenset({"quality_worse", "quality_kept", ERRORS_WORSE})


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric over the scored pairs. None where no pair has it.

    ``stable`` and ``candidate`` are means over the pairs in which that side has the metric; ``difference`` is
    the mean of candidate − stable over the pairs in which both have it. ``interval`` (95%) is of the
    difference where there is one, else of the candidate's mean (``interval_of`` says which); of metrics in
    [0, 1] it holds at every moment at once, of others (ms, tokens, usd) it is the usual normal one, for
    orientation. ``evidence`` lists the tests on this metric, and is empty where it is only reported.
    """

    unit: str
    pairs: int
    stable: float | None
    candidate: float | None
    difference: float | None
    interval: tuple[float, float] | None
    interval_of: str = "difference"
    evidence: tuple[dict[str, Any], ...] = ()
    percentiles: dict[str, dict[str, float]] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of one rollout in its present epoch, at ``at``."""

    rollout: str
    verdict: str
    reason: str
    stage: str
    epoch: str
    stable: str
    candidate: str
    at: datetime
    since: datetime | None
    pairs: int
    pairs_needed: int | None
    missing: tuple[str, ...]
    roll_back: dict[str, Any] | None
    metrics: dict[str, Metric]
    failures: dict[str, int]
    ledger: dict[str, Any] = field(default_factory=dict)
    phase: str | None = None
    traffic_pct: float = 0.0
    entered: datetime | None = None
    decision: dict[str, Any] | None = None
    next: str = ""
    slices: tuple[dict[str, Any], ...] = ()
    excluded: tuple[str, ...] = ()
    coverage: float | None = None
    cost: dict[str, float | None] = field(default_factory=dict)


def build(rows: Rows, settings: Settings, rollout: Rollout, now: datetime) -> Report:
    """The report on the present epoch of ``rollout``. Raises StoreError."""
    # The ledger first: while pairs come in, what is read after it has all that it says was scored.
    ledger = read_ledger(rows, settings, rollout, now)
    standing = read_standing(rows, settings, rollout, now)
    verdict, state = standing.verdict, standing.state
    if state is not None and state.phase in (Phase.COMPLETED, Phase.SETTLED):
        verdict = replace(verdict, promote=())  # the guard's evidence: nothing is to be shown any more
    metrics = {m.name: _tested(m, tests, verdict) for m, tests in standing.shown}
    if not ScorerSet.from_rollout(rollout, settings.prices).grades_both_sides:
        # Agreement with the stable answer grades the candidate alone: the two means are of different things.
        metrics[QUALITY] = replace(metrics[QUALITY], stable=None)
    scored = _scored(rows, rollout)
    for name, metric in scored.items():
        metrics.setdefault(name, metric)
    return Report(
        rollout=rollout.name,
        verdict=standing.answer,
        reason=standing.reason,
        stage=state.stage if state else rollout.stages[0].name,
        epoch=rollout.epoch,
        stable=rollout.stable.model,
        candidate=rollout.candidate.model,
        at=now,
        since=verdict.first,
        pairs=verdict.pairs,
        pairs_needed=verdict.pairs_needed,
        missing=verdict.missing,
        roll_back=_latch(verdict),
        metrics=metrics,
        failures=_failures(rows, rollout),
        ledger=_ledger_document(ledger),
        phase=state.phase.value if state else None,
        traffic_pct=state.traffic_pct if state else 0.0,
        entered=moment(state.entered) if state else None,
        decision=_decision(standing.decided) if standing.decided else None,
        next=next_step(rollout, state) if state else "",
        slices=tuple(_slice(one, verdict) for one in slice_reports(standing.rules, standing.fold)),
        excluded=state.excluded if state else (),
        coverage=ledger.scored / ledger.eligible if ledger.eligible else None,
        cost=_cost(scored.get("cost")),
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a rollout stands: the controller's state, if it has one of this epoch, and what the evidence says now.

    ``decided`` is the last decision. The evidence is the present stage's, the open bucket on top.
    """

    state: State | None
    decided: LogEntry | None
    rules: Rules
    fold: Fold
    verdict: Verdict

    @property
    def answer(self) -> str:
        """The verdict; what was decided where that is final."""
        if self.state and self.state.phase is Phase.ROLLED_BACK:
            return Decision.ROLL_BACK.value
        if self._shown and not self.verdict.roll_back:
            return Decision.PROMOTE.value
        return self.verdict.verdict.value

    @property
    def reason(self) -> str:
        final = self._shown or (self.state is not None and self.state.phase is Phase.ROLLED_BACK)
        if final and self.decided and not self.verdict.roll_back:
            return self.decided.reason
        return self.verdict.reason

    @property
    def shown(self) -> list[tuple[MetricReport, tuple[str, ...]]]:
        """Each metric with the names of its tests."""
        shown = metric_reports(self.rules, self.fold.whole(self.rules))
        return [(metric, of.tests) for metric, of in zip(shown, self.rules.metrics, strict=True)]

    @property
    def _shown(self) -> bool:
        return self.state is not None and self.state.phase in (Phase.PASSED, Phase.COMPLETED, Phase.SETTLED)


def read_standing(rows: Rows, settings: Settings, rollout: Rollout, now: datetime) -> Standing:
    """Where the rollout stands, the open bucket's pairs too: evidence is valid at every moment. Raises StoreError."""
    state = read_heads(rows, [rollout.name]).get(rollout.name)
    if state is not None and state.epoch != rollout.epoch:
        state = None  # the controller has not seen the new configuration yet
    span = stored(rows, rollout.name, rollout.epoch)
    at = span.now if span else now
    controller = settings.controller
    if state is None:
        first = closed_until(span.first if span else now, controller.bucket_s, 0)
        stage = Stage.of(rollout, _unbegun(rollout, first), controller)
        fold = Fold.start(first)
        started = span.first if span else now
    else:
        stage = Stage.of(rollout, state, controller)
        fold = kept_fold(rows, stage)
        started = moment(state.entered)
    if span:
        fold = advance(rows, stage.rules, stage.scope, fold, at + timedelta(seconds=controller.bucket_s))
    verdict = stage.verdict(fold, milliseconds(max(at, started)))
    if state is None and fold.first:
        verdict = replace(stage, state=replace(stage.state, entered=milliseconds(fold.first))).verdict(
            fold, milliseconds(at)
        )
    decided = read_history(rows, rollout.name, 1) if state else []
    return Standing(state, decided[0] if decided else None, stage.rules, fold, verdict)


def _unbegun(rollout: Rollout, first: datetime) -> State:
    """As the controller would begin it."""
    entry = begin(rollout, None, milliseconds(first), milliseconds(first))
    assert entry is not None  # without a state before, it begins
    return entry.state


LEDGER = """
WITH
    (SELECT toStartOfMinute(min(ts_time)) FROM pair_log WHERE rollout = {rollout:String}) AS first_minute,
    (
        SELECT count() FROM ledger_log
        WHERE row = 'eligible' AND minute_time < first_minute
            AND {service:String} IN ('', service) AND {route:String} IN ('', route)
    ) > 0 AS had_begun
SELECT
    minute,
    -- Of a dead letter that nothing else is known of, only a single rollout can be the owner.
    if(row = 'dead_lettered' AND service = '' AND NOT {alone:Bool}, 'unreadable', row) AS row,
    reason,
    sum(requests) AS requests
FROM ledger_of(rollout = {rollout:String}, epoch = {epoch:String})
WHERE (service = '' OR ({service:String} IN ('', service) AND {route:String} IN ('', route)))
    AND minute >= first_minute + toIntervalMinute(had_begun)
GROUP BY minute, row, reason
ORDER BY minute, row, reason
"""


def read_ledger(rows: Rows, settings: Settings, rollout: Rollout, now: datetime) -> Ledger:
    """The ledger of a rollout, in its present epoch; what older epochs have alone is ``other_epoch``.

    It begins with the minute of the rollout's first pair; with the one after it where the service had been
    mirrored before, since that minute's earlier requests were nobody's.
    """
    parameters = {
        "rollout": rollout.name,
        "epoch": rollout.epoch,
        "service": rollout.match.service or "",
        "route": rollout.match.route or "",
        "alone": len(settings.rollouts) == 1,
    }
    entries = [
        Entry(_utc(row["minute"]), str(row["row"]), str(row["reason"]), int(row["requests"]))
        for row in rows(LEDGER, parameters)
    ]
    return add_up(entries, now, timedelta(seconds=settings.pairing.wait_s))


SCORES = """
SELECT
    name,
    countIf(isNotNull(c) OR isNotNull(s)) AS pairs,
    avgOrNull(s) AS stable,
    avgOrNull(c) AS candidate,
    count(c - s) AS n,
    sum(c - s) AS total,
    sum((c - s) * (c - s)) AS squares,
    count(c) AS candidate_n,
    sum(c) AS candidate_total,
    sum(c * c) AS candidate_squares,
    quantilesTDigestIf(0.5, 0.95, 0.99)(assumeNotNull(s), isNotNull(s)) AS stable_percentiles,
    quantilesTDigestIf(0.5, 0.95, 0.99)(assumeNotNull(c), isNotNull(c)) AS candidate_percentiles
FROM (
    SELECT
        arrayJoin(arrayDistinct(arrayConcat(mapKeys(stable_scores), mapKeys(candidate_scores)))) AS name,
        if(mapContains(stable_scores, name), stable_scores[name], NULL) AS s,
        if(mapContains(candidate_scores, name), candidate_scores[name], NULL) AS c
    FROM pairs
    WHERE rollout = {rollout:String} AND epoch = {epoch:String}
)
GROUP BY name
ORDER BY name
"""

FAILURES = """
SELECT candidate_error AS error, count() AS pairs
FROM pairs
WHERE rollout = {rollout:String} AND epoch = {epoch:String} AND candidate_error != ''
GROUP BY error
ORDER BY pairs DESC, error
"""


def _scored(rows: Rows, rollout: Rollout) -> dict[str, Metric]:
    """Every scorer's metric, in the order of the rollout's scorers."""
    unit_of = units(rollout)
    parameters = {"rollout": rollout.name, "epoch": rollout.epoch}
    by_name = {str(row["name"]): row for row in rows(SCORES, parameters)}
    return {name: _from_row(by_name[name], unit) for name, unit in unit_of.items() if name in by_name}


def _from_row(row: Mapping[str, Any], unit: str) -> Metric:
    paired = int(row["n"])
    of = "difference" if paired else "candidate"
    prefix = "" if paired else "candidate_"
    moments = Moments(
        paired or int(row["candidate_n"]),
        float(row[f"{prefix}total"] or 0),
        float(row[f"{prefix}squares"] or 0),
    )
    bounds: tuple[float, float] | None = None
    if unit == "score" and moments.n:
        bounds = interval([moments], -1.0 if paired else 0.0, 1.0, guess=0.0 if paired else 1.0)
    elif moments.n > 1 and moments.mean is not None:
        half = 1.96 * sqrt(moments.variance / (moments.n - 1))
        bounds = (moments.mean - half, moments.mean + half)
    percentiles = None
    if unit != "score":
        percentiles = {
            f"p{percent}": {
                arm: float(row[f"{arm}_percentiles"][place])
                for arm in ("stable", "candidate")
                if row[arm] is not None
            }
            for place, percent in enumerate((50, 95, 99))
        }
    return Metric(
        unit=unit,
        pairs=int(row["pairs"]),
        stable=row["stable"],
        candidate=row["candidate"],
        difference=moments.mean if paired else None,
        interval=bounds,
        interval_of=of,
        percentiles=percentiles,
    )


def _tested(metric: MetricReport, tests: tuple[str, ...], verdict: Verdict) -> Metric:
    shown: Estimate | None = metric.difference or metric.candidate
    return Metric(
        unit=metric.unit if metric.unit in ("usd", "x") else "score",
        pairs=metric.candidate.n if metric.candidate else metric.difference.n if metric.difference else 0,
        stable=metric.stable.mean if metric.stable else None,
        candidate=metric.candidate.mean if metric.candidate else None,
        difference=metric.difference.mean if metric.difference else None,
        interval=(shown.low, shown.high) if shown else None,
        interval_of="difference" if metric.difference else "candidate",
        evidence=(
            *(_evidence(e, "promote") for e in verdict.promote if _is_of(e, tests)),
            *(_evidence(e, "roll_back") for e in verdict.alarms if _is_of(e, tests)),
        ),
    )


def _is_of(evidence: Evidence, tests: tuple[str, ...]) -> bool:
    """Whether a claim, simple or compound, looks at the metric of these tests. A slice's is shown with the slice."""
    if evidence.slice:
        return False
    if evidence.name in tests:
        return True
    if evidence.name in RELATIVE:
        return False
    return any(str(comparison) in tests for comparison in comparisons(parse_trigger(evidence.name)))


def _slice(one: SliceReport, verdict: Verdict) -> dict[str, Any]:
    claims = [(e, "promote") for e in verdict.promote] + [(e, "roll_back") for e in verdict.alarms]
    return {
        "slice": one.name,
        "pairs": one.pairs,
        "share": one.share,
        "metrics": {m.name: asdict(_tested(m, (), verdict)) for m in one.metrics},
        "evidence": [_evidence(e, decides) for e, decides in claims if e.slice == one.name],
    }


def _decision(entry: LogEntry) -> dict[str, Any]:
    return {
        "seq": entry.state.seq,
        "event": entry.event,
        "actor": entry.actor,
        "reason": entry.reason,
        "at": moment(entry.state.at),
    }


def _cost(metric: Metric | None) -> dict[str, float | None]:
    """What both arms cost over the epoch's pairs, in USD; null where no price is known."""

    def total(mean: float | None) -> float | None:
        return None if metric is None or mean is None else mean * metric.pairs

    return {
        "stable_usd": total(metric.stable if metric else None),
        "candidate_usd": total(metric.candidate if metric else None),
    }


def _evidence(evidence: Evidence, decides: str) -> dict[str, Any]:
    """``e`` alone decides once it reaches ``threshold``: 1/α over the claim's share of the error budget."""
    return {
        "decides": decides,
        "claim": evidence.claim,
        "slice": evidence.slice,
        "e": evidence.e,
        "threshold": evidence.threshold / evidence.share,
        "reached": evidence.reached,
        "pairs": evidence.n,
        "pairs_needed": evidence.pairs_needed,
    }


def _latch(verdict: Verdict) -> dict[str, Any] | None:
    latch = verdict.roll_back
    if latch is None:
        return None
    return {
        "since": latch.since,
        "pairs": latch.pairs,
        "e": latch.e,
        "alone": latch.alone,
        "causes": [_evidence(cause, "roll_back") for cause in latch.leading],
    }


def _failures(rows: Rows, rollout: Rollout) -> dict[str, int]:
    found = rows(FAILURES, {"rollout": rollout.name, "epoch": rollout.epoch})
    return {str(row["error"]): int(row["pairs"]) for row in found}


def _ledger_document(ledger: Ledger) -> dict[str, Any]:
    names = ("eligible", *RESOLVED, "in_flight", "missing", "excess", "unreadable")
    document: dict[str, Any] = {name: getattr(ledger, name) for name in names}
    return document | {"adds_up": ledger.adds_up, "reasons": ledger.reasons}


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
