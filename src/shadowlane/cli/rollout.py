"""`shadowlane rollout …`: where a rollout stands, what was decided, and a person's word in it."""

import getpass
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import orjson
import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from shadowlane.cli import EXIT_DOWN
from shadowlane.cli.render import printable, terminal
from shadowlane.cli.store import reader
from shadowlane.errors import BrokerError, RefusedError
from shadowlane.evaluators.gates.fold import Fold, evidence_rows
from shadowlane.evaluators.gates.reading import advance
from shadowlane.evaluators.gates.scope import milliseconds
from shadowlane.rollout.evidence import Keeper, Stage, kept_fold
from shadowlane.rollout.log import Log, read_changes, read_heads, read_history
from shadowlane.rollout.machine import Command, begin, gate_before, on_command
from shadowlane.rollout.models import Change
from shadowlane.rollout.next_step import next_step
from shadowlane.rollout.state import Entry, Phase, State
from shadowlane.rollout.store import ClickHouseStore
from shadowlane.rollout.versions import versions
from shadowlane.schemas.config import Rollout, Settings

SAME = 1e-9
PHASE_STYLE = {
    Phase.RUNNING: "bold green",
    Phase.COMPLETED: "bold green",
    Phase.SETTLED: "green",
    Phase.PASSED: "bold green",
    Phase.ROLLED_BACK: "bold red",
    Phase.ABORTED: "bold red",
}
STYLE_OF_EVENT = {
    "rolled_back": "red",
    "alarm": "red",
    "slice_rolled_back": "red",
    "inconclusive": "yellow",
}


def run_status(settings: Settings, name: str | None, *, as_json: bool) -> None:
    """Every rollout's state (or one's): phase, stage, share, next step and why."""
    rows = reader(settings)
    chosen = [settings.rollout(name)] if name else list(settings.rollouts)
    names = [rollout.name for rollout in chosen]
    heads, changes = read_heads(rows, names), read_changes(rows, names)
    if as_json:
        documents = [
            _document(rollout, heads.get(rollout.name), changes.get(rollout.name, [])) for rollout in chosen
        ]
        typer.echo(orjson.dumps(documents, option=orjson.OPT_INDENT_2).decode())
        return
    if not chosen:
        typer.echo("no rollouts in the configuration")
    for rollout in chosen:
        terminal().print(
            _shown(rollout, heads.get(rollout.name), changes_told(changes.get(rollout.name, [])))
        )


def run_history(settings: Settings, name: str | None, *, limit: int, as_json: bool) -> None:
    """Every decision, with who made it and what it rested on."""
    rollout = settings.rollout(name)
    entries = read_history(reader(settings), rollout.name, limit)
    if as_json:
        typer.echo(orjson.dumps([_entry_document(e) for e in entries], option=orjson.OPT_INDENT_2).decode())
        return
    if not entries:
        typer.echo(_not_begun(rollout))
        return
    terminal().print(Group(*map(_told, entries)))


def _told(entry: Entry) -> RenderableType:
    """A decision in the terminal: what and when in one line, why below it, as wide as there is room."""
    state = entry.state
    event = Text(f"{entry.event.replace('_', ' '):<18}", STYLE_OF_EVENT.get(entry.event, "bold"))
    head = Text.assemble(
        (f"{_at(state.at):%Y-%m-%d %H:%M:%S} UTC  ", "dim"),
        event,
        f" {state.stage} {state.traffic_pct:g}%",
        (f"  by {printable(entry.actor)}", "dim"),
    )
    return Group(head, Padding(Text(printable(entry.reason)), (0, 0, 0, 4), expand=False))


def run_versions(settings: Settings, name: str | None, *, as_json: bool) -> None:
    """Which version was in charge, and when."""
    rollout = settings.rollout(name)
    found = versions(read_history(reader(settings), rollout.name, 100_000))
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    if not found:
        typer.echo(_not_begun(rollout))
        return
    table = _table("stable", "fingerprint", "since (UTC)", "until", "kept until")
    for column in table.columns[1:]:
        column.no_wrap = True
    for one in reversed(found):
        table.add_row(
            one.version.model or "(any)",
            one.version.fingerprint,
            f"{_at(one.since):%Y-%m-%d %H:%M}",
            f"{_at(one.until):%Y-%m-%d %H:%M}" if one.until else Text("now", "bold green"),
            f"{_at(one.kept_until):%Y-%m-%d %H:%M}" if one.kept_until else "",
        )
    terminal().print(table)


def run_recompute(settings: Settings, name: str | None) -> None:
    """Folds all pairs of the present stage again, and holds the evidence that is kept to it.

    Exits with 1 where they differ by more than 1e-9. Raises RefusedError where the rollout has not begun.
    """
    rollout = settings.rollout(name)
    rows = reader(settings)
    state = read_heads(rows, [rollout.name]).get(rollout.name)
    if state is None or state.epoch != rollout.epoch:
        raise RefusedError(
            f"{rollout.name}: no controller has seen this configuration yet; there is nothing to check"
        )
    stage = Stage.of(rollout, state, settings.controller)
    kept = kept_fold(rows, stage)
    with terminal(stderr=True).status(f"folding {kept.pairs:,} pairs …"):
        again = advance(rows, stage.rules, stage.scope, Fold.start(stage.scope.since), kept.until)
    pairs = zip(evidence_rows(stage.rules, kept), evidence_rows(stage.rules, again), strict=True)
    claims, apart = 0, 0.0
    for one, other in pairs:
        claims += 1
        apart = max(apart, abs(one.log_e - other.log_e), abs(one.pairs - other.pairs))
    same = apart <= SAME and kept.pairs == again.pairs
    typer.echo(
        f"{rollout.name}, stage {state.stage}: {claims} claims from {again.pairs:,} pairs up to "
        f"{kept.until:%Y-%m-%d %H:%M:%S} UTC; log evidence differs by at most {apart:.1g}: "
        + ("the same" if same else f"NOT THE SAME: {kept.pairs:,} pairs are in what is kept")
    )
    if not same:
        sys.exit(EXIT_DOWN)


