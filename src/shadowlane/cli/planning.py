"""`shadowlane plan` and `shadowlane simulate`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from math import ceil
from pathlib import Path

import orjson
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from shadowlane.cli.render import printable, terminal
from shadowlane.cli.store import reader
from shadowlane.errors import ConfigError, StoreError
from shadowlane.evaluators.check import longest_hours
from shadowlane.rollout.plan import Claim, Detection, Plan, StagePlan, plan
from shadowlane.rollout.recent import Recent, recent
from shadowlane.rollout.simulation.baseline import Baseline
from shadowlane.rollout.simulation.effects import parse_effect
from shadowlane.schemas.config import Rollout, Settings

MOST_BUCKETS = 20_000
err = terminal(stderr=True)


def run_plan(
    settings: Settings,
    name: str | None,
    effects: Sequence[str],
    *,
    pairs_per_hour: float | None,
    as_json: bool,
) -> None:
    """Prints what each stage needs.

    Raises:
        ConfigError: an effect can't be read; no traffic is known and none is given.
        StoreError: the store can't be read, and ``pairs_per_hour`` is not given.
    """
    rollout = settings.rollout(name)
    made = plan(rollout, _traffic(settings, rollout, pairs_per_hour), [parse_effect(e) for e in effects])
    if as_json:
        typer.echo(orjson.dumps(made, option=orjson.OPT_INDENT_2).decode())
    else:
        terminal().print(_plan(made))


def run_simulate(
    settings: Settings,
    name: str | None,
    effects: Sequence[str],
    *,
    runs: int,
    pairs_per_hour: float | None,
    seed: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Prints what becomes of simulated rollouts, without an effect and with each.

    Raises:
        ConfigError: an effect can't be read; no traffic is known and none is given; the plot can't be written.
        StoreError: the store can't be read, and ``pairs_per_hour`` is not given.
    """
    from shadowlane.rollout.simulate import Simulation, simulate
    from shadowlane.rollout.simulation.plot import spark, spark_axis, svg

    rollout = settings.rollout(name)
    wanted = [parse_effect(e) for e in effects]
    baseline = _traffic(settings, rollout, pairs_per_hour).baseline
    bucket_s = _bucket(settings, rollout)
    with err.status("simulating …") as status:
        made: Simulation = simulate(
            rollout,
            wanted,
            runs,
            baseline,
            bucket_s=bucket_s,
            seed=seed,
            told=lambda line: status.update(f"simulating {line}"),
        )
    if plot is not None:
        try:
            plot.write_text(svg(made), encoding="utf-8")
        except OSError as exc:
            raise ConfigError(f"--plot: {plot} can't be written ({exc.strerror})") from exc
    if as_json:
        typer.echo(orjson.dumps(made, option=orjson.OPT_INDENT_2).decode())
        return
    table = _table(
        "effect", "rolled back", "promoted", "inconclusive", "seen", "half after", "90% after", "pairs"
    )
    for outcome in made.effects:
        none = outcome is made.effects[0]
        table.add_row(
            printable(outcome.effect),
            Text(f"{outcome.rolled_back:.1%}", "red" if none and outcome.rolled_back > 0.02 else ""),
            f"{outcome.promoted:.1%}",
            f"{outcome.inconclusive:.1%}",
            "" if none else f"{outcome.detected:.1%}",
            _hours(outcome.hours.median),
            _hours(outcome.hours.p90),
            "" if outcome.pairs.median is None else f"{outcome.pairs.median:,.0f}",
        )
    parts: list[RenderableType] = [
        Text.assemble(
            (made.rollout, "bold"), f"  {made.runs:,} runs of each, {made.guard_hours:g} h of guard"
        ),
        Text(f"traffic: {baseline.source}, {baseline.pairs_per_hour:,.0f} pairs an hour", "dim"),
        *(
            [Text(f"evidence by buckets of {made.bucket_s} s, so that it does not take minutes", "dim")]
            if made.bucket_s != settings.controller.bucket_s
            else []
        ),
        Text(),
        table,
    ]
    seen = [outcome for outcome in made.effects[1:] if outcome.curve]
    if seen:
        width = max(len(outcome.effect) for outcome in seen)
        parts += [Text(), Text("when it is seen, after its beginning", "dim")]
        parts += [Text(f"{outcome.effect:<{width}}  {spark(outcome)}") for outcome in seen]
        parts.append(Text(f"{'':<{width}}  {spark_axis()}", "dim"))
    parts.append(
        Text(f"{made.replayed} of the runs went through the real fold too, and came out the same", "dim")
    )
    if plot is not None:
        parts.append(Text(f"drawn in {plot}"))
    terminal().print(Group(Text(), *parts, Text()))


def _bucket(settings: Settings, rollout: Rollout) -> int:
    """The controller's, or a longer one where stages are so long that a run would take minutes."""
    hours = sum(longest_hours(rollout, stage) for stage in rollout.stages)
    return max(settings.controller.bucket_s, ceil(hours * 3600 / MOST_BUCKETS))


