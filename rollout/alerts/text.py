"""An alert's texts, made fit to be shown: they are data, some of it from users and models, and may hold anything.

Each channel's format escapes what its receiver would take for markup; here is what holds for all of them. Pure.
"""

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime

from shadowlane.rollout.state import Alert

# So that no alert comes near the receivers' limits (PagerDuty: 512 KB; Standard Webhooks asks for less than 20 KB).
MAX_LINES = 20
MAX_LINE = 400
MAX_SUMMARY = 1000
MAX_LINK = 1000
MAX_KEY = 255
# Controls; what turns the direction of what follows, so that a text could show as something else than it says; halves
# of surrogate pairs, which no encoding has.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_UNFIT = re.compile(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def bounded(alert: Alert) -> Alert:
    """The alert with every text on one line, of bounded length, and encodable."""
    return replace(
        alert,
        alert_id=cut(alert.alert_id, MAX_LINE),
        incident=key(alert.incident),
        summary=cut(alert.summary, MAX_SUMMARY) or cut(f"{alert.rollout}: {alert.cause}", MAX_SUMMARY),
        rollout=cut(alert.rollout, MAX_LINE),
        epoch=cut(alert.epoch, MAX_LINE),
        stage=cut(alert.stage, MAX_LINE),
        cause=cut(alert.cause, MAX_LINE),
        what=_lines(alert.what, MAX_LINE),
        slices=_lines(alert.slices, MAX_LINE),
        sure=cut(alert.sure, MAX_SUMMARY),
        done=cut(alert.done, MAX_SUMMARY),
        look=_lines(alert.look, MAX_LINK),
    )


def facts(alert: Alert) -> dict[str, tuple[str, ...]]:
    """What on-call asks, in order, each with its lines; what an alert doesn't say is left out."""
    asked = {
        "What": alert.what,
        "Slices": alert.slices,
        "Since": (rfc3339(alert.since),) if alert.since is not None else (),
        "How sure": (alert.sure,) if alert.sure else (),
        "What was done": (alert.done,) if alert.done else (),
        "Where to look": commands(alert),
    }
    return {question: lines for question, lines in asked.items() if lines}


def links(alert: Alert) -> tuple[str, ...]:
    return tuple(text for text in alert.look if _is_link(text))


def commands(alert: Alert) -> tuple[str, ...]:
    return tuple(text for text in alert.look if not _is_link(text))


def key(incident: str) -> str:
    """The incident's key, of at most 255 characters: where it is too long, a digest takes the place of its end."""
    if len(incident) <= MAX_KEY and incident.isprintable():
        return incident
    digest = hashlib.sha256(incident.encode(errors="surrogatepass")).hexdigest()
    return f"{cut(incident, MAX_KEY - len(digest) - 1)}/{digest}"


def cut(text: str, limit: int) -> str:
    """The text on one line, without what can't be shown or encoded, of at most ``limit`` characters."""
    line = " ".join(_UNFIT.sub("\N{REPLACEMENT CHARACTER}", _CONTROLS.sub(" ", text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def rfc3339(ms: int) -> str:
    """Unix milliseconds as ``2026-03-02T10:00:00.000Z``."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _lines(texts: tuple[str, ...], limit: int) -> tuple[str, ...]:
    lines = tuple(line for text in texts if (line := cut(text, limit)))
    if len(lines) <= MAX_LINES:
        return lines
    return (*lines[: MAX_LINES - 1], f"and {len(lines) - MAX_LINES + 1} more")


def _is_link(text: str) -> bool:
    return text.startswith(("http://", "https://")) and " " not in text
