"""`shadowlane status`."""

import dataclasses
import sys
import time

import orjson
import typer
from rich.table import Table
from rich.text import Text

from shadowlane.cli import EXIT_DOWN
from shadowlane.cli.render import printable, terminal
from shadowlane.cli.rollout import changes_told
from shadowlane.cli.store import reader
from shadowlane.embedded.broker import read_usage
from shadowlane.errors import ConfigError, StoreError
from shadowlane.processors.pressure import span
from shadowlane.processors.status import CONTROLLER, PARTS, Part, read_status
from shadowlane.rollout.log import read_changes
from shadowlane.schemas.config import Settings


def run_status(settings: Settings, part: str | None, *, wait: float, as_json: bool) -> None:
    """Prints what is up; exits with 1 where something is not.

    Raises:
        ConfigError: there is no such part.
    """
    if part not in (None, *PARTS):
        raise ConfigError(f"no part is called {part!r}; the parts are {', '.join(PARTS)}")
    deadline = time.monotonic() + wait
    while True:
        parts = [_with_more(settings, found) for found in read_status(settings) if part in (None, found.name)]
        if all(part.up for part in parts) or time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    if as_json:
        document = {
            "up": all(part.up for part in parts),
            "parts": [dataclasses.asdict(part) for part in parts],
        }
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        terminal().print(table(parts))
    if not all(part.up for part in parts):
        sys.exit(EXIT_DOWN)


def _with_more(settings: Settings, part: Part) -> Part:
    """Of the embedded broker, on this machine, how full it is; of the controller, which models were changed under its
    rollouts."""
    if part.name == CONTROLLER and part.up:
        return dataclasses.replace(part, told=[*part.told, *_changes(settings)])
    usage = read_usage(settings.kafka.bootstrap_servers) if part.name == "broker" else None
    if usage is None:
        return part
    refuses = [f"refuses {usage.refusing}, for {span(time.time() - usage.since)}"] if usage.refusing else []
    return dataclasses.replace(part, doing=dataclasses.replace(usage, refusing="").text, told=refuses)


def _changes(settings: Settings) -> list[str]:
    try:
        found = read_changes(reader(settings), [rollout.name for rollout in settings.rollouts])
    except StoreError:
        return []  # the store's own line says so
    return [f"rollout {name}: {line}" for name, changes in found.items() for line in changes_told(changes)]


def table(parts: list[Part]) -> Table:
    """A row for each server and component: first what it waits for, and its backlog."""
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("part", "state", "behind", ""):
        grid.add_column(column, justify="right" if column == "behind" else "left")
    for part in parts:
        state = Text("up", "green") if part.up else Text("down", "red")
        behind = "" if part.behind is None else str(part.behind)
        topics = {name: n for name, n in (part.topics or {}).items() if n and len(part.topics or {}) > 1}
        where = ", ".join(f"{name} {n}" for name, n in topics.items())
        detail = "; ".join(text for text in (printable(part.doing), where, part.detail) if text)
        said = [Text(printable(line), "yellow") for line in part.told]
        grid.add_row(part.name, state, behind, Text("\n").join([*said, Text(detail, "dim")]))
    return grid
