"""What a component waits for and how far behind it is, from what it says at ``/healthz``, as lines for people. Pure."""

from collections.abc import Mapping
from typing import Any

AT_ONCE_S = 3.0
"""What has been there for less is no backlog: commits come each second."""
EVEN = 0.05
"""Rates that differ by less than this share go on at the same pace."""


def told(health: Mapping[str, Any]) -> list[str]:
    """What is not as usual; a line for each wait, the longest first; then one for the backlog, where there is one.

    ``health`` is untrusted in its form: another version may have written it. What is not as it should be says nothing.
    """
    try:
        lines = [str(note) for note in health.get("notes") or ()]
        lines += [
            f"waits for {wait['what']} for {span(float(wait['seconds']))}: {wait['why']}"
            for wait in health.get("waits") or ()
        ]
        pace = health.get("pace")
        behind = (
            backlog(*(float(pace[name]) for name in ("behind", "oldest_s", "come", "done"))) if pace else ""
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return []
    return [*lines, behind] if behind else lines


def backlog(behind: float, oldest_s: float, come: float, done: float) -> str:
    """Of a group: messages behind, the oldest one's age in seconds, and messages a second; empty where none waits.

    Done is what is committed: of a partition, all before the first message that is not finished.
    """
    if behind <= 0 or oldest_s < AT_ONCE_S:
        return ""
    head = f"{behind:,.0f} messages behind, the oldest for {span(oldest_s)}"
    if done == 0:
        return (
            f"{head}: none is done, {come:,.1f}/s come, so it falls behind"
            if come > 0
            else f"{head}: none is done"
        )
    rates = f"{done:,.1f}/s are done, {come:,.1f}/s come"
    gain = done - come
    if abs(gain) <= EVEN * max(done, come):
        return f"{head}: {rates}, so it stays so"
    if gain < 0:
        return f"{head}: {rates}, so it falls behind"
    return f"{head}: {rates}, so it catches up in about {span(behind / gain)}"


def span(seconds: float) -> str:
    """A time as people say it: 8 s, 2 min 10 s, 3 h 5 min, 2 d 4 h."""
    whole = max(0, round(seconds))
    for unit, name, smaller in ((86_400, "d", (3600, "h")), (3600, "h", (60, "min")), (60, "min", (1, "s"))):
        if whole >= unit:
            first, rest = divmod(whole, unit)
            second = rest // smaller[0]
            return f"{first} {name} {second} {smaller[1]}" if second else f"{first} {name}"
    return f"{whole} s"
