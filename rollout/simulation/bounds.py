"""How often a verdict is wrong, and how soon it comes: many runs of one stage, looked at after every bucket.

For the benchmark and the tests of the whole engine. In each call some runs go through the real fold too: `Bound.apart`
says how far the two are apart.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from math import inf, log

import numpy as np

from shadowlane.evaluators.gates.fold import Fold, fold
from shadowlane.evaluators.gates.kernel import log_sum_exp
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.slices import budget_share
from shadowlane.rollout.simulation.engine import Floats, Ints, Layout, Stages, alone_of
from shadowlane.rollout.simulation.replay import EPOCH, buckets_of
from shadowlane.rollout.simulation.traffic import Drawn, Traffic

_MINUTE = timedelta(minutes=1)
_AT_ONCE = 4_000


@dataclass(frozen=True)
class Bound:
    """By run: the bucket (1, 2, …) after which it was rolled back, and that after which everything was shown; 0: never.

    ``alone`` is the number of the slice that decided a roll back by itself, 0 for none. ``apart`` is the largest
    difference of log E, of any test in any slice, between some of these runs and the same ones in the real fold;
    ``restarted`` says whether those came to the very same where they were written down and read again on the way.
    """

    rolled_back: Ints
    shown: Ints
    alone: Ints
    apart: float
    restarted: bool


def bound(
    rules: Rules,
    traffic: Traffic,
    runs: int,
    buckets: int,
    rng: np.random.Generator,
    *,
    changed: Callable[[int], bool] = lambda _: False,
    until: Callable[[Ints], bool] = lambda _: False,
    promotions: bool = False,
    checked: int = 2,
    checked_buckets: int = 120,
) -> Bound:
    """``runs`` stages of ``buckets`` buckets each. ``changed`` says of a bucket (0, 1, …) whether the effect is there.

    ``promotions`` looks for these too. A run goes no further than ``until`` holds of the roll backs of those that are
    simulated together with it. ``checked`` runs are held to the real fold over their first ``checked_buckets``.
    """
    # As many at once as the processor's cache holds.
    size = max(_AT_ONCE // len(traffic.slices), 1)
    parts = [
        _bound(
            rules,
            traffic,
            min(size, runs - begun),
            buckets,
            rng,
            changed,
            until,
            promotions,
            checked if begun == 0 else 0,
            min(checked_buckets, buckets),
        )
        for begun in range(0, runs, size)
    ]
    return Bound(
        np.concatenate([part.rolled_back for part in parts]),
        np.concatenate([part.shown for part in parts]),
        np.concatenate([part.alone for part in parts]),
        parts[0].apart,
        parts[0].restarted,
    )


def _bound(
    rules: Rules,
    traffic: Traffic,
    runs: int,
    buckets: int,
    rng: np.random.Generator,
    changed: Callable[[int], bool],
    until: Callable[[Ints], bool],
    promotions: bool,
    checked: int,
    checked_buckets: int,
) -> Bound:
    sliced = len(traffic.slices) > 1
    stages = Stages(rules, Layout(rules.hypotheses), runs, traffic.slices, sliced=sliced)
    nobody = np.full(len(traffic.slices), np.nan)
    rolled, shown, alone = (np.zeros(runs, dtype=np.int64) for _ in range(3))
    check = _Check(rules, traffic, checked, sliced)
    apart = 0.0
    needed = 1 / rules.alpha_roll_back
    for number in range(buckets):
        drawn = traffic.draw(rng, np.full(runs, changed(number)))
        stages.fold(drawn.pairs, drawn.units, drawn.sums)
        alarm = stages.alarm()
        new = (alarm.together >= needed) & (rolled == 0)
        rolled[new] = number + 1
        alone[new] = alone_of(alarm.by_slice[new], needed)
        if promotions:
            shown[(shown == 0) & stages.shown(nobody)] = number + 1
        if checked and number < checked_buckets:
            check.take(number, drawn)
            if number + 1 == checked_buckets:
                apart = check.apart(stages, rolled)
        if until(rolled):
            break
    return Bound(rolled, shown, alone, apart, check.restarted)


class _Check:
    """The real fold of a few runs, one of them kept and read again after every tenth bucket."""

    def __init__(self, rules: Rules, traffic: Traffic, runs: int, sliced: bool) -> None:
        self._rules, self._slices = rules, traffic.slices
        sessions = traffic.sessions
        self._each = sessions.length if sessions and sessions.units else 1
        self._folds = [Fold.start(EPOCH, sliced=sliced) for _ in range(runs)]
        self._kept = list(self._folds)

    def take(self, number: int, drawn: Drawn) -> None:
        start = EPOCH + number * _MINUTE
        for run, state in enumerate(self._folds):
            buckets = buckets_of(self._rules, drawn, run, start, _MINUTE, self._each)
            self._folds[run] = fold(self._rules, state, buckets, start + _MINUTE)
            kept = Fold.load(self._kept[run].dump()) if number % 10 == 9 else self._kept[run]
            self._kept[run] = fold(self._rules, kept, buckets, start + _MINUTE)

    @property
    def restarted(self) -> bool:
        return all(kept == whole for kept, whole in zip(self._kept, self._folds, strict=True))

    def apart(self, stages: Stages, rolled_back: Ints) -> float:
        """The largest difference of log E; infinite where a roll back came in another bucket.

        After one, the evidence for it is no longer looked at, and `Stages` does not follow it to 10^1000 and back.
        """
        gains, alarms, together = stages.log_gains(), stages.alarms(), stages.alarm().together
        differences = [0.0]
        for run, state in enumerate(self._folds):
            latched = 0 if state.latch is None else (state.latch.since - EPOCH) // _MINUTE + 1
            if latched != rolled_back[run]:
                return inf
            differences += self._gains(state, gains[run])
            if not latched:
                differences += self._alarms(state, alarms[run], float(together[run]))
        return max(differences)

    def _gains(self, state: Fold, gains: Floats) -> Iterator[float]:
        for name, one in state.slices.items():
            for h, log_e in zip(self._rules.required, gains[self._slices.index(name)], strict=True):
                yield abs(one.gains[h.name].log_e - float(log_e))

    def _alarms(self, state: Fold, alarms: Floats, together: float) -> Iterator[float]:
        weighed = []
        for place, (name, one) in enumerate(state.slices.items()):
            for h, e in zip(self._rules.watched, alarms[self._slices.index(name)], strict=True):
                yield abs(one.alarms[h.name].log_e - log(e))
            weighed.append(log(budget_share(place, sliced=state.sliced)) + one.log_alarm)
        if weighed:
            yield abs(log_sum_exp(weighed) - log(together))
