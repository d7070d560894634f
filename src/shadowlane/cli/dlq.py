"""`shadowlane dlq list`, `replay` and `purge`."""

import contextlib
import dataclasses
import getpass
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
import typer
from rich.console import Group as Stack
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from shadowlane.cli.render import terminal
from shadowlane.cli.store import connected, reader
from shadowlane.errors import RefusedError
from shadowlane.processors.dead_letters.letters import FETCHED, Group, Letter, Letters
from shadowlane.processors.dead_letters.limit import shown
from shadowlane.processors.dead_letters.replay import Replay, refusal
from shadowlane.processors.dead_letters.selection import Selection, State
from shadowlane.processors.kafka import ensure_topics
from shadowlane.processors.watch.logs import escaped
from shadowlane.schemas.config import Settings

KAFKA_WAIT_S = 5.0
SHOWN_GROUPS = 20


def letters_of(settings: Settings) -> Letters:
    """The dead letters of the configured store. Raises StoreError where it can't be reached."""
    return Letters(settings.clickhouse, connected(settings))


def run_list(settings: Settings, selection: Selection, *, limit: int, as_json: bool) -> None:
    """Prints the groups and the newest letters."""
    letters = letters_of(settings)
    groups, newest = letters.groups(selection), letters.newest(selection, limit)
    total = sum(group.letters for group in groups)
    if as_json:
        document = {
            "total": total,
            "groups": [dataclasses.asdict(group) for group in groups],
            "letters": [described(letter) for letter in newest],
        }
        typer.echo(dumped(document))
        return
    if not total:
        typer.echo("no dead letters" if selection.takes_all else "no dead letter is like that")
        return
    terminal().print(_listed(groups, newest, total))


def described(letter: Letter) -> dict[str, Any]:
    """A letter as JSON has it, without its payload."""
    document = dataclasses.asdict(letter)
    del document["payload"]
    return document


