"""`shadowlane replay`."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from shadowlane.errors import BrokerError, CodecError, ConfigError
from shadowlane.processors.kafka import ensure_topics
from shadowlane.producers import Publisher
from shadowlane.producers.recorded import read_line
from shadowlane.schemas.config import Settings

EXIT_REFUSED = 1
SHOWN = 20  # refused lines that are told one by one
KAFKA_WAIT_S = 5.0


def run_replay(
    settings: Settings, file: Path, *, service: str, route: str, rate: float | None, repeat: int
) -> None:
    """Sends every line; exits with 1 where some were refused.

    Raises:
        ConfigError: the file can't be read, or standard input is to be repeated.
        BrokerError: Kafka can't be reached, or did not take everything.
    """
    if str(file) == "-" and repeat > 1:
        raise ConfigError("standard input can be read once: --repeat needs a file")
    if str(file) != "-":
        _opened(file).close()
    kafka = settings.kafka
    console = Console(stderr=True)
    with console.status(f"asking Kafka at {kafka.bootstrap_servers}"):
        ensure_topics(kafka, KAFKA_WAIT_S)
    sent = refused = 0
    unclaimed: dict[tuple[str, str], int] = {}
    with (
        Publisher(kafka.bootstrap_servers, topic_prefix=kafka.topic_prefix, client=kafka.client) as publisher,
        _progress(console, file, repeat) as (progress, task),
    ):
        started = time.monotonic()
        for _ in range(repeat):
            for number, line in _lines(file):
                progress.advance(task, len(line))
                try:
                    request, response = read_line(
                        line, service=service, route=route, now_ms=time.time_ns() // 1_000_000
                    )
                    publisher.send(request, response)
                except CodecError as exc:
                    refused += 1
                    if refused <= SHOWN:
                        progress.console.print(
                            f"line {number}: {exc}", style="red", markup=False, highlight=False
                        )
                    continue
                sent += 1
                progress.update(task, sent=f"{sent:,} sent")
                if settings.rollout_for(request.service, request.route) is None:
                    named = request.service, request.route
                    unclaimed[named] = unclaimed.get(named, 0) + 1
                if rate:
                    time.sleep(max(0.0, started + sent / rate - time.monotonic()))
        progress.update(task, sent=f"{sent:,} sent, waiting for Kafka")
        complete = publisher.flush(300.0)
        dropped = publisher.stats()["dropped"]
    typer.echo(f"{sent:,} sent, {refused:,} refused", err=True)
    for (named_service, named_route), count in sorted(unclaimed.items(), key=lambda item: -item[1])[:SHOWN]:
        typer.echo(
            f"{count:,} of them belong to no rollout: none takes service {named_service!r}, "
            f"route {named_route!r}",
            err=True,
        )
    if dropped or not complete:
        raise BrokerError(f"Kafka did not take everything within its time: dropped {dropped or 'unknown'}")
    if refused:
        sys.exit(EXIT_REFUSED)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line) of every line that is not blank."""
    with contextlib.ExitStack() as stack:
        source = sys.stdin.buffer if str(file) == "-" else stack.enter_context(_opened(file))
        for number, line in enumerate(source, start=1):
            if line.strip():
                yield number, line


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as exc:
        raise ConfigError(f"{file}: can't be read ({exc.strerror})") from exc


@contextlib.contextmanager
def _progress(console: Console, file: Path, repeat: int) -> Iterator[tuple[Progress, TaskID]]:
    size = None if str(file) == "-" or not file.exists() else file.stat().st_size * repeat
    share = TextColumn("{task.percentage:>3.0f}%") if size else TextColumn("")
    columns = (TextColumn("replay"), BarColumn(), share, TextColumn("{task.fields[sent]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        yield progress, progress.add_task("replay", total=size, sent="0 sent")
