"""`shadowlane calls`: the switch that stops what the shadow side asks."""

import getpass
import time
from datetime import UTC, datetime

import typer
from rich.table import Table
from rich.text import Text

from shadowlane.cli.render import printable, terminal
from shadowlane.errors import BrokerError
from shadowlane.processors.budget.log import Stops, follow_stops, write_stop
from shadowlane.processors.kafka import ensure_topics
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import Stop

WAIT_S = 5.0


def set_calls(settings: Settings, rollout: str | None, by: str | None, why: str, *, stopped: bool) -> None:
    """Stops the calls of a rollout, or of all, or lets them go on; returns once Kafka has it.

    Raises:
        ConfigError: there is no such rollout.
        BrokerError: Kafka can't be reached, or has not taken it.
    """
    name = settings.rollout(rollout).name if rollout else ""
    ensure_topics(settings.kafka, WAIT_S)
    if not stopped and name:
        _not_all(settings)
    stop = Stop(
        ts=int(time.time() * 1000), rollout=name, stopped=stopped, by=by or getpass.getuser(), why=why
    )
    write_stop(settings.kafka, stop, WAIT_S)
    whose = f"of rollout {name}" if name else "of all rollouts"
    then = "are stopped" if stopped else "go on"
    typer.echo(f"calls {whose} {then}, in each worker within a second")


def list_calls(settings: Settings) -> None:
    """What is stopped, by whom, since when and why.

    Raises:
        BrokerError: Kafka can't be reached.
    """
    ensure_topics(settings.kafka, WAIT_S)
    stops = _known(settings).all()
    if not stops:
        typer.echo("nothing is stopped")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("rollout", "by", "since", "why"):
        table.add_column(column)
    for stop in stops:
        since = datetime.fromtimestamp(stop.ts / 1000, UTC).isoformat(sep=" ", timespec="seconds")
        table.add_row(*(Text(printable(text)) for text in (stop.rollout or "all", stop.by, since, stop.why)))
    terminal().print(table)


def _not_all(settings: Settings) -> None:
    if any(not stop.rollout for stop in _known(settings).all()):
        typer.echo(
            "calls of all rollouts are stopped still: shadowlane calls start, without a name", err=True
        )


def _known(settings: Settings) -> Stops:
    stops = Stops()
    follows = follow_stops(settings.kafka, stops)
    follows.start()
    try:
        if not follows.ready.wait(WAIT_S):
            raise BrokerError(f"{settings.kafka.topics.stops} could not be read in {WAIT_S:g} s")
    finally:
        follows.stop(WAIT_S)
    return stops