def dumped(document: Any) -> str:
    """JSON, its times in UTC."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
    return orjson.dumps(document, option=options).decode()


def _listed(groups: list[Group], newest: list[Letter], total: int) -> Stack:
    rest = len(groups) - SHOWN_GROUPS
    return Stack(
        *(part for group in groups[:SHOWN_GROUPS] for part in _counted(group)),
        Text(f"and {rest:,} reasons more" if rest > 0 else "", "dim"),
        Text(f"the newest {len(newest):,} of {total:,}", "bold"),
        *(part for letter in newest for part in _told(letter)),
    )


def _counted(group: Group) -> Iterator[Text | Padding]:
    """A group in two lines, with the newest of its reasons."""
    head = Text.assemble(
        (f"{group.letters:,}", "bold"),
        f" by {escaped(group.component)} from {escaped(group.source_topic)}",
        (f", {group.requests:,} requests, the newest {group.last:%Y-%m-%d %H:%M:%S} UTC", "dim"),
    )
    head.overflow = "fold"
    yield head
    yield _reason(group.newest_reason)


def _reason(reason: str) -> Padding:
    return Padding(Text(shown(reason), "dim"), (0, 0, 0, 4), expand=False)


def _told(letter: Letter) -> Iterator[Text | Padding]:
    """A letter in two lines. Its ID stands whole, to be copied."""
    head = Text.assemble(
        (f"{letter.ts:%Y-%m-%d %H:%M:%S}  ", "dim"),
        (escaped(letter.dead_letter_id), "bold"),
        f"  {escaped(letter.component)}, {letter.payload_bytes:,} bytes",
    )
    if letter.request_id:
        head.append(f", request {escaped(letter.request_id)}")
    if letter.state is not State.OPEN:
        head.append(f"  {letter.state}", "yellow")
    head.overflow = "fold"
    yield head
    yield _reason(letter.reason)


def run_replay(
    settings: Settings, selection: Selection, *, everything: bool, yes: bool, dry_run: bool, by: str | None
) -> None:
    """Sends the selected letters back, once that is confirmed.

    Raises:
        RefusedError: nothing was selected, the one letter can't be replayed, or nobody is there to confirm.
        BrokerError, StoreError: Kafka or ClickHouse can't be reached, or refuses.
    """
    _check_selected(selection, everything)
    letters = letters_of(settings)
    ids = _ids(letters, selection)
    if not ids:
        typer.echo("no dead letter is like that, so there is nothing to replay")
        return
    partitions = ensure_topics(settings.kafka, KAFKA_WAIT_S)
    topics = [name for name in settings.kafka.topics.all if name not in settings.kafka.topics.compacted]
    going: list[str] = []
    by_topic, refused = Counter[str](), Counter[str]()
    for letter in letters.whole(ids):
        if why := refusal(letter, topics):
            refused[why] += 1
        else:
            going.append(letter.dead_letter_id)
            by_topic[letter.source_topic] += 1
    for why, count in refused.most_common(SHOWN_GROUPS):
        typer.echo(f"{count:,} can't be replayed: {escaped(why)}", err=True)
    if not going:
        raise RefusedError("nothing is replayed: none of what was selected can be")
    listed = ", ".join(f"{count:,} to {topic}" for topic, count in by_topic.most_common())
    limit = settings.dead_letters.limit
    if 0 < limit < len(going):
        typer.echo(
            f"more than dead_letters.limit ({limit:,}): if they still can't be read, their reader will stop",
            err=True,
        )
    if not _confirmed(f"replay {len(going):,} dead letters ({listed})", "replayed", yes=yes, dry_run=dry_run):
        return
    replay = Replay(settings, letters, reader(settings), partitions, by or getpass.getuser())
    with _progress("replaying", len(going)) as (bar, task):
        done = replay.run(letters.whole(going), _now(), lambda n: bar.advance(task, n))
    halves = f", with {done.halves:,} halves of pairs that wait for them" if done.halves else ""
    typer.echo(f"{done.replayed:,} replayed{halves}; what still can't be read becomes a dead letter again")
    if done.missing:
        typer.echo(
            f"of {done.missing:,} the other half was cut when it was stored, and they make no pair", err=True
        )


def run_purge(
    settings: Settings, selection: Selection, *, everything: bool, yes: bool, dry_run: bool, by: str | None
) -> None:
    """Drops the payloads of the selected letters, once that is confirmed.

    Raises:
        RefusedError: nothing was selected, or nobody is there to confirm.
        StoreError: ClickHouse can't be reached, or refuses.
    """
    _check_selected(selection, everything)
    letters = letters_of(settings)
    ids = _ids(letters, selection)
    if not ids:
        if not dry_run:
            letters.erase()  # what Kafka has brought again of what was purged before
        typer.echo("no dead letter is like that, so there is nothing to purge")
        return
    if not _confirmed(
        f"drop the payloads of {len(ids):,} dead letters, for good", "purged", yes=yes, dry_run=dry_run
    ):
        return
    actor, at = by or getpass.getuser(), _now()
    for start in range(0, len(ids), FETCHED):
        letters.mark(State.PURGED, ((i, "") for i in ids[start : start + FETCHED]), actor, at)
    letters.erase()
    typer.echo(
        f"{len(ids):,} purged: the payloads are gone from the store. Each letter's why and where stay, for the ledger; "
        "Kafka keeps the records as long as its retention says"
    )


def _check_selected(selection: Selection, everything: bool) -> None:
    if selection.takes_all and not everything:
        raise RefusedError("which ones? Give an ID, a filter (--component, --reason, …), or --all")


def _ids(letters: Letters, selection: Selection) -> list[str]:
    ids = letters.ids(selection)
    if selection.dead_letter_id and not ids:
        raise RefusedError(
            f"there is no dead letter {escaped(selection.dead_letter_id)} that this can be done with: "
            "`shadowlane dlq list --handled` lists those that there are"
        )
    return ids


def _confirmed(what: str, done: str, *, yes: bool, dry_run: bool) -> bool:
    if dry_run:
        typer.echo(f"would {what}; nothing was {done}")
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise RefusedError(
            f"nobody is there to confirm it, so nothing was {done}: it would {what}; give --yes"
        )
    if typer.confirm(f"{what}?"):
        return True
    typer.echo(f"nothing was {done}")
    return False


@contextlib.contextmanager
def _progress(what: str, total: int) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn(what), BarColumn(), TextColumn("{task.completed:,.0f} of {task.total:,.0f}"))
    with Progress(*columns, console=terminal(stderr=True), transient=True) as bar:
        yield bar, bar.add_task(what, total=total)


def _now() -> int:
    return time.time_ns() // 1_000_000
