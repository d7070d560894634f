"""What a report says of each metric: means of both arms, their difference, and the tests on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

from shadowlane.evaluators.gates.buckets import Moments
from shadowlane.evaluators.gates.estimates import Estimate, MetricReport
from shadowlane.evaluators.gates.evidence import Evidence
from shadowlane.evaluators.gates.expressions import comparisons, parse_trigger
from shadowlane.evaluators.gates.hypotheses import ERRORS_WORSE
from shadowlane.evaluators.gates.intervals import interval
from shadowlane.evaluators.gates.verdict import Verdict
from shadowlane.evaluators.scorers import units
from shadowlane.rollout.store import Rows
from shadowlane.schemas.config import Rollout

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
MESSAGES = """
SELECT kind, argMax(message, at) AS newest
FROM
(
    SELECT candidate_error AS kind, candidate_error_message AS message, ts AS at
    FROM pairs WHERE rollout = {rollout:String} AND epoch = {epoch:String} AND candidate_error != ''
    UNION ALL
    SELECT reason, if(candidate_error = reason, candidate_error_message, stable_error_message), ts
    FROM abstained WHERE rollout = {rollout:String} AND epoch = {epoch:String}
)
WHERE message != ''
GROUP BY kind
ORDER BY kind
"""
LEFT_OUT = """
SELECT arrayJoin(left_out) AS parameter, count() AS pairs
FROM pairs
WHERE rollout = {rollout:String} AND epoch = {epoch:String}
GROUP BY parameter
ORDER BY pairs DESC, parameter
"""


def scored(rows: Rows, rollout: Rollout) -> dict[str, Metric]:
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


def tested(metric: MetricReport, tests: tuple[str, ...], verdict: Verdict) -> Metric:
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
            *(shown_evidence(e, "promote") for e in verdict.promote if _is_of(e, tests)),
            *(shown_evidence(e, "roll_back") for e in verdict.alarms if _is_of(e, tests)),
        ),
    )


def failures(rows: Rows, rollout: Rollout) -> dict[str, int]:
    found = rows(FAILURES, {"rollout": rollout.name, "epoch": rollout.epoch})
    return {str(row["error"]): int(row["pairs"]) for row in found}


def messages(rows: Rows, rollout: Rollout) -> dict[str, str]:
    """What came with the newest failure of the candidate of each kind, and with the newest pair that abstained for
    each reason. A model's server may have written it."""
    found = rows(MESSAGES, {"rollout": rollout.name, "epoch": rollout.epoch})
    return {str(row["kind"]): str(row["newest"]) for row in found}


def left_out(rows: Rows, rollout: Rollout) -> dict[str, int]:
    """Scored pairs by what the arm that did not serve was asked without; a pair counts for each parameter."""
    found = rows(LEFT_OUT, {"rollout": rollout.name, "epoch": rollout.epoch})
    return {str(row["parameter"]): int(row["pairs"]) for row in found}


def cost_of(metric: Metric | None) -> dict[str, float | None]:
    """What both arms cost over the epoch's pairs, in USD; null where no price is known."""

    def total(mean: float | None) -> float | None:
        return None if metric is None or mean is None else mean * metric.pairs

    return {
        "stable_usd": total(metric.stable if metric else None),
        "candidate_usd": total(metric.candidate if metric else None),
    }


def shown_evidence(evidence: Evidence, decides: str) -> dict[str, Any]:
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


def _is_of(evidence: Evidence, tests: tuple[str, ...]) -> bool:
    """Whether a claim, simple or compound, looks at the metric of these tests. A slice's is shown with the slice."""
    if evidence.slice:
        return False
    if evidence.name in tests:
        return True
    if evidence.name in RELATIVE:
        return False
    return any(str(comparison) in tests for comparison in comparisons(parse_trigger(evidence.name)))
