"""The sums that a verdict needs, as one ClickHouse query; and its rows, as buckets.

Pure: text and parameters out, rows in. Whoever has a client runs it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isnan
from typing import Any, TypeAlias

from shadowlane.errors import StoreError
from shadowlane.evaluators.gates.buckets import Bucket, Moments
from shadowlane.evaluators.gates.hypotheses import Hypothesis
from shadowlane.evaluators.gates.kernel import log_sums_of_counts
from shadowlane.evaluators.gates.rules import Rules

Parameter: TypeAlias = str | float | list[float]
Row: TypeAlias = Mapping[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Query:
    """A statement, and its parameters as ClickHouse takes them (``{name:Type}`` in the text)."""

    text: str
    parameters: dict[str, Parameter]


def close_of_buckets(watermark: datetime) -> datetime:
    """The end of the last minute that is closed once everything up to ``watermark`` is stored."""
    return watermark.replace(second=0, microsecond=0)


def bucket_query(
    rules: Rules, rollout: str, epoch: str, closed_before: datetime, view: str = "pairs"
) -> Query:
    """One row for each minute before ``closed_before`` that has scored pairs, in order of time.

    ``closed_before`` is aware, a whole minute: see `close_of_buckets`. `buckets_of_rows` reads the rows. The
    view must have each pair once: a pair counted twice breaks the test. A number outside its range is taken
    as the range's end, so that one broken scorer can't stop a roll back; one that isn't finite is skipped.
    """
    moment = closed_before.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    parameters: dict[str, Parameter] = {"rollout": rollout, "epoch": epoch, "closed_before": moment}
    inner, outer, column = ["completed_at"], [], dict[str, str]()
    for i, observable in enumerate(rules.observables):
        x = column[observable.name] = f"x{i}"
        expression = observable.sql
        if observable.scorer:
            expression = expression.replace("{scorer}", f"{{scorer{i}:String}}")
            parameters[f"scorer{i}"] = observable.scorer
        if not observable.binary:
            clipped = f"greatest({observable.lo:g}, least({observable.hi:g}, {expression}))"
            expression = f"if(isFinite({expression}), {clipped}, NULL)"
        inner.append(f"{expression} AS {x}")
        outer.append(_moments_sql(x, i))
    for j, hypothesis in enumerate(rules.hypotheses):
        if not hypothesis.observable.binary:
            outer.append(_log_sums_sql(column[hypothesis.observable.name], j))
            parameters[f"bets{j}"] = list(hypothesis.bets)
            parameters[f"null{j}"] = hypothesis.null_mean
    text = f"""SELECT
    toUnixTimestamp(toStartOfMinute(completed_at, 'UTC')) AS bucket_s,
    count() AS pairs_n,
    toUnixTimestamp64Milli(min(completed_at)) AS first_ms,
    toUnixTimestamp64Milli(max(completed_at)) AS last_ms,
    {_lines(outer, 4)}
FROM (
    SELECT
        {_lines(inner, 8)}
    FROM {view}
    WHERE rollout = {{rollout:String}} AND epoch = {{epoch:String}}
        AND completed_at < {{closed_before:DateTime64(3, 'UTC')}}
)
GROUP BY bucket_s
ORDER BY bucket_s"""  # noqa: S608 — only names of our own are put in; what a user wrote is a parameter
    return Query(text, parameters)


def buckets_of_rows(rules: Rules, rows: Iterable[Row]) -> list[Bucket]:
    """The rows of `bucket_query`, by column name, as buckets.

    Raises StoreError where they are out of order, or a sum is not a number.
    """
    buckets = [_bucket(rules, row) for row in rows]
    for earlier, later in pairwise(buckets):
        if earlier.start >= later.start:
            raise StoreError(
                f"the minute {later.start:%F %H:%M} came after {earlier.start:%F %H:%M}; order by time"
            )
    return buckets


def _bucket(rules: Rules, row: Row) -> Bucket:
    moments = {
        observable.name: Moments(int(row[f"n{i}"]), float(row[f"total{i}"]), float(row[f"squares{i}"]))
        for i, observable in enumerate(rules.observables)
    }
    start = _EPOCH + timedelta(seconds=int(row["bucket_s"]))
    sums: dict[str, tuple[float, ...]] = {}
    for j, hypothesis in enumerate(rules.hypotheses):
        if hypothesis.observable.binary:
            sums[hypothesis.name] = _of_counts(hypothesis, moments[hypothesis.observable.name])
        else:
            # Over no pair at all, sumForEach gives the empty array.
            logs = tuple(map(float, row[f"logs{j}"])) or (0.0,) * len(hypothesis.bets)
            if any(map(isnan, logs)):
                raise StoreError(f"the sums of {hypothesis.name!r} in {start:%F %H:%M} are not numbers")
            sums[hypothesis.name] = logs
    return Bucket(
        start=start,
        pairs=int(row["pairs_n"]),
        first=_EPOCH + timedelta(milliseconds=int(row["first_ms"])),
        last=_EPOCH + timedelta(milliseconds=int(row["last_ms"])),
        moments=moments,
        log_sums=sums,
    )


def _of_counts(hypothesis: Hypothesis, moments: Moments) -> tuple[float, ...]:
    ones = round(moments.total)
    return log_sums_of_counts(hypothesis.bets, hypothesis.null_mean, moments.n - ones, ones)


def _moments_sql(x: str, i: int) -> str:
    return f"count({x}) AS n{i}, ifNull(sum({x}), 0) AS total{i}, ifNull(sum({x} * {x}), 0) AS squares{i}"


def _log_sums_sql(x: str, j: int) -> str:
    log = f"log1p(bet * (assumeNotNull({x}) - {{null{j}:Float64}}))"
    return f"sumForEachIf(arrayMap(bet -> {log}, {{bets{j}:Array(Float64)}}), isNotNull({x})) AS logs{j}"


def _lines(items: list[str], indent: int) -> str:
    return (",\n" + " " * indent).join(items)
