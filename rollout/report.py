"""The report on a rollout: the verdict, every metric of both arms, and where every request went.

``build`` reads the store's documented views and nothing else, so that an analyst can check each number. Its
result is what ``shadowlane report --json`` prints; docs/report.md describes it, and it only ever grows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import sqrt
from typing import Any

from shadowlane.evaluators.check import rules_of
from shadowlane.evaluators.gates.buckets import Moments
from shadowlane.evaluators.gates.evidence import Evidence
from shadowlane.evaluators.gates.expressions import Expression, comparisons, parse_trigger
from shadowlane.evaluators.gates.fold import Fold
from shadowlane.evaluators.gates.hypotheses import ERROR_RATE, ERRORS_WORSE, QUALITY
from shadowlane.evaluators.gates.intervals import interval
from shadowlane.evaluators.gates.reading import advance, closed_until, stored
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.scope import Scope
from shadowlane.evaluators.gates.verdict import Estimate, MetricReport, Verdict, decide
from shadowlane.evaluators.scorers import ScorerSet, units
from shadowlane.rollout.ledger import RESOLVED, Entry, Ledger, add_up
from shadowlane.schemas.config import Rollout, Settings

Rows = Callable[[str, Mapping[str, Any]], list[dict[str, Any]]]
"""Runs one query with ``{name:Type}`` parameters, gives its rows by column. Raises StoreError."""

RELATIVE = {"quality_worse": QUALITY, "quality_kept": QUALITY, ERRORS_WORSE: ERROR_RATE}


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


def build(rows: Rows, settings: Settings, rollout: Rollout, now: datetime) -> Report:
    """The report on the present epoch of ``rollout``. Raises StoreError."""
    rules = rules_of(rollout)
    # The ledger first: while pairs come in, what is read after it has all that it says was scored.
    ledger = read_ledger(rows, settings, rollout, now)
    verdict = read_verdict(rows, rollout, rules, now)
    metrics = {metric.name: _tested(metric, verdict) for metric in verdict.metrics}
    if not ScorerSet.from_rollout(rollout, settings.prices).grades_both_sides:
        # Agreement with the stable answer grades the candidate alone: the two means are of different things.
        metrics[QUALITY] = replace(metrics[QUALITY], stable=None)
    for name, metric in _scored(rows, rollout).items():
        metrics.setdefault(name, metric)
    return Report(
        rollout=rollout.name,
        verdict=verdict.verdict.value,
        reason=verdict.reason,
        stage=rollout.stages[0].name,
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
    )


def read_verdict(rows: Rows, rollout: Rollout, rules: Rules, now: datetime) -> Verdict:
    """The verdict on all pairs that are stored, the open minute's too: evidence is valid at every moment."""
    fold = Fold.start(now)
    if span := stored(rows, rollout.name, rollout.epoch):
        since = closed_until(span.first, 60, 0)
        scope = Scope(rollout.name, rollout.epoch, since, span.now)
        fold = advance(rows, rules, scope, Fold.start(since), span.now + timedelta(minutes=1))
    return decide(rules, fold, started=fold.first or now, now=now)


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


def _tested(metric: MetricReport, verdict: Verdict) -> Metric:
    shown: Estimate | None = metric.difference or metric.candidate
    return Metric(
        unit="score",
        pairs=metric.candidate.n if metric.candidate else 0,
        stable=metric.stable.mean if metric.stable else None,
        candidate=metric.candidate.mean if metric.candidate else None,
        difference=metric.difference.mean if metric.difference else None,
        interval=(shown.low, shown.high) if shown else None,
        interval_of="difference" if metric.difference else "candidate",
        evidence=(
            *(_evidence(e, "promote") for e in verdict.promote if metric.name in _metrics_of(e)),
            *(_evidence(e, "roll_back") for e in verdict.alarms if metric.name in _metrics_of(e)),
        ),
    )


def _metrics_of(evidence: Evidence) -> set[str]:
    """The metrics that a test looks at: by name of the relative ones, by text of the others."""
    if evidence.name in RELATIVE:
        return {RELATIVE[evidence.name]}
    tree: Expression = parse_trigger(evidence.name)
    return {comparison.metric for comparison in comparisons(tree)}


def _evidence(evidence: Evidence, decides: str) -> dict[str, Any]:
    """``e`` alone decides once it reaches ``threshold``: 1/α over the claim's share of the error budget."""
    return {
        "decides": decides,
        "claim": evidence.claim,
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
