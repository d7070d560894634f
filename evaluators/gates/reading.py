"""The evidence of a stage, read from the store: what is new since the last time, folded onto what was known."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeAlias

from shadowlane.evaluators.gates.baselines import BASELINE_PAIRS, frozen_query, sample_query, wanted
from shadowlane.evaluators.gates.fold import Fold, fold
from shadowlane.evaluators.gates.query import bucket_query, buckets_of_rows
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.scope import Baseline, Query, Scope, closed_until, moment

__all__ = ["Rows", "Stored", "advance", "closed_until", "stored"]

Rows: TypeAlias = Callable[[str, Mapping[str, Any]], list[dict[str, Any]]]
"""Runs one query with ``{name:Type}`` parameters, gives its rows by column. Raises StoreError."""

_MOST_BUCKETS = 240
"""How many buckets are read at a time, so that a week's fold takes no more memory than four hours'."""


_STORED = """
SELECT min(stored_at) AS first_ms, toUnixTimestamp64Milli(now64(3)) AS now_ms
FROM pair_log
WHERE rollout = {rollout:String} AND epoch = {epoch:String} AND outcome = 'scored'
HAVING count() > 0
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """When the first scored pair of an epoch was stored, and what time it is now, by the store's clock."""

    first: datetime
    now: datetime


def stored(rows: Rows, rollout: str, epoch: str) -> Stored | None:
    """None where no pair was scored yet. Raises StoreError."""
    found = rows(_STORED, {"rollout": rollout, "epoch": epoch})
    return Stored(moment(int(found[0]["first_ms"])), moment(int(found[0]["now_ms"]))) if found else None


def advance(rows: Rows, rules: Rules, scope: Scope, state: Fold, until: datetime) -> Fold:
    """``state`` with all that was stored from ``state.until`` up to ``until`` (`closed_until`) folded in.

    Of ``scope`` the times and the baselines are not looked at: they are the fold's. In how many calls it comes to
    ``until`` changes nothing. ``until`` may lie within an open bucket, for display; what that gives is not to be
    gone on from.

    Raises:
        StoreError: the store doesn't answer, or gives no numbers.
        ValueError: the fold was started with slices, and the scope has none, or the other way round.
    """
    if not state.slices:
        state = replace(state, sliced=bool(scope.slices))
    elif state.sliced != bool(scope.slices):
        raise ValueError("a fold goes on with slices or without as it began: start a new one")
    while state.until < until:
        end = min(state.until + timedelta(seconds=_MOST_BUCKETS * scope.bucket_s), until)
        state = _with_baselines(rows, rules, scope, state, end)
        part = replace(scope, since=state.until, until=end, baselines=state.baselines)
        query = bucket_query(rules, part, state.slices)
        state = fold(rules, state, buckets_of_rows(rules, _ask(rows, query)), end)
    return state


def _with_baselines(rows: Rows, rules: Rules, scope: Scope, state: Fold, end: datetime) -> Fold:
    """With the pairs up to ``end`` counted for the baselines that are still open, and those frozen that have enough."""
    missing = [sample for sample in wanted(rules) if sample.name not in state.baselines]
    if not missing:
        return state
    baselines, sampled = dict(state.baselines), dict(state.sampled)
    part = replace(scope, since=state.until, until=end)
    counts = _ask(rows, sample_query(missing, part))
    for i, sample in enumerate(missing):
        seen = sampled.pop(sample.name, 0)
        for row in counts:
            seen += int(row[f"n{i}"])
            if seen >= BASELINE_PAIRS:
                counts_from = moment(int(row["bucket_ms"])) + timedelta(seconds=scope.bucket_s)
                whole = replace(scope, since=state.since, until=counts_from)
                (found,) = _ask(rows, frozen_query(sample, whole))
                baselines[sample.name] = Baseline(float(found["value"]), counts_from)
                break
        else:
            sampled[sample.name] = seen
    return replace(state, baselines=MappingProxyType(baselines), sampled=MappingProxyType(sampled))


def _ask(rows: Rows, query: Query) -> list[dict[str, Any]]:
    return rows(query.text, query.parameters)
