"""The evidence of a stage after its closed buckets: a state that grows by one bucket at a time, and can be kept.

Buckets are folded in order of time. However they are cut into calls of `fold`, the result is the same to the last
bit, and what a call costs does not depend on how many buckets came before.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import groupby
from math import inf
from types import MappingProxyType
from typing import Any

import orjson

from shadowlane.errors import StoreError
from shadowlane.evaluators.gates.buckets import ALL, MOST_SLICES, UNTRACKED, Bucket, Moments
from shadowlane.evaluators.gates.evidence import Evidence, EvidenceRow, Latch, latch, rows
from shadowlane.evaluators.gates.intervals import Seen
from shadowlane.evaluators.gates.kernel import AT_ONCE, SPREAD, Schedule, Wealth
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.scope import Baseline, Scope
from shadowlane.evaluators.gates.slices import SliceFold

_FORMAT = 1  # raised when a fold that was kept can't be gone on from any more: then it is computed again


@dataclass(frozen=True, slots=True)
class Fold:
    """The evidence of a stage from ``since`` on, with every bucket before ``until``.

    ``pairs``, ``first`` and ``last`` are of all traffic: how many pairs, and when the first and the last of them were
    stored. ``slices`` are in order of appearance, all traffic (`ALL`) first; none at all before the first pair.
    ``sliced`` says whether slices are looked at, and so whether half of the error budget is theirs, from the start.
    ``untracked`` counts the pairs of slices that came after the first `MOST_SLICES`, once for each such slice.
    ``baselines`` are those frozen so far, ``sampled`` counts the pairs seen for each that is not frozen yet.
    """

    since: datetime
    until: datetime
    sliced: bool = False
    pairs: int = 0
    first: datetime | None = None
    last: datetime | None = None
    slices: Mapping[str, SliceFold] = field(default_factory=lambda: MappingProxyType({}))
    untracked: int = 0
    baselines: Mapping[str, Baseline] = field(default_factory=lambda: MappingProxyType({}))
    sampled: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    latch: Latch | None = None

    @classmethod
    def start(cls, since: datetime, *, sliced: bool = False) -> "Fold":
        """Before the first bucket. ``since`` is the start of a bucket, aware."""
        return cls(since, since, sliced)

    def whole(self, rules: Rules) -> SliceFold:
        """All traffic."""
        return self.slices.get(ALL) or SliceFold.start(rules, ALL)

    def major(self, shares: Mapping[str, float]) -> tuple[SliceFold, ...]:
        """The slices of these attributes that have at least that share of the pairs so far."""
        return tuple(
            state
            for name, state in self.slices.items()
            for attribute, share in shares.items()
            if name.startswith(f"{attribute}=") and state.pairs >= share * self.pairs
        )

    def dump(self) -> str:
        """As one line of JSON; `load` gives the same fold again."""
        document = {
            "format": _FORMAT,
            "since": self.since,
            "until": self.until,
            "sliced": self.sliced,
            "pairs": self.pairs,
            "first": self.first,
            "last": self.last,
            "slices": [_slice_document(state) for state in self.slices.values()],
            "untracked": self.untracked,
            "baselines": dict(self.baselines),
            "sampled": dict(self.sampled),
            "latch": self.latch,
        }
        return orjson.dumps(document).decode()

    @classmethod
    def load(cls, text: str) -> "Fold":
        """What `dump` wrote. Raises StoreError where it is nothing of the kind, or of another version."""
        try:
            document = orjson.loads(text)
            if document["format"] != _FORMAT:
                raise StoreError(
                    f"the fold is of format {document['format']}, not {_FORMAT}: compute it again"
                )
            return _of_document(document)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as exc:
            raise StoreError(f"the fold can't be read, compute it again: {exc!r}") from exc


def fold(rules: Rules, state: Fold, buckets: Iterable[Bucket], until: datetime) -> Fold:
    """``state`` with ``buckets`` folded in, all those between ``state.until`` and ``until``, in order of time.

    Buckets of one time may be in any order; the one of all traffic is among them. A roll back is latched: the first
    bucket at which the causes' evidence together reaches 1/α decides, and no later one takes it back.

    Raises ValueError where a bucket is out of order, outside that time, or of a slice that nobody asked for.
    """
    slices, latched = dict(state.slices), state.latch
    guesses = {observable.name: observable.guess for observable in rules.observables}
    first, last, untracked, done = state.first, state.last, state.untracked, state.until
    for start, together in groupby(buckets, key=lambda bucket: bucket.start):
        if not done <= start < until:
            raise ValueError(
                f"a bucket of {start.isoformat()}, where those from {done.isoformat()} to {until.isoformat()} "
                "are to come in order of time"
            )
        done = start + timedelta(microseconds=1)
        for bucket in sorted(together, key=lambda bucket: bucket.slice):
            if bucket.slice != ALL and not state.sliced:
                raise ValueError(f"a bucket of {bucket.slice!r}, and the fold was started without slices")
            if bucket.slice == UNTRACKED or (bucket.slice not in slices and len(slices) > MOST_SLICES):
                untracked += bucket.pairs
                continue
            before = slices.get(bucket.slice) or SliceFold.start(rules, bucket.slice)
            slices[bucket.slice] = before.after(rules.causes, guesses, bucket)
            if bucket.slice == ALL:
                first = bucket.first if first is None else min(first, bucket.first)
                last = bucket.last if last is None else max(last, bucket.last)
        if ALL not in slices:
            raise ValueError(f"at {start.isoformat()} there are slices, and not all traffic")
        if latched is None:
            latched = latch(rules, slices, sliced=state.sliced, start=start)
    return replace(
        state,
        until=max(until, state.until),
        pairs=slices[ALL].pairs if slices else 0,
        first=first,
        last=last,
        slices=MappingProxyType(slices),
        untracked=untracked,
        latch=latched,
    )


def evidence_rows(rules: Rules, state: Fold) -> list[EvidenceRow]:
    """Every claim of every slice as it stands, for the table ``evidence_log``."""
    return rows(rules, state.slices, sliced=state.sliced)


def digest(rules: Rules, scope: Scope) -> str:
    """Twelve hex digits of all that a fold rests on: of another one, a fold that was kept is not to be gone on from."""
    content = [
        _FORMAT,
        rules.digest,
        scope.bucket_s,
        scope.slices,
        scope.sessions_by,
        scope.session_minutes,
        sorted(scope.excluded),
    ]
    return sha256(orjson.dumps(content)).hexdigest()[:12]


def _slice_document(state: SliceFold) -> dict[str, Any]:
    return {
        "name": state.name,
        "pairs": state.pairs,
        "gains": {name: _wealth_document(wealth) for name, wealth in state.gains.items()},
        "alarms": {name: _wealth_document(wealth) for name, wealth in state.alarms.items()},
        "seen": {
            name: [seen.moments.n, seen.moments.total, seen.moments.squares, seen.spread]
            for name, seen in state.seen.items()
        },
        "log_alarm": state.log_alarm,
    }


def _wealth_document(wealth: Wealth) -> list[Any]:
    # JSON has no infinity: null stands for log 0.
    return [wealth.buckets, [None if log == -inf else log for log in wealth.log_wealth]]


def _of_document(document: Mapping[str, Any]) -> Fold:
    kept = document["latch"]
    return Fold(
        since=datetime.fromisoformat(document["since"]),
        until=datetime.fromisoformat(document["until"]),
        sliced=bool(document["sliced"]),
        pairs=int(document["pairs"]),
        first=_moment(document["first"]),
        last=_moment(document["last"]),
        slices=MappingProxyType({one["name"]: _slice(one) for one in document["slices"]}),
        untracked=int(document["untracked"]),
        baselines=MappingProxyType(
            {
                name: Baseline(one["value"], datetime.fromisoformat(one["counts_from"]))
                for name, one in document["baselines"].items()
            }
        ),
        sampled=MappingProxyType(dict(document["sampled"])),
        latch=kept
        and Latch(
            since=datetime.fromisoformat(kept["since"]),
            pairs=kept["pairs"],
            e=kept["e"],
            leading=tuple(Evidence(**one) for one in kept["leading"]),
            alone=kept["alone"],
        ),
    )


def _slice(document: Mapping[str, Any]) -> SliceFold:
    return SliceFold(
        name=document["name"],
        pairs=document["pairs"],
        gains={name: _wealth(AT_ONCE, one) for name, one in document["gains"].items()},
        alarms={name: _wealth(SPREAD, one) for name, one in document["alarms"].items()},
        seen={
            name: Seen(Moments(n, total, squares), spread)
            for name, (n, total, squares, spread) in document["seen"].items()
        },
        log_alarm=document["log_alarm"],
    )


def _wealth(schedule: Schedule, document: list[Any]) -> Wealth:
    buckets, logs = document
    return Wealth(schedule, tuple(-inf if log is None else log for log in logs), buckets)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
