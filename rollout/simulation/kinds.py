"""A pair of synthetic traffic as one of a few kinds, so that every mean is exact and sums need no logarithms.

A number in [0, 1] takes two values, with the mean and the standard deviation that are asked for. How long a test
takes depends on those two, and hardly on more of the distribution; what does matter beyond them, rare answers that
are worth nothing, is a kind of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, sqrt
from typing import TypeAlias

Values: TypeAlias = Mapping[str, float]
"""An observable's name -> its value. Without an entry the pair has not got it."""


_NO_SPREAD = 1e-9


@dataclass(frozen=True, slots=True)
class Kind:
    """Pairs that are alike: how probable one is, and what the tests see of it.

    ``answered``: both arms answered, so that the pair has what only answers have (`Mix.extras`).
    """

    probability: float
    values: Values
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Mix:
    """What traffic is made of. The probabilities of ``kinds`` sum to 1.

    ``extras``: an observable's name -> (probability, value) of what a pair with two answers has of it, drawn
    independently of the kind and of each other; nan is nothing.
    """

    kinds: Sequence[Kind]
    extras: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)

    def points(self, observable: str) -> list[tuple[float, float]]:
        """(probability, value) of the pairs that have it."""
        if observable not in self.extras:
            return [(k.probability, k.values[observable]) for k in self.kinds if observable in k.values]
        answered = sum(kind.probability for kind in self.kinds if kind.answered)
        return [(answered * p, x) for p, x in self.extras[observable] if not isnan(x)]

    def mean(self, observable: str) -> float:
        """The true mean, among the pairs that have it."""
        points = self.points(observable)
        return sum(p * x for p, x in points) / sum(p for p, _ in points)


@dataclass(frozen=True, slots=True)
class Errors:
    """Rates at which the arms fail, and at which both fail on the same request."""

    candidate: float
    stable: float
    both: float

    @classmethod
    def sharing(cls, candidate: float, stable: float, shared: float) -> "Errors":
        """``shared``: the part of the rarer arm's errors that the other has on the same request."""
        alone = candidate * stable
        return cls(candidate, stable, min(max(shared * min(candidate, stable), alone), candidate, stable))


@dataclass(frozen=True, slots=True)
class Quality:
    """Of answers: each arm's mean, the standard deviation of one answer's, and of the difference of the two.

    ``worthless`` is the part of the candidate's answers that have quality 0, without an error; its mean is with
    them. ``stable_worthless`` likewise.
    """

    candidate: float
    stable: float
    sd: float = 0.15
    difference_sd: float = 0.15
    worthless: float = 0.0
    stable_worthless: float = 0.0


def pair_kinds(errors: Errors, quality: Quality) -> tuple[Kind, ...]:
    """All kinds of pairs, for the tests of errors and quality. An arm that failed has quality 0."""
    fine = 1 - errors.candidate - errors.stable + errors.both
    kinds = [
        _kind(errors.both, True, True, 0.0, 0.0),
        *(
            _kind((errors.candidate - errors.both) * p, True, False, 0.0, s)
            for p, s in _arm(quality.stable, quality.sd, quality.stable_worthless)
        ),
        *(
            _kind((errors.stable - errors.both) * p, False, True, c, 0.0)
            for p, c in _arm(quality.candidate, quality.sd, quality.worthless)
        ),
        *(_kind(fine * p, False, False, c, s) for p, c, s in _answers(quality)),
    ]
    return tuple(kind for kind in kinds if kind.probability > 0)


def two_points(mean: float, sd: float) -> tuple[tuple[float, float], ...]:
    """(probability, value) in [0, 1] with this mean and, where that is possible at all, this standard deviation."""
    mean = min(max(mean, 0.0), 1.0)
    sd = min(sd, sqrt(mean * (1 - mean)))
    if sd < _NO_SPREAD:
        return ((1.0, mean),)
    low, high = mean - sd, mean + sd
    if high > 1:
        low, high = max(mean - sd * sd / (1 - mean), 0.0), 1.0
    elif low < 0:
        low, high = 0.0, min(mean + sd * sd / mean, 1.0)
    p = (mean - low) / (high - low)
    return ((1 - p, low), (p, high))


def _kind(probability: float, candidate_failed: bool, stable_failed: bool, c: float, s: float) -> Kind:
    values = {
        "candidate_error": float(candidate_failed),
        "stable_error": float(stable_failed),
        "error_difference": float(candidate_failed) - float(stable_failed),
        "candidate_quality": c,
        "stable_quality": s,
        "quality_difference": c - s,
    }
    if candidate_failed != stable_failed:
        values["discordant_error"] = float(candidate_failed)
    return Kind(probability, values, answered=not (candidate_failed or stable_failed))


def _arm(mean: float, sd: float, worthless: float) -> tuple[tuple[float, float], ...]:
    """(probability, quality) of one arm's answers, ``worthless`` of them 0, as far as the mean allows."""
    worthless = min(worthless, 1 - mean)
    rest = min(mean / (1 - worthless), 1.0) if worthless < 1 else 0.0
    fine = tuple(((1 - worthless) * p, x) for p, x in two_points(rest, sd))
    return ((worthless, 0.0), *fine) if worthless else fine


def _answers(quality: Quality) -> tuple[tuple[float, float, float], ...]:
    """(probability, candidate's quality, stable's) where both answered.

    Some requests are as hard for both, and both are at the same end; on the others each draws for itself. So many
    are alike that the difference has its standard deviation.
    """
    candidate = _arm(quality.candidate, quality.sd, quality.worthless)
    stable = _arm(quality.stable, quality.sd, quality.stable_worthless)
    apart = sum(_variance(arm) for arm in (candidate, stable))
    alike = max(1 - quality.difference_sd**2 / apart, 0.0) if apart else 0.0
    together = [(alike * p, c, s) for p, c, s in _side_by_side(candidate, stable)]
    return (*together, *(((1 - alike) * p * q, c, s) for p, c in candidate for q, s in stable))


def _side_by_side(
    one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]
) -> list[tuple[float, float, float]]:
    """Both by the same uniform number: the worst of one with the worst of the other."""
    left, right = sorted(one, key=lambda pair: pair[1]), sorted(other, key=lambda pair: pair[1])
    edges = sorted({*_edges(left), *_edges(right)})
    met, below = [], 0.0
    for edge in edges:
        middle = (below + edge) / 2
        if edge - below > 1e-15:
            met.append((edge - below, _at(left, middle), _at(right, middle)))
        below = edge
    return met


def _edges(points: Sequence[tuple[float, float]]) -> list[float]:
    edges, total = [], 0.0
    for p, _ in points:
        total += p
        edges.append(total)
    edges[-1] = 1.0
    return edges


def _at(points: Sequence[tuple[float, float]], level: float) -> float:
    return next(
        (x for edge, (_, x) in zip(_edges(points), points, strict=True) if level <= edge), points[-1][1]
    )


def _variance(points: Sequence[tuple[float, float]]) -> float:
    mean = sum(p * x for p, x in points)
    return sum(p * (x - mean) ** 2 for p, x in points)
