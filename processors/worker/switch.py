"""Whether a rollout's calls are stopped: by the command, through Kafka, or by a file that is there."""

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from shadowlane.processors.budget.log import Stops
from shadowlane.schemas.events import Stop

log = logging.getLogger("shadowlane.worker")


class Said(NamedTuple):
    """What a file that stops all calls says, and when it was written, in Unix seconds; 0 where that is not known."""

    why: str
    ts: float


class Switch:
    """Of all rollouts. ``stops`` are those that the topic tells of; without a name there is no file to look for."""

    def __init__(self, stops: Stops, file: str) -> None:
        self._stops = stops
        self._file = Path(file) if file else None
        self._says: Said | None = None

    def any(self) -> bool:
        """Whether any calls are stopped."""
        return self._says is not None or bool(self._stops.all())

    def stopped(self, rollout: str) -> str:
        """Who stops this rollout's calls, and why; ``""`` where nobody does. From any thread."""
        if self._says is not None:
            return f"stopped by the file {self._file}" + (f": {self._says.why}" if self._says.why else "")
        stop = self._stops.of(rollout)
        if stop is None:
            return ""
        return stopped_by(stop)

    def told(self) -> Iterator[str]:
        """What is stopped, since when, and how it goes on, for people. From any thread."""
        if (says := self._says) is not None:
            since = f", since {_minute(says.ts)}" if says.ts else ""
            yield f"calls of all rollouts are {self.stopped('')}{since}; they go on once it is gone"
            return
        for stop in self._stops.all():
            whose = f"rollout {stop.rollout}" if stop.rollout else "all rollouts"
            start = f"shadowlane calls start {stop.rollout}".rstrip()
            since = _minute(stop.ts / 1000)
            yield f"calls of {whose} are {stopped_by(stop)}, since {since}; they go on by: {start}"

    async def look(self) -> bool:
        """Looks for the file; whether what it says has changed."""
        says = await asyncio.to_thread(said_in, self._file) if self._file else None
        if says == self._says:
            return False
        self._says = says
        what = "is gone: calls go on" if says is None else "is there: calls are stopped"
        log.warning("the file %s %s", self._file, what)
        return True


def stopped_by(stop: Stop) -> str:
    """Who stops calls, and why."""
    return f"stopped by {stop.by or 'somebody'}" + (f": {stop.why}" if stop.why else "")


def said_in(file: Path) -> Said | None:
    """By its first line; None where the file is not there."""
    written = 0.0
    try:
        written = file.stat().st_mtime
        with open(file, encoding="utf-8", errors="replace") as opened:
            return Said(" ".join(opened.readline(500).split()), written)
    except FileNotFoundError:
        return None
    except OSError:
        return Said("it can't be read", written)  # it is there


def _minute(ts: float) -> str:
    return f"{datetime.fromtimestamp(ts, UTC):%Y-%m-%d %H:%M} UTC"