def _traffic(settings: Settings, rollout: Rollout, pairs_per_hour: float | None) -> Recent:
    try:
        found = recent(reader(settings), rollout, datetime.now(UTC))
    except StoreError:
        if pairs_per_hour is None:
            raise
        found = None
    if found is None:
        if pairs_per_hour is None:
            raise ConfigError(
                f"the store knows of no traffic of {rollout.name}: say how much there will be, with --pairs-per-hour"
            )
        return Recent(Baseline("as stated, nothing measured", pairs_per_hour))
    if pairs_per_hour is None:
        return found
    source = f"{found.baseline.source}; pairs an hour as stated"
    return replace(found, baseline=replace(found.baseline, source=source, pairs_per_hour=pairs_per_hour))


def _plan(made: Plan) -> Group:
    total = "never promoted" if made.hours is None else f"about {_hours(made.hours)} in all"
    parts: list[RenderableType] = [
        Text.assemble(
            (made.rollout, "bold"), f"  {total}, for a candidate that is as good as the stable version"
        ),
        Text(f"reckoned from {made.source}: {made.pairs_per_hour:,.0f} pairs an hour", "dim"),
        Text(),
        _stages(made.stages),
    ]
    for alike, same in groupby(made.stages, key=lambda stage: (stage.claims, stage.detections)):
        names = [stage.stage for stage in same]
        parts += [Text(), Text(f"{'stage' if len(names) == 1 else 'stages'} {', '.join(names)}", "bold")]
        parts += _decided(*alike)
    parts += [Text(), Text("show: the worst that is still shown; catch: the least harm still caught", "dim")]
    if made.slices:
        table = _table("slice", "share", "pairs an hour", "")
        for one in made.slices:
            note = "must show all by itself" if one.major else "too small to be seen" if one.too_small else ""
            table.add_row(printable(one.name), f"{one.share:.1%}", f"{one.pairs_per_hour:,.0f}", note)
        parts += [Text(), table]
    if made.warnings:
        parts += [Text(), *(Text(f"! {printable(warning)}", "yellow") for warning in made.warnings)]
    return Group(Text(), *parts, Text())


def _stages(stages: Sequence[StagePlan]) -> Table:
    table = _table(
        "stage", "traffic", "pairs an hour", "pairs needed", "takes", "at least", "ends", "waits for"
    )
    for stage in stages:
        table.add_row(
            stage.stage,
            f"{stage.traffic_pct:g}%",
            f"{stage.pairs_per_hour:,.0f}",
            "never" if stage.pairs is None else f"{stage.pairs:,}",
            Text("never", "red") if stage.hours is None else _hours(stage.hours),
            _hours(stage.duration_hours),
            _hours(stage.max_hours),
            printable(stage.waits_for),
        )
    return table


def _decided(claims: Sequence[Claim], detections: Sequence[Detection]) -> Iterator[RenderableType]:
    """What must be shown, then what would be caught, in all traffic; then in each slice, and by given effects."""
    in_slices = [one for one in claims if one.slice and one.decides == "roll_back"]
    yield _claims([one for one in claims if one not in in_slices])
    if in_slices:
        yield from (Text(), _caught_in(in_slices))
    if detections:
        yield from (Text(), _detections(detections))


def _caught_in(claims: Sequence[Claim]) -> Table:
    """A line for each slice: of each claim, what would be caught there until the stage's end."""
    table = _table("slice", *dict.fromkeys(printable(one.claim) for one in claims))
    for name, ones in groupby(claims, key=lambda one: one.slice):
        table.add_row(printable(name), *(_edge(one, one.in_stage) for one in ones))
    return table


def _claims(claims: Sequence[Claim]) -> Table:
    table = _table("", "claim", "slice", "pairs", "takes", "in the stay", "until the end")
    for one in claims:
        promotes = one.decides == "promote"
        table.add_row(
            Text("show" if promotes else "catch", "" if promotes else "dim"),
            printable(one.claim),
            printable(one.slice),
            ("never" if one.pairs is None else f"{one.pairs:,}") if promotes else "",
            (Text("never", "red") if one.hours is None else _hours(one.hours)) if promotes else "",
            _edge(one, one.in_stay),
            _edge(one, one.in_stage),
        )
    return table


def _edge(one: Claim, value: float | None) -> str:
    """The worst that is still shown, or the least harm that is still caught."""
    if value is None:
        return "nothing"
    if one.decides == "promote":
        return f"{'down' if value > one.threshold else 'up'} to {_short(value)}"
    return f"{_short(value)} or {'less' if value < one.threshold else 'more'}"


def _short(value: float) -> str:
    if 0 < abs(value) < 0.0001:
        value = 0.0001 if value > 0 else -0.0001
    return f"{value:.4f}" if abs(value) < 1 else f"{value:.4g}"


def _detections(detections: Sequence[Detection]) -> Table:
    table = _table("effect", "caught by", "slice", "pairs", "after")
    for one in detections:
        late = "" if one.in_stage else "red"
        table.add_row(
            printable(one.effect),
            printable(one.claim),
            printable(one.slice),
            "never" if one.pairs is None else f"{one.pairs:,}",
            Text("never" if one.hours is None else _hours(one.hours), late),
        )
    return table


def _hours(hours: float | None) -> str:
    if hours is None:
        return ""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} d"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    left = ("effect", "stage", "slice", "claim", "waits for", "caught by", "")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", overflow="fold")
    return table
