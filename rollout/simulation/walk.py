"""Runs of a rollout, from stage to stage, all at once: where each came out, and when."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import numpy as np

from shadowlane.evaluators.gates.rules import Rules
from shadowlane.rollout.simulation.engine import Flags, Floats, Ints, Layout, Stages, alone_of
from shadowlane.rollout.simulation.traffic import Drawn, Traffic

PROMOTED, ROLLED_BACK, INCONCLUSIVE = 1, 2, 3


@dataclass(frozen=True)
class Leg:
    """One stage of the walk: its rules, its traffic, and how much of it makes pairs (``rate``, 1 is all).

    ``guard``: nothing is promoted in it, and its end is no failure. ``major``: for each slice of the traffic the
    share of the pairs from which on it must show everything by itself; nan for never.
    """

    name: str
    rules: Rules
    traffic: Traffic
    major: Floats
    rate: float = 1.0
    guard: bool = False


@dataclass
class Runs:
    """Where each run is: its time and pairs so far, in buckets from its beginning, and what came of it.

    ``ended`` is the leg in which it was rolled back or left inconclusive, -1 for none; ``alone`` the number of the
    slice that decided a roll back by itself, 0 for none. ``before`` counts the pairs before the effect began.
    """

    outcome: Ints
    ended: Ints
    alone: Ints
    time: Ints
    pairs: Ints
    before: Ints
    first: Ints

    @classmethod
    def start(cls, runs: int) -> "Runs":
        zeros = np.zeros((5, runs), dtype=np.int64)
        return cls(
            zeros[0], zeros[1] - 1, zeros[2], zeros[3], zeros[4], np.zeros(runs, np.int64), np.full(runs, -1)
        )


def walk_leg(
    leg: Leg,
    layout: Layout,
    runs: Runs,
    which: Ints,
    rng: np.random.Generator,
    *,
    bucket: timedelta,
    after: timedelta,
    sliced: bool,
    watch: Callable[[Drawn, Ints], None] | None = None,
) -> Ints:
    """Takes the runs ``which`` through one leg, and gives what came of each: PROMOTED, ROLLED_BACK, INCONCLUSIVE.

    ``after`` is when the effect begins, from the run's beginning. ``watch`` is shown each bucket's traffic, and
    which runs it is of.
    """
    rules, size = leg.rules, bucket.total_seconds()
    stages = Stages(rules, layout, len(which), leg.traffic.slices, sliced=sliced)
    came = np.zeros(len(which), dtype=np.int64)
    open_ = np.arange(len(which))
    begins = np.ceil(after.total_seconds() / size)
    first, last = np.full(len(which), -1), runs.time[which].copy()  # of the stage's own pairs
    needed = 1 / rules.alpha_roll_back
    number = 0
    while len(open_):
        at = which[open_]
        changed: Flags = runs.time[at] >= begins
        drawn = leg.traffic.draw(rng, changed, leg.rate)
        if watch:
            watch(drawn, at)
        stages.fold(drawn.pairs, drawn.units, drawn.sums)
        number += 1
        there = drawn.pairs[:, 0]
        new = (runs.first[at] < 0) & (there > 0)
        runs.first[at[new]] = runs.time[at[new]]
        new = (first[open_] < 0) & (there > 0)
        first[open_[new]] = runs.time[at[new]]
        runs.time[at] += 1
        runs.pairs[at] += there
        runs.before[at[~changed]] += there[~changed]
        last[open_[there > 0]] = runs.time[at[there > 0]]
        alarm = stages.alarm()
        rolled = alarm.together >= needed
        stayed = number * size
        over = leg.rules.duration is not None and stayed >= leg.rules.duration.total_seconds()
        shown = np.zeros(len(at), dtype=bool)
        if not leg.guard and stayed >= rules.min_stay.total_seconds():
            covered = (last[open_] - (runs.first[at] if rules.whole_epoch else first[open_])) * size
            shown = (first[open_] >= 0) & (covered >= rules.traffic_cycle.total_seconds())
            shown &= stages.pairs[:, 0] >= rules.min_pairs
            if shown.any():
                shown &= stages.shown(leg.major)
        shown &= ~rolled
        runs.alone[at[rolled]] = alone_of(alarm.by_slice[rolled], needed)
        came[open_[rolled]], came[open_[shown]] = ROLLED_BACK, PROMOTED
        if over:
            came[open_[came[open_] == 0]] = PROMOTED if leg.guard else INCONCLUSIVE
        left = came[open_] == 0
        if not left.all():
            stages.keep(left)
            open_ = open_[left]
    return came


def walk(
    legs: Sequence[Leg],
    layout_of: Callable[[Leg], Layout],
    count: int,
    rng: np.random.Generator,
    *,
    bucket: timedelta,
    after: timedelta,
    sliced: bool,
    watch: Callable[[int, Drawn, Ints], None] | None = None,
) -> tuple[Runs, list[tuple[Ints, Ints, Ints]]]:
    """``count`` runs through all legs. Gives the runs, and for each leg: who came there, what of it, and when it ended.

    ``watch`` is told the leg's number besides.
    """
    runs = Runs.start(count)
    which = np.arange(count)
    history = []
    for number, leg in enumerate(legs):
        began = runs.time[which].copy()
        shown = partial(watch, number) if watch else None
        came = walk_leg(
            leg, layout_of(leg), runs, which, rng, bucket=bucket, after=after, sliced=sliced, watch=shown
        )
        runs.outcome[which] = came
        runs.ended[which[came != PROMOTED]] = number
        history.append((which, came, runs.time[which] - began))
        which = which[came == PROMOTED]
    return runs, history
