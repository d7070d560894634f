"""What recent traffic is like, from the store: for `shadowlane plan` and `shadowlane simulate`.

The pairs of the rollout's present epoch; without any, those of its latest one before, whatever candidate that was; and
without those too, the requests that the mirrors counted, of which nothing is known but how many there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from shadowlane.evaluators.check import rules_of
from shadowlane.evaluators.gates.buckets import ALL, NO_MOMENTS, Moments
from shadowlane.evaluators.gates.fold import Fold
from shadowlane.evaluators.gates.hypotheses import Observable
from shadowlane.evaluators.gates.observables import Metric
from shadowlane.evaluators.gates.reading import Rows, advance
from shadowlane.evaluators.gates.scope import EPOCH, Scope, milliseconds, moment
from shadowlane.rollout.simulation.baseline import Baseline, Level, Sessions, Share, level_of
from shadowlane.schemas.config import Rollout

WINDOW = timedelta(hours=24)
"""How far back is looked, from the last pair on."""

_BUCKET = timedelta(minutes=15)
_MOST_COMBINATIONS = 24

EPOCHS = """
SELECT epoch, min(stored_at) AS first_ms, max(stored_at) AS last_ms
FROM pair_log
WHERE rollout = {rollout:String} AND outcome = 'scored'
GROUP BY epoch
ORDER BY epoch = {epoch:String} DESC, last_ms DESC
LIMIT 1
"""
COMBINATIONS = """
SELECT slices, count() AS n
FROM (
    SELECT
        mapUpdate(attributes, map('service', service, 'route', route)) AS all,
        arrayMap(a -> concat(a, '=', all[a]), arrayFilter(a -> all[a] != '', {by:Array(String)})) AS slices
    FROM pair_log
    WHERE rollout = {rollout:String} AND epoch = {epoch:String} AND outcome = 'scored'
        AND stored_at >= {since_ms:Int64} AND stored_at < {until_ms:Int64}
)
GROUP BY slices
ORDER BY n DESC, slices
LIMIT {most:UInt32}
"""
# Of each mirror's cell the largest count is the last one.
REQUESTS = """
SELECT sum(largest) AS requests, min(minute) AS first_ms, max(minute) AS last_ms
FROM (
    SELECT minute, max(count) AS largest
    FROM ledger_log
    WHERE row = 'mirrored' AND ({service:String} IN ('', service)) AND ({route:String} IN ('', route))
        AND minute >= {since_ms:Int64}
    GROUP BY service, route, minute, reason, instance
)
HAVING requests > 0
"""


@dataclass(frozen=True, slots=True)
class Recent:
    """Traffic as `Baseline` describes it, of all of it and of each slice (``levels``), with ``pairs`` seen of each.

    ``epoch`` is the one that it was taken from, "" where there are no pairs.
    """

    baseline: Baseline
    epoch: str = ""
    since: datetime | None = None
    until: datetime | None = None
    pairs: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    levels: Mapping[str, Level] = field(default_factory=lambda: MappingProxyType({}))


def recent(rows: Rows, rollout: Rollout, now: datetime) -> Recent | None:
    """None where the store knows of no traffic at all. Raises StoreError."""
    found = rows(EPOCHS, {"rollout": rollout.name, "epoch": rollout.epoch})
    if not found:
        return _from_ledger(rows, rollout, now)
    epoch, first, last = (
        str(found[0]["epoch"]),
        moment(int(found[0]["first_ms"])),
        moment(int(found[0]["last_ms"])),
    )
    until = _start(last) + _BUCKET
    since = max(_start(first), until - WINDOW)
    scope = Scope(rollout.name, epoch, since, until, round(_BUCKET.total_seconds()), _attributes(rollout))
    seen, pairs, metrics, tested = _moments(rows, rollout, scope)
    hours = max((last - max(first, since)).total_seconds() / 3600, 1 / 60)
    which = "this epoch" if epoch == rollout.epoch else f"an earlier epoch ({epoch})"
    levels = {name: level_of(moments, metrics, tested) for name, moments in seen.items()}
    baseline = Baseline(
        f"{pairs[ALL]:,} pairs of {which}, from {max(first, since):%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC",
        pairs[ALL] / hours,
        levels[ALL],
        _shares(rows, rollout, scope),
        _sessions(rows, rollout, scope, seen[ALL], pairs[ALL]),
    )
    return Recent(baseline, epoch, since, until, pairs, levels)


def _from_ledger(rows: Rows, rollout: Rollout, now: datetime) -> Recent | None:
    match = rollout.match
    parameters = {
        "service": match.service or "",
        "route": match.route or "",
        "since_ms": milliseconds(now - WINDOW),
    }
    found = rows(REQUESTS, parameters)
    if not found:
        return None
    first, last = moment(int(found[0]["first_ms"])), moment(int(found[0]["last_ms"])) + timedelta(minutes=1)
    requests = int(found[0]["requests"])
    per_hour = requests / ((last - first).total_seconds() / 3600) * rollout.sampling.rate
    matched = ", of which only those count that match its attributes" if match.attributes else ""
    source = (
        f"no pairs yet; {requests:,} mirrored requests from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
        f"{matched}; error rates, qualities and their spread are assumed"
    )
    return Recent(Baseline(source, per_hour), since=first, until=last)


def _moments(
    rows: Rows, rollout: Rollout, scope: Scope
) -> tuple[dict[str, dict[str, Moments]], dict[str, int], list[Metric], list[Observable]]:
    """The moments of every number that a stage's rules look at, by slice; and what these numbers are."""
    seen: dict[str, dict[str, Moments]] = {ALL: {}}
    pairs: dict[str, int] = {ALL: 0}
    metrics: dict[str, Metric] = {}
    tested: dict[str, Observable] = {}
    for stage in rollout.stages:
        rules = rules_of(rollout, stage)
        new = {h.observable.name: h.observable for h in rules.hypotheses if h.observable.name not in tested}
        if not new:
            continue
        metrics |= {metric.name: metric for metric in rules.metrics}
        tested |= new
        state = advance(rows, rules, scope, Fold.start(scope.since, sliced=bool(scope.slices)), scope.until)
        for name, one in state.slices.items():
            pairs[name] = one.pairs
            seen.setdefault(name, {}).update({o: found.moments for o, found in one.seen.items()})
    return seen, pairs, list(metrics.values()), list(tested.values())


