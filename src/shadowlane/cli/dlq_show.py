"""`shadowlane dlq show`: one letter, for a person, as JSON, or nothing but its bytes."""

import base64
import sys
from pathlib import Path

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from shadowlane.cli.dlq import described, dumped, letters_of
from shadowlane.cli.render import terminal
from shadowlane.errors import ConfigError, RefusedError
from shadowlane.processors.dead_letters.letters import Letter
from shadowlane.processors.dead_letters.selection import State
from shadowlane.processors.watch.logs import escaped
from shadowlane.schemas.config import Settings


def run_show(settings: Settings, letter_id: str, *, as_json: bool) -> None:
    """Prints all there is of one letter.

    Raises:
        RefusedError: there is none of this ID.
    """
    letter = _letter(settings, letter_id)
    if as_json:
        payload = letter.payload
        text = None if payload is None else visible(payload)
        whole = None if payload is None else base64.b64encode(payload).decode("ascii")
        typer.echo(dumped(described(letter) | {"payload_text": text, "payload_base64": whole}))
        return
    terminal().print(_shown(letter))


def run_raw(settings: Settings, letter_id: str, output: Path | None) -> None:
    """Writes the bytes of the record as they came.

    Raises:
        RefusedError: there is none of this ID, it was purged, or stdout is a terminal.
        ConfigError: the file can't be written.
    """
    letter = _letter(settings, letter_id)
    if letter.payload is None:
        raise RefusedError(f"its payload was purged at {letter.purged_at:%Y-%m-%d %H:%M:%S} UTC")
    if output is not None:
        try:
            output.write_bytes(letter.payload)
        except OSError as exc:
            raise ConfigError(f"{output} can't be written ({exc.strerror})") from exc
    elif sys.stdout.isatty():
        raise RefusedError(
            "the record may hold what a terminal would obey: redirect the output, or give --output FILE"
        )
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(letter.payload)
        sys.stdout.buffer.flush()
    if not letter.is_whole:
        typer.echo(f"cut: {len(letter.payload):,} of {letter.payload_bytes:,} bytes were kept", err=True)


def visible(payload: bytes) -> str:
    """Bytes as one line of text that no terminal obeys: what is not printable is written as Python would."""
    return escaped(payload.decode("utf-8", "backslashreplace"))


def _letter(settings: Settings, letter_id: str) -> Letter:
    for letter in letters_of(settings).whole([letter_id]):
        return letter
    raise RefusedError(
        f"there is no dead letter {escaped(letter_id)}: `shadowlane dlq list --handled` lists those that there are"
    )


def _shown(letter: Letter) -> Group:
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    for name, value in _facts(letter):
        facts.add_row(name, Text(escaped(value)))
    if letter.payload is None:
        return Group(facts, Text("the record was purged", "yellow"))
    head = "the record as it came"
    if not letter.is_whole:
        head += f", cut: the first {len(letter.payload):,} of {letter.payload_bytes:,} bytes"
    return Group(facts, Text(f"{head}:", "dim"), Text(visible(letter.payload), overflow="fold"))


def _facts(letter: Letter) -> list[tuple[str, str]]:
    place = f"{letter.source_topic}, partition {letter.source_partition}, offset {letter.source_offset}"
    facts = [
        ("id", letter.dead_letter_id),
        ("why", letter.reason),
        ("who", letter.component),
        ("when", f"{letter.ts:%Y-%m-%d %H:%M:%S} UTC"),
        ("from", f"{place}, line {letter.source_line}"),
        ("request", letter.request_id or "not known"),
        ("size", f"{letter.payload_bytes:,} bytes" + (", not UTF-8" * (letter.payload_encoding != "utf-8"))),
        ("state", letter.state),
    ]
    if letter.replayed_at is not None:
        facts.append(("replayed", f"{letter.replayed_at:%Y-%m-%d %H:%M:%S} UTC, by {letter.replayed_by}"))
        facts.append(("went to", letter.went_to))
    if letter.state is State.PURGED:
        facts.append(("purged", f"{letter.purged_at:%Y-%m-%d %H:%M:%S} UTC, by {letter.purged_by}"))
    return facts
