"""Whether and when a call to the candidate is tried again. Pure."""

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shadowlane.schemas.config import Worker

THROTTLES = frozenset({429, 529})
RETRIED = frozenset({408, 409}) | THROTTLES
SPEND_LIMITS = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
        "insufficient_credits",
        "insufficient_funds",
        "quota_exceeded",
    }
)


def retried(status: int) -> bool:
    """Statuses that may be another one the next time: 408, 409, 429, and 500 or more."""
    return status in RETRIED or status >= 500


def spend_limit(status: int, error: Any) -> bool:
    """Whether an answer (its JSON ``error`` object) says that the money is used up: no retry helps."""
    if status == 402:
        return True
    named = (error.get("code"), error.get("type")) if isinstance(error, dict) else (error,)
    return any(isinstance(name, str) and name.lower() in SPEND_LIMITS for name in named)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the server asks to wait: ``retry-after-ms``, else ``retry-after`` (seconds or a date).

    ``now`` is Unix time in seconds. None where neither header is there, or neither can be read.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        if 0 <= wait < float("inf"):
            return wait
    try:
        date = email.utils.parsedate_to_datetime(headers["retry-after"])
        return max(0.0, date.timestamp() - now)
    except (KeyError, ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015)."""

    base_s: float
    max_s: float
    max_attempts: int

    @classmethod
    def of(cls, worker: Worker) -> "Backoff":
        return cls(worker.retry_base_s, worker.retry_max_s, worker.max_attempts)

    def wait(self, attempt: int, asked_for: float | None, draw: float) -> float | None:
        """Seconds to wait after attempt number ``attempt`` (from 1) failed; None where it was the last.

        What the server asked for comes first, up to ``max_s``. ``draw`` is uniform in [0, 1).
        """
        if attempt >= self.max_attempts:
            return None
        if asked_for is not None:
            return min(asked_for, self.max_s)
        return draw * min(self.max_s, self.base_s * 2.0 ** (attempt - 1))
