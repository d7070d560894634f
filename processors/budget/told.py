"""What a budget has left, as lines for people. Pure."""

from datetime import UTC, datetime

from shadowlane.processors.budget.amounts import NANO, Amount, Limits
from shadowlane.processors.budget.book import SECONDS, Span, Window
from shadowlane.processors.pressure import span as lasting

_NAMES: dict[Span, str] = {"hour": "this hour", "day": "today (UTC)", "rollout": "this epoch"}


def used(span: Span, limits: Limits, taken: Amount) -> str:
    """How much of a window is taken, by each measure that has a limit: ``this hour 12 of 25 calls, $0.02 of $5``."""
    parts = []
    for name, of, most in zip(Amount._fields, taken, limits, strict=True):
        if most is not None:
            money = name == "nanodollars"
            parts.append(f"{_dollars(of)} of {_dollars(most)}" if money else f"{of:,} of {most:,} {name}")
    return f"{_NAMES[span]} {', '.join(parts)}"


def used_up(window: Window, why: str, limits: Limits, taken: Amount, now: float) -> str:
    """That calls are refused for it, and when that is over. ``now``: Unix seconds."""
    seconds = SECONDS.get(window.span)
    if seconds is None:
        renews = "it does not renew: raise it, or end the rollout"
    else:
        ends = window.start + seconds
        renews = f"it renews at {datetime.fromtimestamp(ends, UTC):%H:%M} UTC, in {lasting(ends - now)}"
    return (
        f"the budget of rollout {window.rollout} refuses calls: {why} "
        f"({used(window.span, limits, taken)}); {renews}"
    )


def _dollars(nanodollars: int) -> str:
    return f"${nanodollars / NANO:,.4f}".rstrip("0").rstrip(".")
