"""A replay on a link that is no Kafka."""

from pathlib import Path
from typing import Any

import orjson

from shadowlane.producers.capture import Capture
from shadowlane.producers.logs.files import find_sources
from shadowlane.producers.logs.reading import Reading, Refused
from shadowlane.producers.outflow import Outflow
from shadowlane.producers.replay import Options, Pace, Replay
from shadowlane.producers.replay.forwarder import Forwarder
from shadowlane.producers.replay.progress import Progress
from shadowlane.schemas.topics import Topics
from tests.producers.support import FakeLink, Sent

STARTED = 1_790_000_000_000
TS = 1_772_323_200_000


def put(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return path


def line(text: str, **more: Any) -> dict[str, Any]:
    return {"request": {"messages": [{"role": "user", "content": text}]}, "response": text, **more}


class Run:
    """One run of ``shadowlane replay``, without the command."""

    def __init__(
        self,
        path: Path,
        *,
        progress: Progress | None = None,
        state: Path | None = None,
        pace: Pace | None = None,
        link: FakeLink | None = None,
        capture: Capture | None = None,
        **options: Any,
    ) -> None:
        self.link = link or FakeLink()
        self.forwarder = Forwarder(self.link, Topics(), Outflow(capture or Capture()), buffer_bytes=50_000)
        self.progress = progress or Progress(options={}, instance="replay-1", started=STARTED)
        sources = find_sources([path])
        self.replay = Replay(
            lambda: Reading(sources, "", None, by_time=False),
            self.forwarder,
            pace or Pace(),
            Options("desk", "/chat", **options),
            self.progress,
            state,
        )

    def refused(self) -> list[Refused]:
        return [one for one in self.replay.run() if one]

    def sent(self) -> Sent:
        """Everything that Kafka has at the end."""
        self.refused()
        assert self.replay.flush(10)
        return Sent(self.link.acknowledged)
