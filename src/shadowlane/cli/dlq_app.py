"""`shadowlane dlq …`: what each command takes. What it does is in dlq.py and dlq_show.py."""

from pathlib import Path
from typing import Annotated

import typer

from shadowlane.cli.options import AsJson, By, ConfigFile
from shadowlane.cli.times import milliseconds
from shadowlane.errors import ConfigError
from shadowlane.processors.dead_letters.selection import Selection, State
from shadowlane.schemas.config import load

dlq_app = typer.Typer(
    no_args_is_help=True, help="Dead letters: records that could not be read, and what to do with them."
)

Id = Annotated[str | None, typer.Argument(metavar="ID", help="One alone, as `dlq list` calls it.")]
ComponentName = Annotated[
    str, typer.Option("--component", metavar="NAME", help="Who could not read it: worker, pairing, sink.")
]
Topic = Annotated[str, typer.Option("--topic", metavar="TOPIC", help="Where it came from.")]
WhyPart = Annotated[str, typer.Option("--reason", metavar="TEXT", help="A part of the reason.")]
Request = Annotated[str, typer.Option("--request", metavar="ID", help="Of this request.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="From then on: 2026-03-01T12:00 (UTC), or 90m ago."),
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="From before then.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would do, and do nothing.")]
Everything = Annotated[bool, typer.Option("--all", help="All that are open, where nothing narrows it.")]


@dlq_app.command("list")
def dlq_list(
    component: ComponentName = "",
    topic: Topic = "",
    reason: WhyPart = "",
    request: Request = "",
    since: Since = None,
    until: Until = None,
    handled: Annotated[
        bool, typer.Option("--handled", help="Those too that were replayed or purged.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 20,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What could not be read: counts by component and reason, then the newest letters."""
    from shadowlane.cli.dlq import run_list

    states = () if handled else (State.OPEN,)
    selection = _selection(component, topic, reason, request, since, until, states=states)
    run_list(load(config), selection, limit=limit, as_json=as_json)


@dlq_app.command("show")
def dlq_show(
    letter_id: Annotated[str, typer.Argument(metavar="ID")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Nothing but the record's bytes, exactly as they came.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where --raw writes; else stdout.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """One letter: why, from where, what was done with it, and the record as it came."""
    from shadowlane.cli.dlq_show import run_raw, run_show

    if raw or output:
        run_raw(load(config), letter_id, output)
    else:
        run_show(load(config), letter_id, as_json=as_json)


@dlq_app.command("replay")
def dlq_replay(
    letter_id: Id = None,
    component: ComponentName = "",
    topic: Topic = "",
    reason: WhyPart = "",
    request: Request = "",
    since: Since = None,
    until: Until = None,
    everything: Everything = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    by: By = None,
    config: ConfigFile = None,
) -> None:
    """Write records back to where they came from, to be read again: one, or all open ones that are selected."""
    from shadowlane.cli.dlq import run_replay

    states = () if letter_id else (State.OPEN,)
    selection = _selection(
        component, topic, reason, request, since, until, letter_id=letter_id or "", states=states
    )
    run_replay(load(config), selection, everything=everything, yes=yes, dry_run=dry_run, by=by)


@dlq_app.command("purge")
def dlq_purge(
    letter_id: Id = None,
    component: ComponentName = "",
    topic: Topic = "",
    reason: WhyPart = "",
    request: Request = "",
    since: Since = None,
    until: Until = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Such as 30d: short for --until.")
    ] = None,
    everything: Everything = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    by: By = None,
    config: ConfigFile = None,
) -> None:
    """Drop the records themselves, for good. That there was one, why and where, stays: the ledger goes by it."""
    from shadowlane.cli.dlq import run_purge

    if until and older_than:
        raise ConfigError("--until and --older-than say the same: give one of them")
    selection = _selection(
        component,
        topic,
        reason,
        request,
        since,
        until or older_than,
        letter_id=letter_id or "",
        states=(State.OPEN, State.REPLAYED),
    )
    run_purge(load(config), selection, everything=everything, yes=yes, dry_run=dry_run, by=by)


def _selection(
    component: str,
    topic: str,
    reason: str,
    request: str,
    since: str | None,
    until: str | None,
    *,
    letter_id: str = "",
    states: tuple[State, ...],
) -> Selection:
    return Selection(
        component=component,
        topic=topic,
        reason=reason,
        request_id=request,
        dead_letter_id=letter_id,
        since=milliseconds("--since", since),
        until=milliseconds("--until", until),
        states=states,
    )
