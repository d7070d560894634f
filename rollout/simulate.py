"""`shadowlane simulate`: a rollout on synthetic traffic, many times, with something done to the candidate.

Needs numpy. The evidence of all runs is folded side by side by `shadowlane.rollout.simulation.engine`; some of them go
through the real fold and the real `decide` besides, bucket by bucket, and must come out the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from shadowlane.errors import ConfigError, ShadowlaneError
from shadowlane.evaluators.check import rules_of
from shadowlane.evaluators.gates.fold import Fold, fold
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.verdict import Decision, decide
from shadowlane.rollout.simulation.baseline import Baseline
from shadowlane.rollout.simulation.effects import NO_EFFECT, Effect
from shadowlane.rollout.simulation.engine import Floats, Ints, Layout
from shadowlane.rollout.simulation.model import check_effect, mix_of
from shadowlane.rollout.simulation.replay import EPOCH, buckets_of
from shadowlane.rollout.simulation.stages import paired, walked
from shadowlane.rollout.simulation.traffic import Cell, Drawn, Sessions, Traffic
from shadowlane.rollout.simulation.walk import INCONCLUSIVE, PROMOTED, ROLLED_BACK, Leg, Runs, walk
from shadowlane.schemas.config import Rollout, Stage

GUARD = "guard"
"""The stage after the last: the candidate is in charge, and evidence can still take it back."""

_POINTS = 80
_DECISIONS = {
    PROMOTED: Decision.PROMOTE,
    ROLLED_BACK: Decision.ROLL_BACK,
    INCONCLUSIVE: Decision.INCONCLUSIVE,
}


@dataclass(frozen=True, slots=True)
class Half:
    """The median and the 90th percentile; None where fewer runs than that ever came so far."""

    median: float | None
    p90: float | None


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """What came of the runs in one stage, as parts of all runs; ``reached`` is their sum.

    ``hours`` is how long those that were promoted took.
    """

    stage: str
    traffic_pct: float
    reached: float
    promoted: float
    rolled_back: float
    inconclusive: float
    hours: Half


@dataclass(frozen=True, slots=True)
class EffectOutcome:
    """What came of the runs with one effect. ``promoted``, ``rolled_back`` and ``inconclusive`` sum to 1.

    ``promoted`` runs came through every stage and, so far as it was simulated, the guard. ``early`` of the runs were
    rolled back before the effect began. ``hours`` and ``pairs`` are from the effect's beginning to the roll back,
    among the runs that it met; ``detected`` is the part of those that it was seen in, ``curve`` the same by hours.
    ``slices`` says which slices decided a roll back alone, in which part of all runs.
    """

    effect: str
    rolled_back: float
    promoted: float
    inconclusive: float
    early: float
    detected: float
    hours: Half
    pairs: Half
    curve: tuple[tuple[float, float], ...]
    slices: dict[str, float]
    stages: tuple[StageOutcome, ...]


@dataclass(frozen=True, slots=True)
class Simulation:
    """``replayed`` runs went through the real fold and `decide` too, and came out the same.

    A part that is reported as p has a standard error of √(p(1 − p)/``runs``).
    """

    rollout: str
    runs: int
    seed: int
    bucket_s: int
    guard_hours: float
    baseline: Baseline
    effects: tuple[EffectOutcome, ...]
    replayed: int


def simulate(
    rollout: Rollout,
    effects: Sequence[Effect],
    runs: int,
    baseline: Baseline,
    *,
    bucket_s: int = 60,
    seed: int = 1,
    guard_hours: float = 24.0,
    replays: int = 1,
    told: Callable[[str], None] = lambda _: None,
) -> Simulation:
    """``runs`` runs with no effect, and with each of ``effects``.

    ``guard_hours`` of the guard after the last stage are simulated, at most ``keep_previous_hours``. ``told`` gets a
    line as each effect begins.

    Raises ConfigError where an effect is on something that no rule looks at, and ShadowlaneError if the simulation
    and the real fold ever disagree.
    """
    stages = walked(rollout)
    rules = [rules_of(rollout, stage) for stage in stages]
    attributes = [by.attribute for by in rollout.slices]
    guard = min(guard_hours, rollout.keep_previous_hours)
    for effect in effects:
        check_effect(effect, rules, attributes)
    outcomes, replayed = [], 0
    for number, effect in enumerate((NO_EFFECT, *effects)):
        told(f"{effect.text}: {runs} runs")
        legs = _legs(rollout, stages, rules, baseline, effect, bucket_s, guard)
        replay = _Replay(rollout, legs, range(min(replays, runs)), timedelta(seconds=bucket_s))
        ran, history = walk(
            legs,
            lambda leg: Layout(leg.rules.hypotheses),
            runs,
            np.random.default_rng((seed, number)),
            bucket=timedelta(seconds=bucket_s),
            after=effect.after,
            sliced=bool(rollout.slices),
            watch=replay.take,
        )
        replay.agrees(history)
        replayed += len(replay.runs)
        outcomes.append(_outcome(effect, legs, rollout, ran, history, bucket_s))
    return Simulation(rollout.name, runs, seed, bucket_s, guard, baseline, tuple(outcomes), replayed)


def _legs(
    rollout: Rollout,
    stages: Sequence[Stage],
    rules: Sequence[Rules],
    baseline: Baseline,
    effect: Effect,
    bucket_s: int,
    guard_hours: float,
) -> list[Leg]:
    shares = {by.attribute: by.major_share for by in rollout.slices}
    cells = [
        Cell(tuple(name for name in share.slices if name.partition("=")[0] in shares), share.part)
        for share in baseline.shares
    ]
    hit = [number for number, cell in enumerate(cells) if not effect.slice or effect.slice in cell.slices]
    if effect.slice and not hit:
        there = ", ".join(sorted({name for cell in cells for name in cell.slices})) or "none that is sliced"
        raise ConfigError(f"{effect.text!r}: no traffic is in {effect.slice} (there: {there})")
    sessions = None
    if rollout.sessions and baseline.sessions and round(baseline.sessions.pairs) > 1:
        sessions = Sessions(round(baseline.sessions.pairs), baseline.sessions.alike)
    legs = []
    for stage, rule in zip(stages, rules, strict=True):
        traffic = Traffic(
            Layout(rule.hypotheses),
            baseline.pairs_per_hour * bucket_s / 3600,
            mix_of(baseline.level, rule.hypotheses),
            mix_of(baseline.level, rule.hypotheses, effect.changes),
            cells=cells,
            hit=hit,
            sessions=sessions,
        )
        major = np.array([shares.get(name.partition("=")[0], np.nan) for name in traffic.slices])
        legs.append(Leg(stage.name, rule, traffic, major, paired(rollout, stage.traffic_pct)))
    last = rollout.stages[-1].traffic_pct
    if guard_hours > 0 and paired(rollout, last) > 0:
        rule = replace(rules[-1], duration=timedelta(hours=guard_hours))
        legs.append(Leg(GUARD, rule, legs[-1].traffic, legs[-1].major, paired(rollout, last), guard=True))
    return legs


class _Replay:
    """Folds some of the runs with the real engine, and decides where the simulation says that they end."""

    def __init__(self, rollout: Rollout, legs: Sequence[Leg], runs: range, bucket: timedelta) -> None:
        self.runs = runs
        self._legs, self._bucket = legs, bucket
        self._sliced = bool(rollout.slices)
        self._major = {by.attribute: by.major_share for by in rollout.slices}
        self._now = dict.fromkeys(runs, EPOCH)
        self._first: dict[int, datetime] = {}
        # After the bucket before, and after this one, by run and leg.
        self._folds: dict[tuple[int, int], tuple[Fold, Fold]] = {}

    def take(self, number: int, drawn: Drawn, at: Ints) -> None:
        leg = self._legs[number]
        for place in np.flatnonzero(np.isin(at, self.runs)):
            run = int(at[place])
            start = self._now[run]
            until = self._now[run] = start + self._bucket
            buckets = buckets_of(leg.rules, drawn, int(place), start, self._bucket, _pairs_each(leg))
            if buckets:
                self._first.setdefault(run, start)
            fresh = Fold.start(start, sliced=self._sliced)
            _, state = self._folds.get((run, number), (fresh, fresh))
            self._folds[run, number] = state, fold(leg.rules, state, buckets, until)

    def agrees(self, history: Sequence[tuple[Ints, Ints, Ints]]) -> None:
        """Raises ShadowlaneError where the real verdict is another, or was reached before."""
        for number, (which, came, _) in enumerate(history):
            for run, outcome in zip(which, came, strict=True):
                if int(run) not in self.runs:
                    continue
                before, after = (
                    self._verdict(number, int(run), state) for state in self._folds[int(run), number]
                )
                if (before, after) != (Decision.HOLD, _DECISIONS[int(outcome)]):
                    raise ShadowlaneError(
                        f"the simulation says hold, then {_DECISIONS[int(outcome)]} of run {run} in "
                        f"{self._legs[number].name}, and the real fold {before}, then {after}: this is a fault of "
                        "shadowlane, please report it"
                    )

    def _verdict(self, number: int, run: int, state: Fold) -> Decision:
        leg, stayed = self._legs[number], state.until - state.since
        verdict = decide(
            leg.rules,
            state,
            started=state.since,
            now=state.until,
            covered_from=self._first.get(run),
            major=self._major,
            guard=leg.guard,
        ).verdict
        kept = leg.guard and leg.rules.duration is not None and stayed >= leg.rules.duration
        return Decision.PROMOTE if kept and verdict is Decision.HOLD else verdict


def _pairs_each(leg: Leg) -> int:
    sessions = leg.traffic.sessions
    return sessions.length if sessions and sessions.units else 1


def _outcome(
    effect: Effect,
    legs: Sequence[Leg],
    rollout: Rollout,
    runs: Runs,
    history: Sequence[tuple[Ints, Ints, Ints]],
    bucket_s: int,
) -> EffectOutcome:
    count = len(runs.outcome)
    begins = int(np.ceil(effect.after.total_seconds() / bucket_s))
    back = runs.outcome == ROLLED_BACK
    met = (runs.time > begins) if effect.changes else np.zeros(count, dtype=bool)
    hours = np.where(back, (runs.time - begins) * bucket_s / 3600, np.inf)[met]
    pairs = np.where(back, (runs.pairs - runs.before).astype(float), np.inf)[met]
    slices = legs[0].traffic.slices
    alone = {slices[n]: float((runs.alone == n).sum() / count) for n in np.unique(runs.alone) if n}
    shares = {stage.name: stage.traffic_pct for stage in rollout.stages}
    last_pct = rollout.stages[-1].traffic_pct
    return EffectOutcome(
        effect=effect.text,
        rolled_back=float(back.mean()),
        promoted=float((runs.outcome == PROMOTED).mean()),
        inconclusive=float((runs.outcome == INCONCLUSIVE).mean()),
        early=float((back & ~met).mean()) if effect.changes else 0.0,
        detected=float(np.isfinite(hours).mean()) if len(hours) else 0.0,
        hours=_half(hours),
        pairs=_half(pairs),
        curve=_curve(hours),
        slices=alone,
        stages=tuple(
            StageOutcome(
                stage=leg.name,
                traffic_pct=last_pct if leg.guard else shares[leg.name],
                reached=len(which) / count,
                promoted=float((came == PROMOTED).sum() / count),
                rolled_back=float((came == ROLLED_BACK).sum() / count),
                inconclusive=float((came == INCONCLUSIVE).sum() / count),
                hours=_half(buckets[came == PROMOTED] * bucket_s / 3600),
            )
            for leg, (which, came, buckets) in zip(legs, history, strict=True)
        ),
    )


def _half(values: Floats | npt.NDArray[np.int64]) -> Half:
    """Of values that may be infinite: what never came."""
    if not len(values):
        return Half(None, None)
    ordered = np.sort(values.astype(float))
    found = [float(ordered[min(int(np.ceil(q * len(ordered))) - 1, len(ordered) - 1)]) for q in (0.5, 0.9)]
    median, p90 = (x if np.isfinite(x) else None for x in found)
    return Half(median, p90)


def _curve(hours: Floats) -> tuple[tuple[float, float], ...]:
    """(hours, part detected until then), at most so many points that a plot shows."""
    found = np.sort(hours[np.isfinite(hours)])
    if not len(found):
        return ()
    places = np.unique(np.linspace(0, len(found) - 1, min(_POINTS, len(found))).astype(int))
    return tuple((float(found[place]), float((place + 1) / len(hours))) for place in places)
