"""The commands, on one screen: what each takes. What it does is in the module of its name."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shadowlane import __version__
from shadowlane.schemas.config import load

app = typer.Typer(
    name="shadowlane",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Shadow a candidate model on production traffic, and promote it or roll it back on evidence.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(
    no_args_is_help=True, help="The configuration: its schema, and whether a file is right."
)
store_app = typer.Typer(no_args_is_help=True, help="The tables and views in ClickHouse.")
embedded_app = typer.Typer(no_args_is_help=True, help="The two servers for one machine.")
app.add_typer(config_app, name="config")
app.add_typer(store_app, name="store")
app.add_typer(embedded_app, name="embedded")

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="YAML; else SHADOWLANE_CONFIG, else ./shadowlane.yaml."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]
RolloutName = Annotated[
    str | None, typer.Argument(metavar="ROLLOUT", help="May be left out where there is only one.")
]


class Component(StrEnum):
    """What `run` runs."""

    WORKER = "worker"
    PAIRING = "pairing"
    SINK = "sink"


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"shadowlane {__version__}")


@app.command()
def up(
    config: ConfigFile = None,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Where the embedded store and the logs live.")
    ] = Path("data"),
    servers: Annotated[
        bool,
        typer.Option(help="Start the embedded servers at the configured addresses, or use what is there."),
    ] = True,
) -> None:
    """Everything on one machine, in one terminal: servers and components, with live status. Ctrl-C stops it."""
    from shadowlane.cli.up import run_up

    run_up(load(config), config, data, servers=servers)


@app.command()
def run(component: Component, config: ConfigFile = None) -> None:
    """One component, in the foreground, until SIGTERM or Ctrl-C."""
    from shadowlane.cli.run import run_component

    run_component(component, load(config))


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="JSON lines; '-' is standard input. Format: docs/replay.md.")],
    config: ConfigFile = None,
    service: Annotated[str, typer.Option(help="The service, of lines that name none.")] = "replay",
    route: Annotated[str, typer.Option(help="The route, of lines that name none.")] = "chat.completions",
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Requests a second; else as fast as it goes.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="The whole file so many times.")] = 1,
) -> None:
    """Send recorded requests, with the responses served to them, as the mirror would have."""
    from shadowlane.cli.replay import run_replay

    run_replay(load(config), file, service=service, route=route, rate=rate, repeat=repeat)


@app.command()
def status(
    part: Annotated[
        str | None, typer.Argument(help="One part alone: broker, store, worker, pairing, sink.")
    ] = None,
    config: ConfigFile = None,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Wait so long for all to be up.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Whether the servers and components are up, and how far behind each is."""
    from shadowlane.cli.status import run_status

    run_status(load(config), part, wait=wait, as_json=as_json)


@app.command()
def report(
    rollout: RolloutName = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    exit_code: Annotated[
        bool, typer.Option(help="Exit code by verdict: 0 promote, 10 hold, 11 inconclusive, 12 roll back.")
    ] = False,
) -> None:
    """The verdict on a rollout, what it rests on, and where every request went."""
    from shadowlane.cli.report import run_report

    run_report(load(config), rollout, as_json=as_json, exit_code=exit_code)


@app.command()
def pairs(
    rollout: RolloutName = None,
    config: ConfigFile = None,
    worst: Annotated[int, typer.Option(min=1, max=1000, help="How many of the pairs that got worst.")] = 10,
    as_json: AsJson = False,
) -> None:
    """The pairs in which the candidate did worst, side by side."""
    from shadowlane.cli.pairs import run_pairs

    run_pairs(load(config), rollout, worst=worst, as_json=as_json)


@config_app.command("schema")
def config_schema() -> None:
    """Print the configuration's JSON Schema."""
    from shadowlane.cli.config import print_schema

    print_schema()


@config_app.command("check")
def config_check(file: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Check a file as the components would read it: each fault with its line, key, and remedy."""
    from shadowlane.cli.config import check_file

    check_file(file)


@store_app.command("migrate")
def store_migrate(config: ConfigFile = None) -> None:
    """Bring the tables and views up to this version. Safe to run again, and by several at once."""
    from shadowlane.cli.store import run_migrate

    run_migrate(load(config))


@embedded_app.command("broker")
def embedded_broker(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 9092,
) -> None:
    """A Kafka-compatible broker on 127.0.0.1. It keeps everything in memory, and nothing once it stops."""
    from shadowlane.embedded import broker

    broker.serve(port)


@embedded_app.command("store")
def embedded_store(
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="The data directory; made where missing.")
    ],
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8123,
) -> None:
    """ClickHouse's engine in one process, with ClickHouse's HTTP interface on 127.0.0.1."""
    from shadowlane.embedded import store

    store.serve(data, port)
