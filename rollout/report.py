"""The report on a rollout: the verdict, every metric of both arms, and where every request went.

``build`` reads the store's documented views and nothing else, so that an analyst can check each number. Its
result is what ``shadowlane report --json`` prints; docs/report.md describes it, and it only ever grows.
"""

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shadowlane.evaluators.gates.estimates import SliceReport, slice_reports
from shadowlane.evaluators.gates.observables import QUALITY
from shadowlane.evaluators.gates.scope import moment
from shadowlane.evaluators.gates.verdict import Verdict
from shadowlane.evaluators.scorers import ScorerSet
from shadowlane.rollout.ledger import RESOLVED, Entry, Ledger, add_up
from shadowlane.rollout.measured import (
    Metric,
    cost_of,
    failures,
    left_out,
    messages,
    scored,
    shown_evidence,
    tested,
)
from shadowlane.rollout.models import answered_as
from shadowlane.rollout.next_step import next_step
from shadowlane.rollout.noise import Noise, read_noise
from shadowlane.rollout.sessions import Sessions, read_sessions
from shadowlane.rollout.standing import read_standing
from shadowlane.rollout.state import Entry as LogEntry
from shadowlane.rollout.state import Phase
from shadowlane.rollout.store import Rows
from shadowlane.schemas.config import Rollout, Settings


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
    noise: Noise | None = None
    models: tuple[dict[str, Any], ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    sessions: Sessions | None = None


def build(rows: Rows, settings: Settings, rollout: Rollout, now: datetime) -> Report:
    """The report on the present epoch of ``rollout``. Raises StoreError."""
    # The ledger first: while pairs come in, what is read after it has all that it says was scored.
    ledger = read_ledger(rows, settings, rollout, now)
    standing = read_standing(rows, settings, rollout, now)
    verdict, state = standing.verdict, standing.state
    if state is not None and state.phase in (Phase.COMPLETED, Phase.SETTLED):
        verdict = replace(verdict, promote=())  # the guard's evidence: nothing is to be shown any more
    metrics = {m.name: tested(m, tests, verdict) for m, tests in standing.shown}
    if not ScorerSet.from_rollout(rollout, settings.prices).grades_both_sides:
        # Agreement with the stable answer grades the candidate alone: the two means are of different things.
        metrics[QUALITY] = replace(metrics[QUALITY], stable=None)
    scores = scored(rows, rollout)
    for name, metric in scores.items():
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
        failures=failures(rows, rollout),
        ledger=_ledger_document(ledger),
        phase=state.phase.value if state else None,
        traffic_pct=state.traffic_pct if state else 0.0,
        entered=moment(state.entered) if state else None,
        decision=_decision(standing.decided) if standing.decided else None,
        next=next_step(rollout, state) if state else "",
        slices=tuple(_slice(one, verdict) for one in slice_reports(standing.rules, standing.fold)),
        excluded=state.excluded if state else (),
        coverage=ledger.scored / ledger.eligible if ledger.eligible else None,
        cost=cost_of(scores.get("cost")),
        noise=read_noise(rows, rollout, standing.rules.success_criteria),
        models=answered_as(rows, rollout.name, rollout.epoch),
        left_out=left_out(rows, rollout),
        messages=messages(rows, rollout),
        sessions=read_sessions(rows, rollout),
    )


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


def _slice(one: SliceReport, verdict: Verdict) -> dict[str, Any]:
    claims = [(e, "promote") for e in verdict.promote] + [(e, "roll_back") for e in verdict.alarms]
    return {
        "slice": one.name,
        "pairs": one.pairs,
        "share": one.share,
        "metrics": {m.name: asdict(tested(m, (), verdict)) for m in one.metrics},
        "evidence": [shown_evidence(e, decides) for e, decides in claims if e.slice == one.name],
    }


def _decision(entry: LogEntry) -> dict[str, Any]:
    return {
        "seq": entry.state.seq,
        "event": entry.event,
        "actor": entry.actor,
        "reason": entry.reason,
        "at": moment(entry.state.at),
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
        "causes": [shown_evidence(cause, "roll_back") for cause in latch.leading],
    }


def _ledger_document(ledger: Ledger) -> dict[str, Any]:
    names = ("eligible", *RESOLVED, "in_flight", "missing", "excess", "unreadable")
    document: dict[str, Any] = {name: getattr(ledger, name) for name in names}
    return document | {"adds_up": ledger.adds_up, "reasons": ledger.reasons}


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
