"""The commands, on one screen: what each takes. What it does is in the module of its name."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shadowlane import __version__
from shadowlane.cli.calls_app import calls_app
from shadowlane.cli.dlq_app import dlq_app
from shadowlane.cli.options import AnyRollout, AsJson, By, ConfigFile, RolloutName
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
embedded_app = typer.Typer(no_args_is_help=True, help="The servers for one machine.")
rollout_app = typer.Typer(
    no_args_is_help=True, help="Where a rollout stands, what was decided, and your word in it."
)
export_app = typer.Typer(no_args_is_help=True, help="The present shares, as other routers read them.")
alerts_app = typer.Typer(no_args_is_help=True, help="The channels to on-call.")
app.add_typer(config_app, name="config")
app.add_typer(rollout_app, name="rollout")
app.add_typer(alerts_app, name="alerts")
rollout_app.add_typer(export_app, name="export")
app.add_typer(calls_app, name="calls")
app.add_typer(dlq_app, name="dlq")
app.add_typer(store_app, name="store")
app.add_typer(embedded_app, name="embedded")

Effects = Annotated[
    list[str] | None,
    typer.Option(
        "--effect",
        metavar="EFFECT",
        help="Such as 'error_rate +1%' or 'quality_score -0.02 in language=de'; any number.",
    ),
]
PairsPerHour = Annotated[
    float | None, typer.Option(min=1, metavar="N", help="How many will come; else as in recent traffic.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why. It stays in the log.")]


class Broker(StrEnum):
    """What `up` starts as its broker."""

    EMBEDDED = "embedded"
    KAFKA = "kafka"


class Component(StrEnum):
    """What `run` runs."""

    WORKER = "worker"
    PAIRING = "pairing"
    SINK = "sink"
    CONTROLLER = "controller"
    FLAGS = "flags"
    INGEST = "ingest"


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"shadowlane {__version__}")


@app.command()
def up(
    config: ConfigFile = None,
    data: Annotated[
        Path,
        typer.Option("--data", metavar="DIR", help="Where the embedded servers' data and the logs live."),
    ] = Path("data"),
    servers: Annotated[
        bool,
        typer.Option(help="Start the embedded servers at the configured addresses, or use what is there."),
    ] = True,
    broker: Annotated[
        Broker,
        typer.Option(
            help="embedded keeps everything in memory; kafka is Apache Kafka, kept in DIR: needs Java 17."
        ),
    ] = Broker.EMBEDDED,
) -> None:
    """Everything on one machine, in one terminal: servers and components, with live status. Ctrl-C stops it."""
    from shadowlane.cli.up import run_up

    run_up(load(config), config, data, servers=servers, kafka=broker is Broker.KAFKA)


@app.command()
def run(
    component: Annotated[
        Component,
        typer.Argument(
            metavar="COMPONENT", help="worker, pairing, sink, controller, flags (OFREP) or ingest (HTTP)."
        ),
    ],
    config: ConfigFile = None,
) -> None:
    """One component, in the foreground, until SIGTERM or Ctrl-C."""
    from shadowlane.cli.run import run_component

    run_component(component, load(config))


@app.command()
def replay(
    files: Annotated[
        list[Path],
        typer.Argument(help="Logs, or directories of them; '-' is standard input: docs/replay.md."),
    ],
    config: ConfigFile = None,
    log_format: Annotated[
        str, typer.Option("--format", help="Of the logs, where their lines don't tell: docs/replay.md.")
    ] = "",
    mapping: Annotated[
        Path | None, typer.Option(help="YAML: where in each line our fields are. docs/replay.md.")
    ] = None,
    service: Annotated[str, typer.Option(help="The service, of lines that name none.")] = "replay",
    route: Annotated[str, typer.Option(help="The route, of lines that name none.")] = "chat.completions",
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Requests a second; else as fast as it goes.")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="With the gaps of the lines' times; 10: a tenth of them.")
    ] = None,
    now: Annotated[
        bool,
        typer.Option("--now", help="Requests get the time at which they are due; else they keep theirs."),
    ] = False,
    repeat: Annotated[int, typer.Option(min=1, help="All of it so many times, with new IDs.")] = 1,
    state: Annotated[
        Path | None, typer.Option(help="Where to note how far it is; else beside the first file.")
    ] = None,
) -> None:
    """Send recorded requests, with the responses served to them, as the mirror would have. Interrupted, it goes on."""
    from shadowlane.cli.replay import Asked, run_replay
    from shadowlane.producers.replay import Options

    asked = Asked(files, log_format, mapping, rate, speed, state)
    run_replay(load(config), asked, Options(service, route, now, repeat))


@app.command()
def status(
    part: Annotated[
        str | None, typer.Argument(help="One part alone: broker, store, worker, pairing, sink, controller.")
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
        bool,
        typer.Option(
            "--exit-code", help="Exit code by verdict: 0 promote, 10 hold, 11 inconclusive, 12 roll back."
        ),
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


@app.command()
def audit(
    rollout: AnyRollout = None,
    config: ConfigFile = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="Requests from then on: 2026-03-01T12:00 (UTC), or 90m ago."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Requests from before then.")
    ] = None,
    settle: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long until what looks lost is looked at again."),
    ] = 3.0,
    as_json: AsJson = False,
) -> None:
    """Prove, from Kafka's offsets and the store, that no request is lost; or name each that is."""
    from shadowlane.cli.audit import run_audit

    run_audit(load(config), rollout, since=since, until=until, settle=settle, as_json=as_json)


