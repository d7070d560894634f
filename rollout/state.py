"""What a rollout is in the middle of: the state that each decision leaves behind, and what is told of it. Pure data.

:mod:`shadowlane.rollout.machine` says how one state follows another; :mod:`shadowlane.rollout.log` keeps them.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shadowlane.schemas.config import Severity, Version
from shadowlane.schemas.events import RolloutState


class Phase(StrEnum):
    """Where a rollout stands."""

    WAITING = "waiting"  # a candidate that was taken out before: it starts again by command alone; 0%
    RUNNING = "running"  # in a stage, on the way to a verdict
    PAUSED = "paused"  # in a stage, by command: nothing promotes; the guard goes on
    INCONCLUSIVE = "inconclusive"  # the stage is over without a verdict: a person decides; the guard goes on
    PASSED = (
        "passed"  # the last stage, of less than 100%, was shown: the traffic stays, and the guard goes on
    )
    COMPLETED = (
        "completed"  # 100%: the candidate is the stable version; guarded while the previous one is kept
    )
    SETTLED = "settled"  # 100%, and the previous version is no longer kept: the end
    ROLLED_BACK = "rolled_back"  # 0%, on evidence
    ABORTED = "aborted"  # 0%, by a person

    @property
    def guarded(self) -> bool:
        """Evidence is folded, and a roll back may come of it."""
        return self in (Phase.RUNNING, Phase.PAUSED, Phase.INCONCLUSIVE, Phase.PASSED, Phase.COMPLETED)

    @property
    def out(self) -> bool:
        """The candidate serves nobody, and does not come back by itself."""
        return self in (Phase.WAITING, Phase.ROLLED_BACK, Phase.ABORTED)


@dataclass(frozen=True, slots=True)
class VersionRef:
    """A version as the log names it. ``fingerprint`` is `shadowlane.schemas.config.Version.fingerprint`. ``prompt`` is
    empty where the version leaves the system prompt as it is; else it has ``replace``, or ``prepend`` and ``append``,
    and ``api``, the protocol of the requests that these are put into."""

    model: str
    fingerprint: str
    overrides: dict[str, Any] = field(default_factory=dict)
    prompt: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, version: Version) -> "VersionRef":
        prompt = {}
        if version.prompt is not None:
            prompt = {"api": version.protocol, **version.prompt.model_dump(exclude_defaults=True)}
        return cls(version.model, version.fingerprint, dict(version.overrides), prompt)


@dataclass(frozen=True, slots=True)
class State:
    """A rollout after its decision number ``seq``. Times are Unix milliseconds, of the store's clock.

    ``entered`` is when the stage began, ``since`` from when on its evidence counts (a bucket's start; it moves when a
    slice is taken out), ``epoch_began`` when its epoch did. ``excluded`` are the slices that were rolled back alone.
    ``alarm`` is the roll back that was decided and not carried out (``auto_rollback.enabled: false``). ``open``
    are the incidents that were told and not resolved yet. ``failed`` are the fingerprints of candidates that were
    taken out before. ``asked`` is the stage that a confirmation was asked for. ``first_pair`` is when the epoch's first
    pair was complete, once a stage is over: the traffic cycle is counted from there. ``past`` are the
    epochs before this one, ``ended`` those in which the candidate was taken out. ``served`` are the names of models
    that were told of (`shadowlane.rollout.models`).
    """

    rollout: str
    epoch: str
    seq: int
    at: int
    phase: Phase
    stage: str
    stage_number: int
    traffic_pct: float
    entered: int
    since: int
    epoch_began: int
    stable: VersionRef
    candidate: VersionRef
    service: str = ""
    route: str = ""
    excluded: tuple[str, ...] = ()
    alarm: bool = False
    asked: str = ""
    open: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    previous_until: int | None = None
    first_pair: int | None = None
    past: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    served: tuple[str, ...] = ()

    @property
    def in_charge(self) -> VersionRef:
        """The stable version of now."""
        return self.candidate if self.phase in (Phase.COMPLETED, Phase.SETTLED) else self.stable

    @property
    def for_routers(self) -> RolloutState:
        return RolloutState(
            rollout=self.rollout,
            epoch=self.epoch,
            seq=self.seq,
            ts=self.at,
            phase=self.phase.value,
            stage=self.stage,
            traffic_pct=self.traffic_pct,
            stable_model=self.stable.model,
            candidate_model=self.candidate.model,
            stable_overrides=self.stable.overrides,
            candidate_overrides=self.candidate.overrides,
            stable_prompt=self.stable.prompt,
            candidate_prompt=self.candidate.prompt,
            excluded=list(self.excluded),
        )


class Action(StrEnum):
    TRIGGER = "trigger"  # an incident begins
    RESOLVE = "resolve"  # it is over
    NOTE = "note"  # worth knowing, and nobody's incident: a promotion


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell, to every channel of the rollout. Written with the decision that it tells of.

    ``alert_id`` is its own, ``incident`` is shared by an incident's trigger and its resolve: one per rollout, epoch
    and cause. ``what`` has one line for each thing that regressed; ``since`` is in Unix milliseconds.
    """

    alert_id: str
    incident: str
    action: Action
    severity: Severity
    cause: str  # regression, undecided, blind, model, confirmation, promotion, test
    rollout: str
    epoch: str
    stage: str
    at: int
    summary: str  # one line
    what: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    since: int | None = None
    sure: str = ""  # how sure, in words
    done: str = ""  # what was done about it
    look: tuple[str, ...] = ()  # commands and links


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the log: what happened, who or what made it, what it rested on, and the state after it."""

    entry_id: str
    event: str
    actor: str
    reason: str
    state: State
    evidence: dict[str, Any] = field(default_factory=dict)
    alerts: tuple[Alert, ...] = ()