def run_command(settings: Settings, name: str | None, command: Command, by: str | None, reason: str) -> None:
    """Does what a person asks for: in the log first, then to the routers.

    Raises:
        RefusedError: it can't be done in this state, or the rollout runs by another configuration than this one.
        LostError: somebody else decided first.
        StoreError: the store can't be read or written.
    """
    rollout = settings.rollout(name)
    actor = by or getpass.getuser()
    store = ClickHouseStore(settings.clickhouse)
    log = Log(store)
    now = store.now()
    since = milliseconds(Keeper(store, settings.controller).closed_until(now))
    state = log.head(rollout.name)
    other = state is not None and state.epoch != rollout.epoch
    if state is None or (other and command is Command.RESTART and state.phase.out):
        entry = begin(rollout, state, now, since)
        if entry is not None:
            state = log.append(entry).state
    assert state is not None  # `begin` starts what has no state
    if other and command is Command.PROMOTE:
        raise RefusedError(
            f"{rollout.name} runs by another configuration (epoch {state.epoch}) than this one (epoch "
            f"{rollout.epoch}), whose stages may be others: use that one, or start the controller with this one"
        )
    # What stops or returns is of what runs now, whatever stands in the file here.
    entry = on_command(rollout, state, command, actor, reason, now, since)
    if command is Command.PROMOTE:
        _ask_gate(rollout, state, entry)
    after = log.append(entry).state
    terminal().print(_shown(rollout, after))
    _tell_routers(settings, after)


def _ask_gate(rollout: Rollout, state: State, entry: Entry) -> None:
    from shadowlane.rollout.gate import ask

    gate = gate_before(rollout, state)
    if gate is None or gate.confirm is None:
        return
    approved, said = ask(gate.confirm, replace(entry, state=state), gate.name)
    if not approved:
        raise RefusedError(f"the webhook before stage {gate.name} does not say yes: {said}")


def _tell_routers(settings: Settings, state: State) -> None:
    from shadowlane.rollout.publish import StatePublisher

    try:
        publisher = StatePublisher(settings.kafka)
        try:
            publisher.publish([state.for_routers])
        finally:
            publisher.close()
    except BrokerError as exc:
        typer.echo(
            f"It is decided and written. The routers could not be told ({exc}); the controller tells them as soon as "
            "Kafka answers.",
            err=True,
        )


def _not_begun(rollout: Rollout) -> str:
    return f"{rollout.name} has not begun: no controller has seen it yet (shadowlane run controller)"


def changes_told(changes: Iterable[Change]) -> list[str]:
    """Models that a provider changed, a line each."""
    return [
        printable(
            f"the provider changed the model: {change.asked} is {change.served} since "
            f"{_at(change.since):%Y-%m-%d %H:%M} UTC, and was {change.before}"
        )
        for change in changes
    ]


def _shown(rollout: Rollout, state: State | None, changes: Iterable[str] = ()) -> RenderableType:
    if state is None:
        return Text(_not_begun(rollout))
    arms = f"{state.stable.model or 'stable'} → {state.candidate.model or 'candidate'}"
    head = Text.assemble(
        (rollout.name, "bold"),
        f"  {arms}  ",
        (f"epoch {state.epoch}, decision {state.seq} at {_at(state.at):%Y-%m-%d %H:%M} UTC", "dim"),
    )
    phase = Text.assemble(
        (state.phase.value.replace("_", " ").upper(), PHASE_STYLE.get(state.phase, "bold yellow")),
        f"  {state.traffic_pct:g}% of the traffic; stage {state.stage}, begun {_at(state.entered):%Y-%m-%d %H:%M} UTC",
    )
    lines: list[RenderableType] = [head, phase, _stages(rollout, state)]
    if state.excluded:
        lines.append(Text(f"taken out: {', '.join(map(printable, state.excluded))}", "red"))
    if state.alarm:
        lines.append(Text("ALARM: a roll back was decided, and auto_rollback.enabled is false", "bold red"))
    if state.open:
        lines.append(Text(f"open incidents: {', '.join(map(printable, state.open))}", "yellow"))
    lines += [Text(line, "yellow") for line in changes]
    lines.append(Text.assemble(("next  ", "dim"), next_step(rollout, state)))
    return Group(*lines, Text())


def _stages(rollout: Rollout, state: State) -> Text:
    """The stages in a row, the present one marked."""
    text = Text()
    for number, stage in enumerate(rollout.stages):
        if number:
            text.append(" ─ ", "dim")
        here = number == state.stage_number
        passed = number < state.stage_number or state.phase in (Phase.COMPLETED, Phase.SETTLED, Phase.PASSED)
        mark = "●" if here else "✓" if passed else "○"
        style = "bold" if here else "green" if passed else "dim"
        text.append(f"{mark} {stage.name} {stage.traffic_pct:g}%", style)
    return text


def _document(rollout: Rollout, state: State | None, changes: list[Change]) -> dict[str, Any]:
    if state is None:
        return {"rollout": rollout.name, "phase": None}
    document = orjson.loads(orjson.dumps(state))
    return {
        **document,
        "next": next_step(rollout, state),
        "in_charge": state.in_charge.model,
        "model_changes": [asdict(change) for change in changes],
    }


def _entry_document(entry: Entry) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(orjson.dumps(entry))
    return document


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
