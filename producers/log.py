"""What the mirror and the router tell: through ``logging``, each kind once a minute at most."""

import logging
import time
from collections import Counter
from collections.abc import Callable

EVERY_S = 60.0


class Log:
    """Counts problems by kind, keeps the last text, and logs each kind at most once in ``EVERY_S`` seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, name: str = "shadowlane.mirror") -> None:
        self.counts: Counter[str] = Counter()
        self.last = ""
        self._clock = clock
        self._logger = logging.getLogger(name)
        self._next: dict[str, float] = {}
        self._held: Counter[str] = Counter()

    def problem(self, kind: str, text: str, *, level: int = logging.WARNING, exc_info: bool = False) -> None:
        """Never raises, whatever the service's log handlers do."""
        self.counts[kind] += 1
        self.last = text
        now = self._clock()
        if now < self._next.get(kind, float("-inf")):
            self._held[kind] += 1
            return
        self._next[kind] = now + EVERY_S
        held = self._held.pop(kind, 0)
        try:
            self._logger.log(
                level, "%s%s", text, f" ({held} more like it)" if held else "", exc_info=exc_info
            )
        except Exception:
            self.counts["logging"] += 1

    def client(self, level: int, text: str) -> None:
        """A line of the Kafka client."""
        self.problem("kafka", f"Kafka: {text}", level=level)
