"""`shadowlane replay`."""

import hashlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import typer
import yaml
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from shadowlane.cli import EXIT_INTERRUPTED
from shadowlane.cli.times import shown_time
from shadowlane.errors import BrokerError, ConfigError
from shadowlane.processors.kafka import ensure_topics
from shadowlane.processors.outflow import outflow_of
from shadowlane.producers.link import KafkaLink
from shadowlane.producers.log import Log
from shadowlane.producers.logs import FORMATS, MAPPED, Mapping
from shadowlane.producers.logs.files import Source, find_sources
from shadowlane.producers.logs.reading import Reading, Refused
from shadowlane.producers.replay import Options, Pace, Replay, Told
from shadowlane.producers.replay.forwarder import Forwarder
from shadowlane.producers.replay.progress import Progress, load
from shadowlane.schemas.config import Settings

EXIT_REFUSED = 1
SHOWN = 20  # refused lines that are told one by one
SHOW_EVERY_S = 0.1
KAFKA_WAIT_S = 5.0
FLUSH_S = 300.0
INTERRUPTED_FLUSH_S = 5.0
BUFFER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says, beside what is the replay's own."""

    files: list[Path]
    form: str = ""
    mapping: Path | None = None
    rate: float | None = None
    speed: float | None = None
    state: Path | None = None


def run_replay(settings: Settings, asked: Asked, options: Options) -> None:
    """Sends every call that has not been sent; exits with 1 where some lines were refused, with 130 at Ctrl-C.

    Raises:
        ConfigError: a file can't be read, is of no format that is known, or options contradict each other.
        BrokerError: Kafka can't be reached, or did not take everything.
    """
    sources = find_sources(asked.files)
    _check(asked, options, sources)
    mapping = Mapping(_yaml(asked.mapping)) if asked.mapping else None
    by_time = asked.speed is not None and len(sources) > 1
    state = asked.state or _beside(asked.files[0])
    progress = _progress(settings, asked, options, sources, state, by_time=by_time)
    outflow = outflow_of(settings)
    kafka = settings.kafka
    console = Console(stderr=True)
    with console.status(f"asking Kafka at {kafka.bootstrap_servers}"):
        ensure_topics(kafka, KAFKA_WAIT_S)
    if progress.acknowledged:
        typer.echo(f"going on after the {progress.acknowledged:,} requests that Kafka has", err=True)
    link = KafkaLink(
        kafka.bootstrap_servers,
        kafka.topics,
        buffer_bytes=BUFFER_BYTES,
        delivery_timeout_s=FLUSH_S,
        options=kafka.client,
        log=Log().client,
    )
    skipped: Counter[str] = Counter()

    def read() -> Reading:
        reading = Reading(sources, asked.form, mapping, by_time=by_time)
        reading.skipped = skipped
        return reading

    with closing(Forwarder(link, kafka.topics, outflow, buffer_bytes=BUFFER_BYTES)) as forwarder:
        pace = Pace(rate=asked.rate, speed=asked.speed)
        replay = Replay(read, forwarder, pace, options, progress, state)
        with interrupts() as interrupted:
            try:
                _run(replay, console, interrupted)
                complete = replay.flush(FLUSH_S)
            except (
                KeyboardInterrupt,
                SystemError,
            ):  # what Ctrl-C may become within a callback of Kafka's client
                if not interrupted():
                    raise
                replay.flush(INTERRUPTED_FLUSH_S)
                _tell_interrupted(replay.told, state)
                sys.exit(EXIT_INTERRUPTED)
        if not complete:
            raise BrokerError(
                "Kafka did not take everything within its time; the same command goes on from there"
            )
    if asked.state is None:
        replay.forget()
    _tell(settings, replay.told, skipped)
    for reason, count in forwarder.without_content.items():
        typer.echo(f"{count:,} of them went without their content ({reason}): nobody is asked them", err=True)
    if replay.told.refused:
        sys.exit(EXIT_REFUSED)


