"""How fast a provider lets itself be asked, as its headers say it. Pure: the time is handed in.

OpenAI's ``x-ratelimit-remaining-requests`` and ``-reset-requests`` (``1s``, ``6m0s``, ``20ms``), the same for tokens;
Anthropic's ``anthropic-ratelimit-requests-remaining`` and ``-reset`` (a date), the same for tokens; and
``ratelimit-remaining`` with ``ratelimit-reset`` (seconds), as the IETF's draft had it and many gateways send it.
"""

import re
from collections.abc import Mapping
from datetime import datetime

LONGEST_S = 600.0
"""A reset further off than that is not waited for: it is a day's limit, and the calls that it refuses say so."""

_NAMES = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", 1),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", 0),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset", 1),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset", 0),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset", 0),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset", 0),
    ("ratelimit-remaining", "ratelimit-reset", 1),
)
_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
_UNITS = (3600.0, 60.0, 1.0, 0.001)


class Pace:
    """Of one target: until when no further call is worth making."""

    def __init__(self) -> None:
        self._until = 0.0

    def learn(self, headers: Mapping[str, str], in_flight: int, now: float) -> None:
        """From an answer's headers. ``in_flight``: calls under way, which take of what remains. Unix seconds."""
        for remaining, reset, counts_calls in _NAMES:
            if remaining not in headers:
                continue
            left, wait = _number(headers[remaining]), seconds_until(headers.get(reset, ""), now)
            if left is None or wait is None or wait > LONGEST_S:
                continue
            if left <= (in_flight if counts_calls else 0):
                self._until = max(self._until, now + wait)

    def refused(self, retry_after: float | None, now: float) -> None:
        """A call was throttled, and the answer asked to wait so many seconds."""
        if retry_after is not None and retry_after <= LONGEST_S:
            self._until = max(self._until, now + retry_after)

    @property
    def known(self) -> bool:
        """Whether there ever was a wait."""
        return self._until > 0

    def wait(self, now: float) -> float:
        """Seconds until the next call."""
        return max(0.0, self._until - now)


def seconds_until(reset: str, now: float) -> float | None:
    """From a duration (``6m0s``), a number of seconds, or a date (RFC 3339); None of anything else."""
    text = reset.strip()
    if (number := _number(text)) is not None:
        return number
    if text and (found := _DURATION.fullmatch(text)):
        return sum(unit * float(part) for unit, part in zip(_UNITS, found.groups(), strict=True) if part)
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
