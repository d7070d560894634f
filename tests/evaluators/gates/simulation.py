"""Many stages at once, in numpy: how often, and when, evidence reaches a level.

Traffic is a handful of kinds of pairs with exact probabilities, so that a mean can lie exactly on the
boundary of a null hypothesis. A bucket of k pairs is then one of a few thousand outcomes; each is drawn with
its exact multinomial probability, and its factors are looked up. The fold is a second, plain version of the
kernel's (test_simulation.py holds the two together).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import exp, factorial, lgamma, log, log1p

import numpy as np
import numpy.typing as npt

from shadowlane.evaluators.gates.hypotheses import Hypothesis
from shadowlane.evaluators.gates.kernel import Schedule
from tests.evaluators.gates.building import Pair, value

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Traffic:
    """Kinds of pairs with their probabilities, ``per_bucket`` of them in each bucket."""

    kinds: Sequence[tuple[float, Pair]]
    per_bucket: int

    def mean(self, hypothesis: Hypothesis) -> float:
        """The true mean of what a hypothesis looks at, among the pairs that have it."""
        seen = [(p, x) for p, pair in self.kinds if (x := value(hypothesis.observable, pair)) is not None]
        return sum(p * x for p, x in seen) / sum(p for p, _ in seen)

    def outcomes(self) -> list[tuple[int, ...]]:
        """Every bucket there can be: which kind each of its pairs is, in order of kind."""
        return list(combinations_with_replacement(range(len(self.kinds)), self.per_bucket))

    def edges(self) -> Floats:
        """The cumulated probability of `outcomes`: a uniform number's place in it is an outcome."""
        chances = []
        for outcome in self.outcomes():
            counts = [outcome.count(kind) for kind in range(len(self.kinds))]
            chance = float(factorial(self.per_bucket))
            for count, (p, _) in zip(counts, self.kinds, strict=True):
                chance *= p**count / factorial(count)
            chances.append(chance)
        edges = np.cumsum(chances)
        assert abs(edges[-1] - 1) < 1e-9, "the kinds' probabilities must sum to 1"
        edges[-1] = 1
        return edges

    def factors(self, hypothesis: Hypothesis) -> Floats:
        """Of each outcome, for each bet: the product of its pairs' factors. Shape (outcomes, bets)."""
        bets = np.array(hypothesis.bets)
        by_kind = [
            np.ones(len(bets)) if x is None else 1 + bets * (x - hypothesis.null_mean)
            for x in (value(hypothesis.observable, pair) for _, pair in self.kinds)
        ]
        return np.array([np.prod([by_kind[kind] for kind in outcome], axis=0) for outcome in self.outcomes()])


class Stages:
    """``runs`` stages under the same rules, side by side, one bucket at a time."""

    def __init__(self, hypotheses: Sequence[Hypothesis], schedule: Schedule, runs: int) -> None:
        self._hypotheses = hypotheses
        self._schedule = schedule
        sizes = [len(h.bets) for h in hypotheses]
        self._starts = np.array([1 / size for size in sizes for _ in range(size)])
        self._edges = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self._wealth = np.zeros((runs, sum(sizes)))
        self._bucket = 0

    def factors(self, traffic: Traffic) -> Floats:
        """What `fold` looks up for ``traffic``. Shape (outcomes, bets of all hypotheses)."""
        return np.concatenate([traffic.factors(h) for h in self._hypotheses], axis=1)

    def fold(self, factors: Floats, outcomes: npt.NDArray[np.intp]) -> Floats:
        """One bucket more. Gives E, shape (runs, hypotheses)."""
        share = self._schedule.share(self._bucket)
        if share:
            self._wealth += share * self._starts
        self._wealth *= factors[outcomes]
        self._bucket += 1
        evidence: Floats = np.add.reduceat(self._wealth, self._edges, axis=1)
        return evidence + self._schedule.reserve(self._bucket - 1)


def at_most(count: int, n: int, p: float) -> float:
    """P(X ≤ count) for X binomial in n trials of probability p."""
    logs = (
        lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log1p(-p)
        for k in range(count + 1)
    )
    return sum(map(exp, logs))
