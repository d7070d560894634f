"""`shadowlane alerts test`."""

import sys
import time

from rich.table import Table
from rich.text import Text

from shadowlane.cli import EXIT_DOWN
from shadowlane.cli.render import terminal
from shadowlane.rollout.alerts import test_alert
from shadowlane.schemas.config import Settings


def run_test(settings: Settings, channel: str | None) -> None:
    """Sends a test incident and its end to the channels; exits with 1 where one did not take it.

    Raises:
        ConfigError: there is no such channel, or none at all.
    """
    outcomes = test_alert(settings, channel, int(time.time() * 1000))
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for name, outcome in outcomes:
        style = "green" if outcome.outcome == "sent" else "bold red"
        status = f"status {outcome.status}" if outcome.status else ""
        table.add_row(name, Text(outcome.outcome, style), status, outcome.message)
    terminal().print(table)
    if any(outcome.outcome != "sent" for _, outcome in outcomes):
        sys.exit(EXIT_DOWN)
