"""What traffic is like where the candidate is as good as the stable version: measured, or as stated.

`level_of` takes it from the moments of recent pairs, of whatever candidate they are: the stable arm's error rate as it
is, the candidate's quality with the mean difference taken out, and how much both vary.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import sqrt

from shadowlane.evaluators.gates.buckets import NO_MOMENTS, Moments
from shadowlane.evaluators.gates.hypotheses import Observable
from shadowlane.evaluators.gates.observables import Metric


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean and a standard deviation."""

    mean: float
    sd: float


@dataclass(frozen=True, slots=True)
class Level:
    """How traffic is answered. Rates and qualities are fractions in [0, 1].

    ``shared_errors`` is the part of the stable version's errors that the candidate has on the same request.
    ``quality`` is the candidate's mean over answers, ``quality_sd`` the standard deviation of one answer's,
    ``difference_sd`` of candidate − stable on the same request; ``worthless`` of the answers have quality 0.
    ``latency_spread`` is the standard deviation of the logarithm of a latency. ``others`` are the numbers that some
    rules name besides, by observable, and ``measured`` the part of the pairs that have such a number.
    """

    error_rate: float = 0.002
    shared_errors: float = 0.0
    quality: float = 0.95
    quality_sd: float = 0.1
    difference_sd: float = 0.1
    worthless: float = 0.0
    latency_spread: float = 0.5
    others: dict[str, Spread] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions have ``pairs`` pairs on average; ``alike`` is the correlation between pairs of one session."""

    pairs: float
    alike: float


@dataclass(frozen=True, slots=True)
class Share:
    """A combination of slices that occurs, and its part of the pairs."""

    slices: tuple[str, ...]
    part: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """Traffic, and where that is known from.

    The parts of ``shares`` sum to 1. ``sessions`` is None where each pair is a unit of its own.
    """

    source: str
    pairs_per_hour: float
    level: Level = Level()
    shares: tuple[Share, ...] = (Share((), 1.0),)
    sessions: Sessions | None = None


def level_of(
    moments: Mapping[str, Moments], metrics: Iterable[Metric], tested: Iterable[Observable]
) -> Level:
    """The level that these moments of pairs show; what nobody measured stays at its default."""
    assumed = Level()
    stable, candidate = _of(moments, "stable_error"), _of(moments, "candidate_error")
    apart = _of(moments, "error_difference")
    if stable.mean is None or candidate.mean is None or not apart.n:
        return assumed
    both = (stable.mean + candidate.mean - apart.squares / apart.n) / 2
    rarer = min(stable.mean, candidate.mean)
    quality, difference = _of(moments, "candidate_quality"), _of(moments, "quality_difference")
    answers = _answers(quality, candidate.mean, assumed)
    shift = difference.mean or 0.0
    return Level(
        error_rate=stable.mean,
        shared_errors=min(max(both / rarer, 0.0), 1.0) if rarer else 0.0,
        quality=min(max((_mean(quality, assumed.quality) - shift) / (1 - stable.mean or 1.0), 0.0), 1.0),
        quality_sd=answers.sd,
        difference_sd=_difference_sd(difference, answers, apart, assumed),
        others=_others(moments, metrics, tested),
        measured={o.name: _of(moments, o.name).n / candidate.n for o in tested if o.name in moments},
    )


def _answers(quality: Moments, failing: float, assumed: Level) -> Spread:
    """Of the answers alone: a candidate that failed has quality 0."""
    if quality.mean is None or failing >= 1:
        return Spread(assumed.quality, assumed.quality_sd)
    mean, square = quality.mean / (1 - failing), quality.squares / quality.n / (1 - failing)
    return Spread(min(mean, 1.0), sqrt(max(square - mean * mean, 0.0)))


def _difference_sd(difference: Moments, answers: Spread, apart: Moments, assumed: Level) -> float:
    """Of pairs with two answers: those of which one side failed differ by a whole answer's quality."""
    if not difference.n:
        return assumed.difference_sd
    discordant = apart.squares / apart.n
    square = difference.variance - discordant * (answers.mean**2 + answers.sd**2)
    return sqrt(max(square, 0.0) / (1 - discordant)) if discordant < 1 else 0.0


def _others(
    moments: Mapping[str, Moments], metrics: Iterable[Metric], tested: Iterable[Observable]
) -> dict[str, Spread]:
    """Each number that rules name besides errors and quality, with the mean of a candidate that is as stable."""
    found: dict[str, Spread] = {}
    names = {o.name for o in tested}
    for metric in metrics:
        stable = _of(moments, metric.stable.name) if metric.stable else NO_MOMENTS
        difference = _of(moments, metric.difference.name)
        if metric.difference.name in names and difference.n:
            found[metric.difference.name] = Spread(0.0, sqrt(difference.variance))
        if metric.candidate is None or metric.candidate.name not in names:
            continue
        candidate = _of(moments, metric.candidate.name)
        if metric.candidate.binary and stable.mean is not None:
            found[metric.candidate.name] = Spread(stable.mean, sqrt(stable.variance))
        elif candidate.mean is not None:
            found[metric.candidate.name] = Spread(
                candidate.mean - (difference.mean or 0.0), sqrt(candidate.variance)
            )
    return found


def _of(moments: Mapping[str, Moments], name: str) -> Moments:
    return moments.get(name, NO_MOMENTS)


def _mean(moments: Moments, default: float) -> float:
    return default if moments.mean is None else moments.mean
