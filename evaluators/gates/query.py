"""The sums that a verdict needs, as one ClickHouse query; and its rows, as buckets.

Pure: text and parameters out, rows in. Whoever has a client runs it.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from typing import Any, TypeAlias

from shadowlane.errors import StoreError
from shadowlane.evaluators.gates.buckets import ALL, MOST_SLICES, UNTRACKED, Bucket, Moments
from shadowlane.evaluators.gates.hypotheses import Hypothesis, Observable
from shadowlane.evaluators.gates.kernel import log_sums_of_counts
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.scope import Baseline, Parameter, Query, Scope, milliseconds, moment
from shadowlane.evaluators.gates.units import (
    SETTINGS,
    digest,
    digest_sql,
    lines,
    pair_units,
    scope_parameters,
    session_units,
)

__all__ = ["Baseline", "Query", "Row", "Scope", "bucket_query", "buckets_of_rows"]

Row: TypeAlias = Mapping[str, Any]

_KNOWN = f"has({{known:Array(String)}}, {digest_sql('unit_slice')})"
_FOLLOWED = f"""if(
        unit_slice = '{ALL}' OR {_KNOWN} OR unit_slice IN (SELECT unit_slice FROM appeared),
        unit_slice,
        '{UNTRACKED}'
    )"""  # noqa: S608 — constants


def bucket_query(rules: Rules, scope: Scope, known: Iterable[str] = ()) -> Query:
    """One row for each bucket and slice that has pairs, in order of time. `buckets_of_rows` reads the rows.

    ``known`` are the slices that are followed already. New ones are, up to `MOST_SLICES`, in order of appearance; the
    others are one row `UNTRACKED`, so that an attribute with a million values harms nobody. A number outside its
    range is taken as the range's end, so that one broken scorer can't stop a roll back; one that isn't finite is
    skipped.
    """
    parameters = scope_parameters(scope)
    columns, sums, column = [], [], dict[str, str]()
    for i, observable in enumerate(rules.observables):
        x = column[observable.name] = f"x{i}"
        columns.append(f"{_observable_sql(observable, i, scope, parameters)} AS {x}")
        sums.append(_moments_sql(x, i))
    for j, hypothesis in enumerate(rules.hypotheses):
        if scope.sessions_by or not hypothesis.observable.binary:
            sums.append(_log_sums_sql(column[hypothesis.observable.name], j))
            parameters[f"bets{j}"] = list(hypothesis.bets)
            parameters[f"null{j}"] = hypothesis.null_mean
    xs = list(column.values())
    appeared, slice_sql = "", "unit_slice"
    if scope.slices:
        names = [name for name in known if name != ALL]
        parameters["known"] = [digest(name) for name in names]
        parameters["room"] = max(MOST_SLICES - len(names), 0)
        appeared, slice_sql = _appeared(scope), _FOLLOWED
    text = f"""{appeared}SELECT
    bucket_ms,
    {slice_sql} AS slice,
    sum(unit_pairs) AS pairs_n,
    min(unit_first) AS first_ms,
    max(unit_last) AS last_ms,
    {lines(sums, 4)}
FROM (
    {_units(columns, xs, scope)}
)
GROUP BY bucket_ms, slice
ORDER BY bucket_ms, slice
{SETTINGS}"""  # noqa: S608 — only names of our own are put in; what a user wrote is a parameter
    return Query(text, parameters)


def _units(columns: Sequence[str], xs: Sequence[str], scope: Scope) -> str:
    return session_units(columns, xs, scope) if scope.sessions_by else pair_units(columns, scope)


def _appeared(scope: Scope) -> str:
    """Which of the slices that are new here there is room for, in order of appearance."""
    return f"""WITH appeared AS (
    SELECT unit_slice
    FROM (
    {_units([], [], scope)}
    )
    WHERE unit_slice != '{ALL}' AND NOT {_KNOWN}
    GROUP BY unit_slice
    ORDER BY min(bucket_ms), unit_slice
    LIMIT {{room:UInt64}}
)
"""  # noqa: S608 — only names of our own are put in


def buckets_of_rows(rules: Rules, rows: Iterable[Row]) -> list[Bucket]:
    """The rows of `bucket_query`, by column name, as buckets. Raises StoreError where a sum is not a number."""
    observables, hypotheses = rules.observables, rules.hypotheses
    return [_bucket(observables, hypotheses, row) for row in rows]


def _bucket(observables: Sequence[Observable], hypotheses: Sequence[Hypothesis], row: Row) -> Bucket:
    moments = {
        observable.name: Moments(int(row[f"n{i}"]), float(row[f"total{i}"]), float(row[f"squares{i}"]))
        for i, observable in enumerate(observables)
    }
    start = moment(int(row["bucket_ms"]))
    sums: dict[str, tuple[float, ...]] = {}
    for j, hypothesis in enumerate(hypotheses):
        if f"logs{j}" not in row:
            sums[hypothesis.name] = _of_counts(hypothesis, moments[hypothesis.observable.name])
            continue
        # Over no unit at all, sumForEach gives the empty array.
        logs = tuple(map(float, row[f"logs{j}"])) or (0.0,) * len(hypothesis.bets)
        if any(map(isnan, logs)):
            raise StoreError(f"the sums of {hypothesis.name!r} in {start:%F %H:%M} are not numbers")
        sums[hypothesis.name] = logs
    return Bucket(
        start=start,
        pairs=int(row["pairs_n"]),
        first=moment(int(row["first_ms"])),
        last=moment(int(row["last_ms"])),
        moments=moments,
        log_sums=sums,
        slice=str(row["slice"]),
    )


def _of_counts(hypothesis: Hypothesis, moments: Moments) -> tuple[float, ...]:
    ones = round(moments.total)
    return log_sums_of_counts(hypothesis.bets, hypothesis.null_mean, moments.n - ones, ones)


def _observable_sql(observable: Observable, i: int, scope: Scope, parameters: dict[str, Parameter]) -> str:
    """Its value, NULL where a pair hasn't one; what it needs is put into ``parameters``."""
    expression = observable.sql
    if observable.scorer:
        expression = expression.replace("{scorer}", f"{{scorer{i}:String}}")
        parameters[f"scorer{i}"] = observable.scorer
    expression = expression.replace("{threshold}", f"{{threshold{i}:Float64}}")
    if observable.threshold is not None:
        parameters[f"threshold{i}"] = observable.threshold
    if observable.baseline:
        baseline = scope.baselines.get(observable.baseline)
        if baseline is None:
            return "CAST(NULL, 'Nullable(Float64)')"
        parameters[f"threshold{i}"] = baseline.value * observable.factor
        parameters[f"counts_from{i}"] = milliseconds(baseline.counts_from)
        expression = f"if(stored_at >= {{counts_from{i}:Int64}}, {expression}, NULL)"
    if not observable.binary:
        clipped = f"greatest({observable.lo:g}, least({observable.hi:g}, {expression}))"
        expression = f"if(isFinite({expression}), {clipped}, NULL)"
    return expression


def _moments_sql(x: str, i: int) -> str:
    return f"count({x}) AS n{i}, ifNull(sum({x}), 0) AS total{i}, ifNull(sum({x} * {x}), 0) AS squares{i}"


def _log_sums_sql(x: str, j: int) -> str:
    log = f"log1p(bet * (assumeNotNull({x}) - {{null{j}:Float64}}))"
    return f"sumForEachIf(arrayMap(bet -> {log}, {{bets{j}:Array(Float64)}}), isNotNull({x})) AS logs{j}"
