"""What is measured of a request besides scores, by which names rules may ask for it, and in which units.

| name | of one request | units of a threshold |
|---|---|---|
| ``latency_pNN``, ``ttft_pNN`` | milliseconds to the last byte, to the first token | ms, s, x |
| ``cost``, ``cost_pNN`` | US dollars | usd, x |
| ``input_tokens``, ``output_tokens`` | tokens | x |
| anything else | a score in [0, 1] | none, % |

``x`` is a multiple of the stable version's. NN is a percentile from 1 to 99; without one, it is the mean.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Unit(StrEnum):
    """The unit of a threshold, as it is written."""

    NONE = ""
    PERCENT = "%"
    MS = "ms"
    SECONDS = "s"
    USD = "usd"
    TIMES = "x"


LEAST_TIMES: Final = 0.37
MOST_TIMES: Final = 2.7
"""The ratio of two means is tested by its logarithm, clipped to ±1: the threshold's must lie inside."""

_TIME: Final[tuple[Unit, ...]] = (Unit.MS, Unit.SECONDS, Unit.TIMES)
_MONEY: Final[tuple[Unit, ...]] = (Unit.USD, Unit.TIMES)
# Far beyond what anybody could mean, and far within what floating point can square and divide by.
_LEAST_SHARE: Final = 1e-6
_LEAST: Final = 1e-9
_MOST: Final = 1e9

_RATIO: Final[tuple[Unit, ...]] = (Unit.TIMES,)
_SCORE: Final[tuple[Unit, ...]] = (Unit.NONE, Unit.PERCENT)
_EXAMPLES: Final = {_TIME: "800ms or 1.2x", _MONEY: "0.002usd or 1.1x", _RATIO: "1.1x", _SCORE: "2% or 0.8"}
_UNITS: Final[dict[str, tuple[Unit, ...]]] = {
    "latency": _TIME,
    "ttft": _TIME,
    "cost": _MONEY,
    "input_tokens": _RATIO,
    "output_tokens": _RATIO,
}
_REMEDY: Final = {
    "latency": "write a percentile, from latency_p1 to latency_p99",
    "ttft": "write a percentile, from ttft_p1 to ttft_p99",
    "cost": "write cost, the mean of a request, or a percentile, from cost_p1 to cost_p99",
    "input_tokens": "write input_tokens",
    "output_tokens": "write output_tokens",
    "tokens": "write input_tokens or output_tokens",
}
_PERCENTILE: Final = re.compile(r"(latency|ttft|cost)_p([1-9][0-9]?)")
_MEAN: Final = ("cost", "input_tokens", "output_tokens")
# What somebody means who writes it, and what is no score that a scorer could give.
_ALIKE: Final = re.compile(
    r"(latency|ttft|cost|(?:input_|output_)?tokens)(_(p[0-9.]*|s|ms|usd|mean|avg|total))?"
)


@dataclass(frozen=True, slots=True)
class Measure:
    """``latency_p95`` as what is measured, and the percentile that is asked for: None for the mean."""

    base: str
    percentile: int | None = None

    @property
    def units(self) -> tuple[Unit, ...]:
        return _UNITS[self.base]


def measure_of(metric: str) -> Measure | None:
    """What a metric's name measures; None of ``error_rate``, ``quality_score``, and the scorers' scores."""
    if metric in _MEAN:
        return Measure(metric)
    if found := _PERCENTILE.fullmatch(metric):
        return Measure(found[1], int(found[2]))
    return None


def units_of(metric: str) -> tuple[Unit, ...]:
    """The units that a threshold on ``metric`` may have."""
    measure = measure_of(metric)
    return measure.units if measure else _SCORE


def example(metric: str) -> str:
    """Thresholds for ``metric``, for a message."""
    return _EXAMPLES[units_of(metric)]


def refusal(metric: str) -> str:
    """Why nothing can be decided on a metric of this name, with the remedy; ``""`` where something can."""
    alike = _ALIKE.fullmatch(metric)
    if alike is None or measure_of(metric):
        return ""
    return f"there is no test for {metric!r}: {_REMEDY[alike[1]]}"


def out_of_range(metric: str, number: float, unit: Unit) -> str:
    """Why ``number`` is no threshold for ``metric``, whose unit is right; ``""`` where it is one."""
    if unit in _SCORE:
        share = number / 100 if unit is Unit.PERCENT else number
        if _LEAST_SHARE <= share <= 1 - _LEAST_SHARE:
            return ""
        if 0 < share < 1:
            return f"a threshold must be at least {_LEAST_SHARE:g} away from 0 and 1: no traffic could tell"
        hint = f"; did you mean {number:g}%?" if unit is Unit.NONE and 1 <= number < 100 else ""
        return f"a threshold must lie between 0 and 1 (0% and 100%), both excluded{hint}"
    measure = measure_of(metric)
    if unit is Unit.TIMES and measure and measure.percentile is None:
        if LEAST_TIMES <= number <= MOST_TIMES:
            return ""
        return f"a multiple of the stable version's must lie between {LEAST_TIMES}x and {MOST_TIMES}x"
    if _LEAST <= number <= _MOST:
        return ""
    return f"a threshold must be more than 0, from {_LEAST:g} to {_MOST:g}"
