"""What a simulation does to the candidate, as text.

::

    effect = change { "," change } [ "in" attribute "=" value ] [ "after" number ("m" | "h" | "d") ]
    change = metric ("+" | "-") number [ "%" ]

Of ``error_rate``, ``quality_score`` and scorers a change is added to the candidate's mean: ``error_rate +1%`` turns
0.3% into 1.3%. Of ``latency``, ``ttft``, ``cost``, ``input_tokens`` and ``output_tokens`` it is a percentage of what
the stable version has: ``latency +20%`` makes each answer 1.2 times as slow.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shadowlane.errors import ConfigError

SCALED: Final = ("latency", "ttft", "cost", "input_tokens", "output_tokens")
"""Metrics that an effect multiplies. To the others it adds."""

_CHANGE = re.compile(
    r"(?P<metric>[a-z_][A-Za-z0-9_.-]*)\s*(?P<sign>[+-])\s*(?P<number>\d+(\.\d+)?)\s*(?P<percent>%?)"
)
_EFFECT = re.compile(
    r"(?P<changes>.+?)(\s+in\s+(?P<slice>[^\s=]+=.+?))?(\s+after\s+(?P<number>\d+(\.\d+)?)\s*(?P<unit>[mhd]))?"
)
_PERCENTILE = re.compile(r"_p\d{1,2}$")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_WRITE = "write one such as 'error_rate +1%', 'quality_score -0.02 in language=de' or 'latency +20% after 3h'"


@dataclass(frozen=True, slots=True)
class Change:
    """One metric of the candidate: ``by`` is added to its mean, or, where ``scales``, multiplies by 1 + ``by``."""

    metric: str
    by: float

    @property
    def scales(self) -> bool:
        return self.metric in SCALED


@dataclass(frozen=True, slots=True)
class Effect:
    """What becomes of the candidate in ``slice`` (``attribute=value``; '' is everywhere), ``after`` so long."""

    text: str
    changes: tuple[Change, ...] = ()
    slice: str = ""
    after: timedelta = timedelta(0)


NO_EFFECT: Final = Effect("no effect")


def parse_effect(text: str) -> Effect:
    """Raises ConfigError, which shows the text, says what is wrong with it and how one is written."""
    found = _EFFECT.fullmatch(" ".join(text.split()))
    if found is None:
        raise ConfigError(f"{text!r} is no effect; {_WRITE}")
    after = timedelta(0)
    if found["number"]:
        after = timedelta(**{_UNITS[found["unit"]]: float(found["number"])})
    changes = tuple(_change(part.strip(), text) for part in found["changes"].split(","))
    names = [change.metric for change in changes]
    if len(set(names)) < len(names):
        raise ConfigError(f"{text!r} changes a metric twice; {_WRITE}")
    return Effect(text.strip(), changes, found["slice"] or "", after)


def _change(part: str, text: str) -> Change:
    found = _CHANGE.fullmatch(part)
    if found is None:
        raise ConfigError(f"{part!r} in {text!r} is no change of a metric; {_WRITE}")
    by = float(found["number"]) * (-1 if found["sign"] == "-" else 1)
    metric = found["metric"]
    bare = _PERCENTILE.sub("", metric)
    if bare in SCALED:
        if not found["percent"]:
            raise ConfigError(f"{part!r} in {text!r}: {bare} changes by a percentage; write {bare} +20%")
        if by <= -100:
            raise ConfigError(f"{part!r} in {text!r}: {bare} can't fall by all of it")
        return Change(bare, by / 100)
    by = by / 100 if found["percent"] else by
    if abs(by) > 1:
        raise ConfigError(f"{part!r} in {text!r}: {metric} lies between 0 and 1, and can't change by {by:g}")
    return Change(metric, by)
