"""`shadowlane audit`."""

import dataclasses
import sys
from datetime import UTC, datetime

import orjson
import typer
from rich.console import Console, Group
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from shadowlane.cli import EXIT_DOWN
from shadowlane.cli.render import printable, terminal
from shadowlane.cli.times import milliseconds
from shadowlane.errors import ConfigError
from shadowlane.processors.audit import Audit, Gap, Scope, audit
from shadowlane.schemas.config import Settings

SHOWN = 10
"""Records of one gap that a person is shown."""
LEDGER = ("eligible", "sampled_out", "dropped", "dead_lettered", "unpaired", "abstained", "scored")


def run_audit(
    settings: Settings,
    rollout: str | None,
    *,
    since: str | None,
    until: str | None,
    settle: float,
    as_json: bool,
) -> None:
    """Prints what the audit found; exits with 1 where there is a gap.

    Raises:
        ConfigError: a time that is none, or a rollout that is not in the configuration.
    """
    scope = Scope(rollout, milliseconds("--since", since), milliseconds("--until", until))
    if scope.since is not None and scope.until is not None and scope.since >= scope.until:
        raise ConfigError("--since must be before --until")
    found = _with_progress(settings, scope, settle)
    if as_json:
        typer.echo(orjson.dumps(document(found), option=orjson.OPT_INDENT_2).decode())
    else:
        terminal().print(render(found))
    if not found.adds_up:
        sys.exit(EXIT_DOWN)


def _with_progress(settings: Settings, scope: Scope, settle: float) -> Audit:
    """On a terminal, a line that says what is being read; it is gone afterwards."""
    console = Console(stderr=True, markup=False)
    if not console.is_terminal:
        return audit(settings, scope, settle_s=settle)
    columns = (TextColumn("{task.description}", markup=False),)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("the committed offsets", total=None)

        def show(what: str, done: int, whole: int) -> None:
            bar.update(task, description=f"{what}  {done:,} of {whole:,} messages" if whole else what)

        return audit(settings, scope, settle_s=settle, progress=show)


def document(found: Audit) -> dict[str, object]:
    """The JSON document: docs/audit.md says what each key means."""
    return {
        "adds_up": found.adds_up,
        "at": _iso(found.at),
        "took_s": round(found.took_s, 3),
        "rollout": found.rollout,
        "since": _iso(found.since),
        "until": _iso(found.until),
        "records": found.records,
        "open": found.open,
        "ledger": found.ledger,
        "rows": found.rows,
        "pairs": found.pairs,
        "gaps": [dataclasses.asdict(gap) for gap in found.gaps],
        "notes": [dataclasses.asdict(note) for note in found.notes],
        "logs": [dataclasses.asdict(log) for log in found.logs],
    }


def render(found: Audit) -> Group:
    """The same for a person: the verdict last, since that is what stays in view."""
    parts: list[Table | Text] = [_logs(found), Text()]
    ledger = ", ".join(f"{name.replace('_', ' ')} {found.ledger.get(name, 0):,}" for name in LEDGER)
    parts.append(Text.assemble(("ledger  ", "dim"), ledger))
    steps = ("worker", "pairing", "sink")
    under_way = ", ".join(f"{step} {found.open.get(step, 0):,}" for step in steps)
    parts.append(Text.assemble(("on its way, at  ", "dim"), under_way))
    parts += [Text(f"note: {note.text}: {note.count:,}", "yellow") for note in found.notes]
    for gap in found.gaps:
        parts += _gap(gap)
    took = f" ({found.records:,} records in {found.took_s:.1f} s)"
    if found.adds_up:
        parts.append(Text.assemble(("it adds up", "bold green"), (took, "dim")))
    else:
        parts.append(Text.assemble(("it does not add up", "bold red"), (took, "dim")))
    return Group(*parts)


def _logs(found: Audit) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("topic", "partitions", "from", "to", "records", "reader", "not committed"):
        grid.add_column(column, justify="left" if column in ("topic", "reader") else "right")
    for topic in dict.fromkeys(log.topic for log in found.logs):
        mine = [log for log in found.logs if log.topic == topic]
        behind = sum(max(0, log.latest - max(log.committed or 0, log.earliest)) for log in mine)
        grid.add_row(
            topic,
            str(len(mine)),
            f"{sum(log.earliest for log in mine):,}",
            f"{sum(log.latest for log in mine):,}",
            f"{sum(log.records for log in mine):,}",
            mine[0].reader,
            f"{behind:,}",
        )
    return grid


def _gap(gap: Gap) -> list[Text]:
    lines = [Text(printable(f"gap: {gap.text}: {gap.count:,}"), "bold red")]
    for one in gap.examples[:SHOWN]:
        named = one.request_id or "a record that names no request"
        lines.append(
            Text(
                printable(
                    f"  {one.topic} partition {one.partition} offset {one.offset} line {one.line}: {named}"
                )
            )
        )
    for minute in gap.minutes[:SHOWN]:
        at = datetime.fromtimestamp(int(minute["minute"]) / 1000, UTC)
        rows = ", ".join(
            f"{name.replace('_', ' ')} {minute[name]:,}"
            for name in ("eligible", "sampled_out", "dropped", "mirrored", "came")
        )
        lines.append(Text(printable(f"  {at:%Y-%m-%d %H:%M} {minute['service']} {minute['route']}: {rows}")))
    more = gap.count - min(len(gap.examples), SHOWN)
    if gap.examples and more > 0:
        lines.append(Text(f"  and {more:,} more", "dim"))
    return lines


def _iso(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at / 1000, UTC).isoformat().replace("+00:00", "Z")
