"""A stage's evidence, kept in the store: each poll goes on from the last one's fold, and folds what is new.

What a poll costs does not grow with the stage's age: it reads the pairs that were stored since the last one, and
after a restart one row more. The fold is a function of the pairs alone: :meth:`Keeper.recompute` folds all of them
again, to the same numbers.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from shadowlane.errors import StoreError
from shadowlane.evaluators.check import rules_of
from shadowlane.evaluators.gates.fold import Fold, digest, evidence_rows
from shadowlane.evaluators.gates.reading import advance
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.scope import EPOCH, Scope, closed_until, milliseconds, moment
from shadowlane.evaluators.gates.verdict import Verdict, decide
from shadowlane.rollout.machine import stage_of
from shadowlane.rollout.state import Phase, State
from shadowlane.rollout.store import Rows, Store
from shadowlane.schemas.config import Controller, Rollout

log = logging.getLogger("shadowlane.controller")

_FOLD = """
SELECT state FROM fold_log
WHERE rollout = {rollout:String} AND epoch = {epoch:String} AND since = {since:Int64} AND rules = {rules:String}
ORDER BY until DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a state's evidence is of: its rules, and which pairs count."""

    rollout: Rollout
    state: State
    rules: Rules
    scope: Scope

    @classmethod
    def of(cls, rollout: Rollout, state: State, controller: Controller) -> "Stage":
        """Raises ConfigError: the rollout's rules can't be read."""
        sessions = rollout.sessions
        # Where buckets were of another length as the stage began, it begins with the first whole one.
        size = timedelta(seconds=controller.bucket_s)
        since = EPOCH - (EPOCH - moment(state.since)) // size * size
        return cls(
            rollout,
            state,
            rules_of(rollout, stage_of(rollout, state)),
            Scope(
                rollout=state.rollout,
                epoch=state.epoch,
                since=since,
                until=since,
                bucket_s=controller.bucket_s,
                slices=tuple(by.attribute for by in rollout.slices),
                sessions_by=sessions.by if sessions else "",
                session_minutes=sessions.minutes if sessions else 0.0,
                excluded=state.excluded,
            ),
        )

    def verdict(self, fold: Fold, now: int) -> Verdict:
        """What the fold says at ``now`` (Unix milliseconds)."""
        state = self.state
        return decide(
            self.rules,
            fold,
            started=moment(state.entered),
            now=moment(now),
            covered_from=moment(state.first_pair) if state.first_pair is not None else None,
            major={by.attribute: by.major_share for by in self.rollout.slices},
            guard=state.phase is not Phase.RUNNING,
            unit="sessions" if self.rollout.sessions else "pairs",
        )


class Keeper:
    """The folds of all rollouts, in memory and in the store."""

    def __init__(self, store: Store, controller: Controller) -> None:
        self._store = store
        self._controller = controller
        self._folds: dict[tuple[str, str, int, str], Fold] = {}

    def closed_until(self, now: int) -> datetime:
        """The end of the last bucket that is closed at ``now``: no insert that began in it is still running.

        Raises StoreError.
        """
        settled = now - self._store.longest_insert_ms("pair_log")
        return closed_until(moment(settled), self._controller.bucket_s, self._controller.close_after_s)

    def advance(self, stage: Stage, until: datetime) -> Fold:
        """The fold of all buckets closed before ``until``; what is new is kept. Raises StoreError."""
        key = _key(stage)
        before = self._folds.get(key) or kept_fold(self._store.rows, stage)
        after = before
        if until > before.until:
            after = advance(self._store.rows, stage.rules, stage.scope, before, until)
        if after.pairs != before.pairs:
            self._keep(stage, after)
        # Of one rollout only the present stage is looked at again.
        self._folds = {k: fold for k, fold in self._folds.items() if k[0] != key[0]} | {key: after}
        return after

    def recompute(self, stage: Stage, until: datetime) -> Fold:
        """The same from the pairs alone. Its cost grows with the stage. Raises StoreError."""
        return advance(self._store.rows, stage.rules, stage.scope, Fold.start(stage.scope.since), until)

    def _keep(self, stage: Stage, fold: Fold) -> None:
        """The evidence first: where it is there and the fold is not, the next poll writes the same rows again."""
        of, until = _parameters(stage), milliseconds(fold.until)
        token = f"{of['rollout']}:{of['epoch']}:{of['since']}:{of['rules']}:{until}"
        shared = {"rollout": of["rollout"], "epoch": of["epoch"], "since": of["since"], "until": until}
        lines = [
            orjson.dumps(
                shared
                | {
                    "stage": stage.state.stage,
                    "slice": row.slice,
                    "decides": row.decides,
                    "claim": row.claim,
                    "pairs": row.pairs,
                    "mean": row.mean,
                    "log_e": row.log_e,
                    "log_needed": row.log_needed,
                }
            )
            for row in evidence_rows(stage.rules, fold)
        ]
        self._store.insert("evidence_log", b"\n".join(lines), token)
        row = shared | {"rules": of["rules"], "state": fold.dump()}
        self._store.insert("fold_log", orjson.dumps(row), token)


def kept_fold(rows: Rows, stage: Stage) -> Fold:
    """The stage's fold as the controller last kept it; its start where it has not. Raises StoreError."""
    found = rows(_FOLD, _parameters(stage))
    try:
        return Fold.load(found[0]["state"]) if found else Fold.start(stage.scope.since)
    except StoreError as exc:  # of another version: the pairs are still there
        log.warning("%s: the kept evidence is computed again: %s", stage.rollout.name, exc)
        return Fold.start(stage.scope.since)


def _key(stage: Stage) -> tuple[str, str, int, str]:
    state = stage.state
    return state.rollout, state.epoch, state.since, digest(stage.rules, stage.scope)


def _parameters(stage: Stage) -> Mapping[str, str | int]:
    rollout, epoch, since, rules = _key(stage)
    return {"rollout": rollout, "epoch": epoch, "since": since, "rules": rules}
