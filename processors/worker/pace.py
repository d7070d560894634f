"""How fast a provider lets itself be asked, as its headers say it. Pure: the time is handed in, of a clock that nobody
sets, and for the dates in headers Unix time beside it.

OpenAI's ``x-ratelimit-remaining-requests`` and ``-reset-requests`` (``1s``, ``6m0s``, ``20ms``), the same for tokens;
Anthropic's ``anthropic-ratelimit-requests-remaining`` and ``-reset`` (a date), the same for tokens; and
``ratelimit-remaining`` with ``ratelimit-reset`` (seconds), as the IETF's draft had it and many gateways send it.
"""

import re
from collections.abc import Mapping
from datetime import datetime

LONGEST_S = 600.0
"""A reset further off than that is not waited for: it is a day's limit, and the calls that it refuses say so."""

SCARCE = 100
"""While more calls than that remain, nothing is counted: few limits are ever met, and to look costs each call."""

_CALLS = (  # remaining, limit, reset
    ("x-ratelimit-remaining-requests", "x-ratelimit-limit-requests", "x-ratelimit-reset-requests"),
    (
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-reset",
    ),
    ("ratelimit-remaining", "ratelimit-limit", "ratelimit-reset"),
)
_TOKENS = (  # remaining, reset
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
)
_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
_UNITS = (3600.0, 60.0, 1.0, 0.001)


class Pace:
    """Of one target: until when no further call is worth making, and how many are, where few are left."""

    def __init__(self) -> None:
        self._until = 0.0
        self._left: int | None = None  # calls before the reset; None: more than are counted
        self._limit: int | None = None  # of them from one reset to the next, as far as it is known
        self._resets = 0.0
        self._period = 0.0  # the longest time that a reset was away
        self._finds_out = False  # whether a call was made to hear what remains, after a reset

    def learn(self, headers: Mapping[str, str], in_flight: int, now: float, unix: float) -> None:
        """From an answer's headers. ``in_flight``: calls under way, which take of what remains."""
        said = False
        for remaining, limit, reset in _CALLS:
            if (found := _found(headers, remaining, reset, unix)) is not None:
                said = True
                left, wait = found
                most = _number(headers.get(limit, ""))
                self._limit = None if most is None else int(most)
                self._resets, self._period = now + wait, max(wait, self._period)
                self._count(int(left) - in_flight)
        if self._finds_out and not said:
            self._left = None  # some say what remains only where they refuse
        self._finds_out = False
        for remaining, reset in _TOKENS:
            found = _found(headers, remaining, reset, unix)
            if found is not None and found[0] <= 0:
                self._until = max(self._until, now + found[1])

    def refused(self, retry_after: float | None, now: float) -> None:
        """A call was throttled, and the answer asked to wait so many seconds."""
        if retry_after is not None and retry_after <= LONGEST_S:
            self._until = max(self._until, now + retry_after)

    def calm(self, now: float) -> bool:
        """Whether there is nothing to wait for, or to count."""
        return self._left is None and now >= self._until

    def wait(self, now: float) -> float:
        """Seconds until the next call; 0 where it may be made now."""
        wait = self._until - now
        if self._left is not None and self._left <= 0:
            wait = max(wait, self._resets - now)
        return max(0.0, wait)

    def made(self, now: float) -> None:
        """A call is made, that need not wait."""
        if self._left is None:
            return
        if now >= self._resets:
            # As many again as the limit says; without one this call finds out, and the others wait for its answer.
            self._finds_out = self._limit is None
            self._count(1 if self._limit is None else self._limit)
            self._resets = now + self._period
        if self._left is not None:
            self._left -= 1

    def _count(self, left: int) -> None:
        self._left = None if left > SCARCE else max(0, left)


def seconds_until(reset: str, unix: float) -> float | None:
    """From a duration (``6m0s``), a number of seconds, or a date (RFC 3339); None of anything else."""
    text = reset.strip()
    if (number := _number(text)) is not None:
        return number
    if text and (found := _DURATION.fullmatch(text)):
        return sum(unit * float(part) for unit, part in zip(_UNITS, found.groups(), strict=True) if part)
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - unix)
    except (ValueError, OverflowError):
        return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _found(headers: Mapping[str, str], remaining: str, reset: str, unix: float) -> tuple[float, float] | None:
    """How much remains, and for how many seconds; None where it is not said, or the reset is too far off."""
    if remaining not in headers:
        return None
    left, wait = _number(headers[remaining]), seconds_until(headers.get(reset, ""), unix)
    return None if left is None or wait is None or wait > LONGEST_S else (left, wait)
