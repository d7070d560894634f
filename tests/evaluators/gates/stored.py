"""Rows of pair_log, and what evidence must make of them: the rules of buckets, slices and sessions in plain Python.

A second implementation of what `shadowlane.evaluators.gates.units` says in SQL, without any of its tricks.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from shadowlane.evaluators.gates.buckets import ALL, Bucket
from shadowlane.evaluators.gates.kernel import log_sums
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.scope import Scope, milliseconds, moment
from shadowlane.schemas import events
from shadowlane.schemas.codec import encode
from tests.evaluators.gates.building import START, Pair, moments, value


@dataclass(frozen=True)
class Row:
    """A row as it was stored ``at`` so long after START."""

    name: str
    at: timedelta
    pair: Pair = field(default_factory=Pair)
    outcome: str = "scored"
    key: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    epoch: str = "2"
    rollout: str = "assistant"
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def stored_at(self) -> int:
        return milliseconds(START + self.at)

    def line(self) -> bytes:
        """As pair_log takes it."""
        record = events.Pair(
            pair_id=f"{self.name}:{self.rollout}:{self.epoch}",
            request_id=self.name,
            rollout=self.rollout,
            epoch=self.epoch,
            stage="shadow",
            service="desk",
            route="/",
            ts=milliseconds(START),
            completed_at=milliseconds(START),
            outcome=self.outcome,
            key=self.key,
            attributes=self.attributes,
            candidate_error=self.pair.candidate_error,
            stable_error=self.pair.stable_error,
            candidate_quality=self.pair.candidate_quality,
            stable_quality=self.pair.stable_quality,
            quality_difference=self.pair.quality_difference,
            candidate_scores=self.pair.candidate_scores,
            stable_scores=self.pair.stable_scores,
        )
        return orjson.dumps(orjson.loads(encode(record)) | {"stored_at": self.stored_at} | self.fields)


def expected_buckets(rules: Rules, scope: Scope, rows: Iterable[Row]) -> list[Bucket]:
    """The closed buckets of a scope."""
    once: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row.at):
        own = (row.rollout, row.epoch, row.outcome) == (scope.rollout, scope.epoch, "scored")
        if own and not set(_slices(row, [s.partition("=")[0] for s in scope.excluded])) & set(scope.excluded):
            once.setdefault(row.name, row)
    units: dict[tuple[int, str], list[list[Row]]] = defaultdict(list)
    size, since, until = scope.bucket_s * 1000, milliseconds(scope.since), milliseconds(scope.until)
    for due, unit in _units(list(once.values()), scope):
        if since <= due < until:
            for name in dict.fromkeys((ALL, *(s for row in unit for s in _slices(row, scope.slices)))):
                part = [row for row in unit if name in (ALL, *_slices(row, scope.slices))]
                units[due // size * size, name].append(part)
    return [_bucket(rules, start, name, found) for (start, name), found in sorted(units.items())]


def _units(rows: Sequence[Row], scope: Scope) -> list[tuple[int, list[Row]]]:
    """(due, its pairs) of each unit there ever was."""
    found, sessions = [], defaultdict(list)
    for row in sorted(rows, key=lambda row: row.at):
        by = row.attributes.get(scope.sessions_by, "") if scope.sessions_by != "key" else row.key
        if not scope.sessions_by or not by or (scope.sessions_by == "key" and by == row.name):
            found.append((row.stored_at, [row]))
        else:
            sessions[by].append(row)
    for of_one in sessions.values():
        began, before = None, None
        for row in of_one:
            if before is None or row.stored_at - before >= scope.session_ms:
                began = row.stored_at
                found.append((began + scope.session_ms, []))
            before = row.stored_at
            assert began is not None
            if row.stored_at < began + scope.session_ms:
                found[-1][1].append(row)
    return found


def _slices(row: Row, attributes: Iterable[str]) -> list[str]:
    return [f"{name}={row.attributes[name]}" for name in attributes if row.attributes.get(name)]


def _bucket(rules: Rules, start: int, name: str, units: Sequence[Sequence[Row]]) -> Bucket:
    seen: dict[str, list[float]] = {}
    for observable in rules.observables:
        of_units = ([x for row in unit if (x := value(observable, row.pair)) is not None] for unit in units)
        seen[observable.name] = [sum(xs) / len(xs) for xs in of_units if xs]
    times = [moment(row.stored_at) for unit in units for row in unit]
    return Bucket(
        start=moment(start),
        pairs=len(times),
        first=min(times),
        last=max(times),
        moments={observable: moments(xs) for observable, xs in seen.items()},
        log_sums={h.name: log_sums(h.bets, h.null_mean, seen[h.observable.name]) for h in rules.hypotheses},
        slice=name,
    )


def scope(minutes: float, **settings: Any) -> Scope:
    """From START on, so many minutes."""
    return Scope("assistant", "2", START, START + timedelta(minutes=minutes), **settings)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)