@rollout_app.command("status")
def rollout_status(rollout: AnyRollout = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Phase, stage and share of each rollout, what comes next and why."""
    from shadowlane.cli.rollout import run_status as show

    show(load(config), rollout, as_json=as_json)


@rollout_app.command("history")
def rollout_history(
    rollout: RolloutName = None,
    config: ConfigFile = None,
    limit: Annotated[int, typer.Option(min=1, help="The last so many decisions.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Every decision: when, what, who or what made it, and what it rested on (--json)."""
    from shadowlane.cli.rollout import run_history

    run_history(load(config), rollout, limit=limit, as_json=as_json)


@rollout_app.command("versions")
def rollout_versions(rollout: RolloutName = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Which version was the stable one, and when."""
    from shadowlane.cli.rollout import run_versions

    run_versions(load(config), rollout, as_json=as_json)


@rollout_app.command("recompute")
def rollout_recompute(rollout: RolloutName = None, config: ConfigFile = None) -> None:
    """Fold all pairs of the present stage again: is the evidence that is kept what the pairs say?"""
    from shadowlane.cli.rollout import run_recompute

    run_recompute(load(config), rollout)


@export_app.command("flagd")
def export_flagd(rollout: AnyRollout = None, config: ConfigFile = None) -> None:
    """Flags for flagd, with fractional targeting by key."""
    from shadowlane.cli.export import run_flagd

    run_flagd(load(config), rollout)


@export_app.command("gateway-api")
def export_gateway_api(
    gateway: Annotated[str, typer.Option("--gateway", metavar="NAME", help="The Gateway's name.")],
    stable: Annotated[
        str,
        typer.Option("--stable", metavar="SERVICE:PORT", help="The Service that runs the stable version."),
    ],
    candidate: Annotated[
        str, typer.Option("--candidate", metavar="SERVICE:PORT", help="The Service that runs the candidate.")
    ],
    rollout: RolloutName = None,
    config: ConfigFile = None,
    namespace: Annotated[str, typer.Option("--namespace", help="The HTTPRoute's; else it names none.")] = "",
    path: Annotated[str, typer.Option("--path", help="The paths that are split.")] = "/",
) -> None:
    """An HTTPRoute of Kubernetes' Gateway API, which splits a path by weights."""
    from shadowlane.cli.export import run_gateway_api

    run_gateway_api(
        load(config),
        rollout,
        gateway=gateway,
        stable=stable,
        candidate=candidate,
        namespace=namespace,
        path=path,
    )


@export_app.command("litellm")
def export_litellm(
    rollout: RolloutName = None,
    config: ConfigFile = None,
    model_name: Annotated[
        str, typer.Option("--model-name", help="What services ask for; else the rollout's name.")
    ] = "",
) -> None:
    """A model_list with weights, for LiteLLM's router or proxy."""
    from shadowlane.cli.export import run_litellm

    run_litellm(load(config), rollout, model_name=model_name)


@rollout_app.command("pause")
def rollout_pause(
    reason: Reason, rollout: RolloutName = None, config: ConfigFile = None, by: By = None
) -> None:
    """Stay in the stage: nothing promotes; the guard goes on."""
    _say("pause", config, rollout, by, reason)


@rollout_app.command("resume")
def rollout_resume(
    reason: Reason, rollout: RolloutName = None, config: ConfigFile = None, by: By = None
) -> None:
    """Go on after a pause, or give an inconclusive stage its time again."""
    _say("resume", config, rollout, by, reason)


@rollout_app.command("promote")
def rollout_promote(
    reason: Reason, rollout: RolloutName = None, config: ConfigFile = None, by: By = None
) -> None:
    """Go to the next stage by hand. A stage's webhook must say yes all the same."""
    _say("promote", config, rollout, by, reason)


@rollout_app.command("abort")
def rollout_abort(
    reason: Reason, rollout: RolloutName = None, config: ConfigFile = None, by: By = None
) -> None:
    """Take the candidate out: 0% of the traffic, for this epoch."""
    _say("abort", config, rollout, by, reason)


@rollout_app.command("return")
def rollout_return(
    reason: Reason, rollout: RolloutName = None, config: ConfigFile = None, by: By = None
) -> None:
    """After a promotion to 100%: back to the previous stable version, at once."""
    _say("return", config, rollout, by, reason)


@rollout_app.command("restart")
def rollout_restart(
    reason: Reason, rollout: RolloutName = None, config: ConfigFile = None, by: By = None
) -> None:
    """Start a candidate that was taken out before. It needs a new epoch: raise `generation` first."""
    _say("restart", config, rollout, by, reason)


def _say(command: str, config: Path | None, rollout: str | None, by: str | None, reason: str) -> None:
    from shadowlane.cli.rollout import run_command
    from shadowlane.rollout.machine import Command

    run_command(load(config), rollout, Command(command), by, reason)


@alerts_app.command("test")
def alerts_test(
    channel: Annotated[str | None, typer.Argument(metavar="CHANNEL", help="One alone; else all.")] = None,
    config: ConfigFile = None,
) -> None:
    """Send a test incident, and its end, to the channels: what on-call would get, and whether it got there."""
    from shadowlane.cli.alerts import run_test

    run_test(load(config), channel)


@app.command()
def plan(
    rollout: RolloutName = None,
    config: ConfigFile = None,
    effect: Effects = None,
    pairs_per_hour: PairsPerHour = None,
    as_json: AsJson = False,
) -> None:
    """From recent traffic: how many pairs and hours each stage needs, and what can't be decided in its time."""
    from shadowlane.cli.planning import run_plan

    run_plan(load(config), rollout, effect or [], pairs_per_hour=pairs_per_hour, as_json=as_json)


@app.command()
def simulate(
    rollout: RolloutName = None,
    config: ConfigFile = None,
    effect: Effects = None,
    runs: Annotated[int, typer.Option(min=10, help="How many rollouts to simulate of each effect.")] = 300,
    pairs_per_hour: PairsPerHour = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same result.")] = 1,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="An SVG of the detection times.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The real engine on synthetic traffic: false alarms, and how soon each effect is found."""
    from shadowlane.cli.planning import run_simulate

    run_simulate(
        load(config),
        rollout,
        effect or [],
        runs=runs,
        pairs_per_hour=pairs_per_hour,
        seed=seed,
        plot=plot,
        as_json=as_json,
    )


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
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="The data directory; made where missing.")
    ],
    port: Annotated[int, typer.Option(min=1, max=65535)] = 9092,
    limit: Annotated[
        int, typer.Option(metavar="BYTES", help="How much may wait to be read, before mirrors are refused.")
    ] = 4 * 2**30,
) -> None:
    """A Kafka-compatible broker on 127.0.0.1."""
    from shadowlane.embedded import broker

    broker.serve(port, data, limit=limit)


@embedded_app.command("kafka")
def embedded_kafka(
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="The data directory; made where missing.")
    ],
    nodes: Annotated[int, typer.Option(help="1, or 3 to lose one without losing anything.")] = 1,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the first node; docs/kafka.md.")] = 9092,
) -> None:
    """Apache Kafka on 127.0.0.1, kept in DIR. Needs Java 17; fetched from Maven Central once."""
    from shadowlane.embedded.kafka.server import serve

    serve(data, nodes, port)


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