def _shares(rows: Rows, rollout: Rollout, scope: Scope) -> tuple[Share, ...]:
    if not scope.slices:
        return (Share((), 1.0),)
    parameters = {
        "rollout": rollout.name,
        "epoch": scope.epoch,
        "by": list(scope.slices),
        "since_ms": milliseconds(scope.since),
        "until_ms": milliseconds(scope.until),
        "most": _MOST_COMBINATIONS,
    }
    found = rows(COMBINATIONS, parameters)
    total = sum(int(row["n"]) for row in found)
    return tuple(Share(tuple(map(str, row["slices"])), int(row["n"]) / total) for row in found)


def _sessions(
    rows: Rows, rollout: Rollout, scope: Scope, seen: Mapping[str, Moments], pairs: int
) -> Sessions | None:
    """How long sessions are, and how alike: a session's mean varies as σ²(ρ + (1 − ρ)/n)."""
    if rollout.sessions is None:
        return None
    by_session = replace(
        scope, slices=(), sessions_by=rollout.sessions.by, session_minutes=rollout.sessions.minutes
    )
    rules = rules_of(rollout, rollout.stages[0])
    state = advance(rows, rules, by_session, Fold.start(scope.since), scope.until)
    if not state.pairs:
        return None
    means = state.slices[ALL].seen
    units = means["candidate_error"].moments.n
    length = state.pairs / units
    number = "quality_difference" if seen.get("quality_difference", NO_MOMENTS).n else "candidate_quality"
    single = seen.get(number, NO_MOMENTS).variance
    if length <= 1 or not single:
        return Sessions(length, 0.0)
    apart = means[number].moments.variance / single
    return Sessions(length, min(max((apart - 1 / length) / (1 - 1 / length), 0.0), 1.0))


def _attributes(rollout: Rollout) -> tuple[str, ...]:
    return tuple(by.attribute for by in rollout.slices)


def _start(at: datetime) -> datetime:
    """The start of the bucket that ``at`` is in."""
    return EPOCH + (at - EPOCH) // _BUCKET * _BUCKET