def _check(asked: Asked, options: Options, sources: list[Source]) -> None:
    if any(source.is_stdin for source in sources) and (len(sources) > 1 or options.repeat > 1):
        raise ConfigError("standard input can be read once, and alone: --repeat needs a file")
    if not sources:
        raise ConfigError(f"{asked.files[0]}: holds no file")
    if asked.rate and asked.speed:
        raise ConfigError("--rate and --speed both say when a request is due: give one")
    if asked.form and asked.form not in (*FORMATS, MAPPED):
        raise ConfigError(f"--format: {asked.form!r} is none of {', '.join([*FORMATS, MAPPED])}")
    if asked.form == MAPPED and not asked.mapping:
        raise ConfigError("--format mapping needs --mapping FILE")
    if asked.mapping and asked.form not in ("", MAPPED):
        raise ConfigError(
            f"--mapping describes a format of its own, and --format says {asked.form}: give one"
        )


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_bytes())
    except OSError as exc:
        raise ConfigError(f"{path}: can't be read ({exc.strerror})") from exc
    except yaml.YAMLError as exc:
        raise ConfigError(f"{path}: is no YAML: {exc}") from exc


def _beside(first: Path) -> Path | None:
    if str(first) == "-":
        return None
    return (
        first / ".shadowlane-replay.json" if first.is_dir() else first.with_name(f".{first.name}.replay.json")
    )


def _progress(
    settings: Settings,
    asked: Asked,
    options: Options,
    sources: list[Source],
    state: Path | None,
    *,
    by_time: bool,
) -> Progress:
    """Where an interrupted run came to, or the beginning."""
    fixed: dict[str, Any] = {
        "--format": asked.form,
        "--mapping": asked.mapping.read_text("utf-8") if asked.mapping else "",
        "--service": options.service,
        "--route": options.route,
        "--now": options.now,
        "capture": settings.capture.model_dump(mode="json"),
        "--rate": asked.rate if options.now else None,
        "--speed": asked.speed if options.now else "in order of time" if by_time else None,
    }
    found = load(state, fixed) if state else None
    named = [[source.name for source in sources], options.service, options.route]
    instance = f"replay-{hashlib.blake2b(orjson.dumps(named), digest_size=8).hexdigest()}"
    return found or Progress(options=fixed, instance=instance, started=time.time_ns() // 1_000_000)


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed. It raises KeyboardInterrupt as ever, but Python only prints what is raised while C
    code drops an object, and goes on."""
    pressed = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.default_int_handler(number, frame)

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as a shell has it for what it starts in the background
        signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _run(replay: Replay, console: Console, interrupted: Callable[[], bool]) -> None:
    columns = SpinnerColumn(), TextColumn("replay {task.fields[said]}"), TimeElapsedColumn()
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("replay", total=None, said="0 sent")
        show = partial(bar.console.print, style="red", markup=False, highlight=False)
        shown = 0.0
        for refused in replay.run():
            if interrupted():
                raise KeyboardInterrupt
            if refused is not None and replay.told.refused <= SHOWN:
                show(_place(refused))
            if time.monotonic() - shown >= SHOW_EVERY_S:
                shown = time.monotonic()
                bar.update(task, said=_how_far(replay.told))
        bar.update(task, said=f"{replay.told.sent:,} sent, waiting for Kafka")


def _place(refused: Refused) -> str:
    line = f", line {refused.number}" if refused.number else ""
    return f"{refused.source}{line}: {refused.reason}"


def _how_far(told: Told) -> str:
    said = f"{told.sent:,} sent"
    if told.at is not None:
        said += f", at {shown_time(told.at)}"
    return said + (f", {told.lag_s:.1f} s behind" if told.lag_s >= 1 else "")


def _tell_interrupted(told: Told, state: Path | None) -> None:
    then = f"the same command goes on from there ({state})" if state else "give --state to be able to go on"
    typer.echo(f"interrupted after {told.sent:,} sent; {then}", err=True)


def _tell(settings: Settings, told: Told, skipped: Counter[str]) -> None:
    typer.echo(f"{told.sent:,} sent, {told.refused:,} refused", err=True)
    if told.before:
        typer.echo(f"{told.before:,} were sent before", err=True)
    if told.sampled_out:
        typer.echo(f"{told.sampled_out:,} left out: not in the sample (capture.sample)", err=True)
    if told.repeated:
        typer.echo(f"{told.repeated:,} left out: the ID of another one before them", err=True)
    for name, count in skipped.items():
        typer.echo(f"{count:,} left out: no call to a language model ({name})", err=True)
    unclaimed = [
        (count, place) for place, count in told.places.items() if settings.rollout_for(*place) is None
    ]
    for count, (service, route) in sorted(unclaimed, reverse=True)[:SHOWN]:
        typer.echo(
            f"{count:,} of them belong to no rollout: none takes service {service!r}, route {route!r}",
            err=True,
        )
