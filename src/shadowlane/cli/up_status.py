"""The status lines of `shadowlane up`: one for each rollout, read from the store every few seconds."""

import threading
import time
from datetime import UTC, datetime

from shadowlane.cli.store import reader
from shadowlane.embedded.broker import read_usage
from shadowlane.errors import ShadowlaneError
from shadowlane.processors.health import ask_health
from shadowlane.processors.status import COMPONENTS, CONTROLLER
from shadowlane.rollout.report import read_ledger
from shadowlane.rollout.standing import read_standing
from shadowlane.rollout.store import Rows
from shadowlane.schemas.config import Rollout, Settings

EVERY_S = 3.0


class Progress:
    """Reads in a thread of its own, so that a slow store never delays the supervision."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lines: list[str] = []
        self.pages: dict[str, str] = {}
        """Of each component that serves its pages: where."""
        for work in (self._run, self._ask):
            threading.Thread(target=work, name="up-status", daemon=True).start()

    def lines(self) -> list[str]:
        """The newest lines."""
        return self._lines

    def _ask(self) -> None:
        monitoring = self._settings.monitoring
        while True:
            self.pages = {
                name: f"http://{monitoring.host}:{monitoring.port_of(name)}"
                for name in (*COMPONENTS, CONTROLLER)
                if ask_health(self._settings, name)
            }
            time.sleep(EVERY_S)

    def _run(self) -> None:
        while True:
            try:
                rows = reader(self._settings)
                while True:
                    now = datetime.now(UTC)
                    lines = [self._line(rows, rollout, now) for rollout in self._settings.rollouts]
                    usage = read_usage(self._settings.kafka.bootstrap_servers)
                    self._lines = [*lines, f"broker: {usage.text}"] if usage and usage.refusing else lines
                    time.sleep(EVERY_S)
            except ShadowlaneError as exc:
                self._lines = [f"the store can't be read: {exc}"]
                time.sleep(EVERY_S)

    def _line(self, rows: Rows, rollout: Rollout, now: datetime) -> str:
        standing = read_standing(rows, self._settings, rollout, now)
        ledger = read_ledger(rows, self._settings, rollout, now)
        state = standing.state
        where = f"{state.phase.replace('_', ' ')} in {state.stage}, {state.traffic_pct:g}%; " if state else ""
        abstained = f"{ledger.abstained:,} abstained, " if ledger.abstained else ""
        earlier = f"{ledger.other_epoch:,} of an earlier configuration, " if ledger.other_epoch else ""
        lost = f", {ledger.missing:,} missing" if ledger.missing else ""
        return (
            f"{rollout.name}: {ledger.eligible:,} requests, {ledger.scored:,} scored, "
            f"{abstained}{earlier}{ledger.in_flight:,} in flight{lost}; {where}{standing.answer.replace('_', ' ')}"
        )
