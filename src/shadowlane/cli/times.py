"""Times as a person writes them."""

from datetime import UTC, datetime, timedelta

from shadowlane.errors import ConfigError


def milliseconds(option: str, text: str | None) -> int | None:
    """An ISO 8601 time (UTC unless it says otherwise), or a time ago such as ``90m``; in Unix milliseconds.

    Raises:
        ConfigError: it is neither.
    """
    if text is None:
        return None
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    if text[:-1].isdecimal() and text[-1:] in units:
        at = datetime.now(UTC) - timedelta(**{units[text[-1]]: int(text[:-1])})
    else:
        try:
            at = datetime.fromisoformat(text)
        except ValueError as exc:
            raise ConfigError(
                f"{option} {text!r} is no time: write 2026-03-01T12:00, or how long ago, such as 90m or 2h"
            ) from exc
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return int(at.timestamp() * 1000)


def shown_time(at: int) -> str:
    """Unix milliseconds as a person reads them: UTC, to the second."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
