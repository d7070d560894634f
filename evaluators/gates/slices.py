"""What is known of one slice after its closed buckets: the wealth of each test, and the moments of each number.

The error budget of a roll back (α_r, docs/verdict.md) is shared out before anything is seen: all of it to all
traffic where no slices are asked for; else half to all traffic, and half to the slices, the k-th to appear having
½ · 1/(k(k+1)). Those sum to ½ however many come, so that Σ share · E has mean at most 1 under any dependence.
Within a slice the causes have equal parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

from shadowlane.evaluators.gates.buckets import Bucket
from shadowlane.evaluators.gates.hypotheses import Hypothesis
from shadowlane.evaluators.gates.intervals import Seen
from shadowlane.evaluators.gates.kernel import AT_ONCE, SPREAD, Wealth, log_sum_exp
from shadowlane.evaluators.gates.rules import AllOf, Cause, Rules, Test


@dataclass(frozen=True, slots=True)
class SliceFold:
    """One slice, or all traffic.

    ``gains`` and ``alarms`` are keyed by the hypothesis's name, ``seen`` by the observable's.
    A bucket in which the slice has no pairs is none of its buckets: its tests begin with the first in which it has,
    and the stake of a roll back that is still to come is not spent on silence. ``log_alarm`` is log of the mean
    of E over the causes.
    """

    name: str
    pairs: int
    gains: Mapping[str, Wealth]
    alarms: Mapping[str, Wealth]
    seen: Mapping[str, Seen]
    log_alarm: float = 0.0

    @classmethod
    def start(cls, rules: Rules, name: str) -> "SliceFold":
        return cls(
            name,
            0,
            {h.name: Wealth.start(AT_ONCE, len(h.bets)) for h in rules.required},
            {h.name: Wealth.start(SPREAD, len(h.bets)) for h in rules.watched},
            {o.name: Seen() for o in rules.observables},
        )

    def after(self, causes: Sequence[Cause], guesses: Mapping[str, float], bucket: Bucket) -> "SliceFold":
        """With one bucket more. ``guesses`` are the observables', by name."""
        alarms = {name: wealth.fold(bucket.log_sums[name]) for name, wealth in self.alarms.items()}
        logs = [log_e(cause.test, alarms) for cause in causes]
        return SliceFold(
            self.name,
            self.pairs + bucket.pairs,
            {name: wealth.fold(bucket.log_sums[name]) for name, wealth in self.gains.items()},
            alarms,
            {name: seen.after(bucket.moments[name], guesses[name]) for name, seen in self.seen.items()},
            log_sum_exp(logs) - log(len(logs)),
        )


def budget_share(place: int, *, sliced: bool) -> float:
    """The part of the error budget of all traffic (``place`` 0), or of the ``place``-th slice to appear (1, 2, …)."""
    if place == 0:
        return 0.5 if sliced else 1.0
    return 0.5 / (place * (place + 1)) if sliced else 0.0


def log_e(test: Test, wealths: Mapping[str, Wealth]) -> float:
    """log E of a test, simple or compound.

    *All of A, B*: its null hypothesis says that A's or B's null holds. Under A's, E_A is an e-process, and
    the smaller of the two is never above it; under B's likewise. So min(E_A, E_B) is valid under both.
    *Any of A, B*: its null hypothesis is that both nulls hold, under which any weighted mean is valid.
    """
    if isinstance(test, Hypothesis):
        return wealths[test.name].log_e
    logs = [log_e(part, wealths) for part in test.tests]
    return min(logs) if isinstance(test, AllOf) else log_sum_exp(logs) - log(len(logs))
