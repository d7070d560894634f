"""The evidence of many runs of a stage at once: the arithmetic of `shadowlane.evaluators.gates.fold`, in numpy.

A second form of the same fold, because the first takes one run at a time: `shadowlane.rollout.simulation.replay`
folds sampled runs with the real one, and both must say the same to 1e-9. Here the roll back's wealth is kept as it
is and not in logs: it matters only below the threshold, so nothing overflows on the way there.

Shapes: ``runs``, ``slices`` (number 0 is all traffic), then bets or hypotheses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

from shadowlane.evaluators.gates.hypotheses import Hypothesis
from shadowlane.evaluators.gates.kernel import SPREAD
from shadowlane.evaluators.gates.rules import AllOf, Rules, Test

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_LARGEST_LOG = 300.0
_LARGEST = 1e150


class Layout:
    """Where each hypothesis's bets are, side by side on one axis."""

    def __init__(self, hypotheses: Sequence[Hypothesis]) -> None:
        self.hypotheses = tuple(hypotheses)
        sizes = np.array([len(h.bets) for h in hypotheses], dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        self.sizes = sizes
        self.places = {h.name: number for number, h in enumerate(hypotheses)}
        self.bets = np.concatenate([np.array(h.bets) for h in hypotheses])
        self.nulls = np.repeat([h.null_mean for h in hypotheses], sizes)

    def columns(self, hypothesis: Hypothesis) -> slice:
        start = int(self.starts[self.places[hypothesis.name]])
        return slice(start, start + len(hypothesis.bets))

    def sum(self, bets: Floats) -> Floats:
        """Over each hypothesis's bets, along the last axis."""
        summed: Floats = np.add.reduceat(bets, self.starts, axis=-1)
        return summed

    def spread(self, values: Floats) -> Floats:
        """Each hypothesis's value to all its bets."""
        spread: Floats = np.repeat(values, self.sizes, axis=-1)
        return spread


@dataclass(frozen=True)
class Alarm:
    """After one bucket: the evidence of all causes together by run, and by slice with its share (0 is global)."""

    together: Floats
    by_slice: Floats


class Stages:
    """``runs`` stages under the same rules, side by side; `fold` takes one bucket of each.

    ``slices`` are names in their order (number 0 is ''), ``sliced`` whether slices are configured: then half of the
    roll back's error budget is theirs. ``major``: for each slice the share of the pairs from which on it must show
    all criteria by itself (nan: never).
    """

    def __init__(
        self, rules: Rules, layout: Layout, runs: int, slices: Sequence[str], *, sliced: bool
    ) -> None:
        self.rules, self.layout = rules, layout
        self.required = Layout(rules.required)
        self.watched = Layout(rules.watched)
        self._to_required = _places(layout, rules.required)
        self._to_watched = _places(layout, rules.watched)
        shape = (runs, len(slices))
        self.pairs = np.zeros(shape, dtype=np.int64)
        self.buckets = np.zeros(shape, dtype=np.int64)
        self._rank = np.zeros(shape, dtype=np.int64)
        self._by_name = np.array(sorted(range(1, len(slices)), key=lambda s: slices[s]), dtype=np.int64)
        self._sliced = sliced
        self._gain = np.tile(self.required.spread(-np.log(self.required.sizes)), (*shape, 1))
        self._alarm = np.zeros((*shape, int(self.watched.sizes.sum())))

    def keep(self, runs: Flags) -> None:
        """Goes on with these runs alone."""
        self.pairs, self.buckets, self._rank = self.pairs[runs], self.buckets[runs], self._rank[runs]
        self._gain, self._alarm = self._gain[runs], self._alarm[runs]

    def fold(self, pairs: Ints, units: Ints, sums: Floats) -> None:
        """One closed bucket more: pairs and units by (run, slice), log sums by (run, slice, bet)."""
        self.pairs += pairs
        self._gain += sums[..., self._to_required]
        present = units > 0
        self._enter(present)
        horizon = SPREAD.horizon
        share = np.where(
            self.buckets == 0, SPREAD.first, np.where(self.buckets <= horizon, 1.0, 0.0) * _LATER
        )
        share *= present
        self._alarm += share[..., None] * self.watched.spread(1 / self.watched.sizes)
        np.multiply(
            self._alarm, np.exp(np.minimum(sums[..., self._to_watched], _LARGEST_LOG)), out=self._alarm
        )
        np.minimum(self._alarm, _LARGEST, out=self._alarm)
        self.buckets += present

    def log_gains(self) -> Floats:
        """log E of each required test, by (run, slice, hypothesis)."""
        highest = np.maximum.reduceat(self._gain, self.required.starts, axis=-1)
        summed = self.required.sum(np.exp(self._gain - self.required.spread(highest)))
        logs: Floats = np.log(summed) + highest
        return logs

    def alarms(self) -> Floats:
        """E of each watched test, by (run, slice, hypothesis)."""
        folded = np.maximum(self.buckets - 1, 0)
        reserve = (1 - SPREAD.first) * np.maximum(SPREAD.horizon - folded, 0) / SPREAD.horizon
        evidence = self.watched.sum(self._alarm) + reserve[..., None]
        return np.where(self.buckets[..., None] > 0, evidence, 1.0)

    def alarm(self) -> Alarm:
        evidence = self.alarms()
        causes = [_evidence_of(cause.test, evidence, self.watched.places) for cause in self.rules.causes]
        each = np.mean(causes, axis=0) * self.weights()
        return Alarm(each.sum(axis=1), each)

    def weights(self) -> Floats:
        """Each slice's share of the roll back's error budget, by (run, slice). 0 for what has not appeared."""
        rank = self._rank.astype(float)
        with np.errstate(divide="ignore"):
            weights = np.where(rank > 0, 0.5 / (rank * (rank + 1)), 0.0)
        weights[:, 0] = 0.5 if self._sliced else 1.0
        return weights

    def shown(self, major: Floats) -> Flags:
        """Runs in which every required test is shown now, in all traffic and in each major slice."""
        log_e = self.log_gains().min(axis=-1) >= -log(self.rules.alpha_promote)
        with np.errstate(invalid="ignore"):
            asked = self.pairs >= major * np.maximum(self.pairs[:, :1], 1)  # false where major is nan
        asked &= self.pairs > 0
        asked[:, 0] = True
        shown: Flags = (log_e | ~asked).all(axis=1)
        return shown

    def _enter(self, present: Flags) -> None:
        """The k-th slice to appear has the k-th share; of those that appear together, in order of name."""
        new = (present & (self._rank == 0))[:, self._by_name]
        if new.any():
            before = self._rank[:, 1:].max(axis=1, initial=0)
            ranks = before[:, None] + np.cumsum(new, axis=1)
            self._rank[:, self._by_name] = np.where(new, ranks, self._rank[:, self._by_name])


def alone_of(by_slice: Floats, needed: float) -> Ints:
    """The slice that reaches the threshold by itself where all traffic does not: the strongest; 0 for none."""
    if by_slice.shape[1] == 1:
        return np.zeros(len(by_slice), dtype=np.int64)
    strongest = 1 + by_slice[:, 1:].argmax(axis=1)
    by_itself = (by_slice[:, 0] < needed) & (by_slice[np.arange(len(by_slice)), strongest] >= needed)
    return np.where(by_itself, strongest, 0)


_LATER = (1 - SPREAD.first) / SPREAD.horizon


def _places(layout: Layout, hypotheses: Sequence[Hypothesis]) -> Ints:
    """Where the bets of these hypotheses are in ``layout``."""
    bets = np.arange(len(layout.bets))
    return np.concatenate([bets[layout.columns(h)] for h in hypotheses])


def _evidence_of(test: Test, evidence: Floats, places: Mapping[str, int]) -> Floats:
    """E of a test, simple or compound: all of = the smallest, any of = the mean."""
    if isinstance(test, Hypothesis):
        single: Floats = evidence[..., places[test.name]]
        return single
    parts = [_evidence_of(part, evidence, places) for part in test.tests]
    combined: Floats = np.min(parts, axis=0) if isinstance(test, AllOf) else np.mean(parts, axis=0)
    return combined
