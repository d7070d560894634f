"""Which pairs evidence is made of, and what is a unit of it: pairs, or sessions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TypeAlias

Parameter: TypeAlias = str | float | list[float] | list[str]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Query:
    """A statement, and its parameters as ClickHouse takes them (``{name:Type}`` in the text)."""

    text: str
    parameters: dict[str, Parameter]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A number of the stable version, frozen as the stage began, to which pairs from ``counts_from`` on are held."""

    value: float
    counts_from: datetime


@dataclass(frozen=True, slots=True)
class Scope:
    """Which pairs a query takes, and what is a unit. Times are aware, by the store's clock.

    ``since`` and ``until`` (excluded) bound when a pair was stored; both are starts of buckets of ``bucket_s``
    seconds, save that an open bucket may be cut short for display. ``slices`` are names of attributes.
    ``sessions_by`` is "" where each pair is a unit, ``key`` for the mirror's key, else an attribute. ``excluded`` are
    slices (``language=de``) whose pairs count nowhere.
    """

    rollout: str
    epoch: str
    since: datetime
    until: datetime
    bucket_s: int = 60
    slices: tuple[str, ...] = ()
    sessions_by: str = ""
    session_minutes: float = 10.0
    excluded: tuple[str, ...] = ()
    baselines: Mapping[str, Baseline] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def session_ms(self) -> int:
        return round(self.session_minutes * 60_000)


def closed_until(store_now: datetime, bucket_s: int, close_after_s: float) -> datetime:
    """The end of the last bucket that is closed: over for ``close_after_s`` seconds, by the store's clock.

    An insert stamps its rows with the time at which it began; what it stamped must be there by then.
    """
    size = timedelta(seconds=bucket_s)
    past = store_now - timedelta(seconds=close_after_s) - EPOCH
    return EPOCH + size * (past // size)


def milliseconds(moment: datetime) -> int:
    """Unix milliseconds of an aware time."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def moment(unix_ms: int) -> datetime:
    """The time in UTC."""
    return EPOCH + timedelta(milliseconds=unix_ms)
