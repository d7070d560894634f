"""`shadowlane config schema` and `shadowlane config check`."""

import os
from pathlib import Path

import orjson
import typer

from shadowlane.evaluators.cautions import warnings
from shadowlane.evaluators.check import check, longest_hours
from shadowlane.rollout.simulation.stages import walked
from shadowlane.schemas.config import Rollout, Settings, load
from shadowlane.schemas.config.errors import Location, place, read_yaml


def print_schema() -> None:
    """The JSON Schema of the configuration file, for editors and for CI."""
    schema = Settings.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    typer.echo(orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode())


def check_file(file: Path) -> None:
    """Raises ConfigError with all that is wrong; else says what the file declares, and warns on stderr."""
    settings = load(file)
    _, lines = read_yaml(file)

    def key(location: Location) -> str:
        return place(location, lines, str(file))

    check(settings, key)
    typer.echo(f"{file}: right")
    for rollout in settings.rollouts:
        typer.echo(
            f"  rollout {rollout.name} (epoch {rollout.epoch}): "
            f"{rollout.stable.model or 'any model'} -> {rollout.candidate.model or 'the same model'} "
            f"at {rollout.candidate.base_url}; roll back on {rollout.auto_rollback.trigger}"
        )
        decided = walked(rollout)
        for stage in decided:
            criteria = ", ".join(f"{metric} {limit}" for metric, limit in rollout.criteria_of(stage).items())
            typer.echo(
                f"    {stage.name}: {stage.traffic_pct:g}% of the traffic, {stage.duration_hours:g} to "
                f"{longest_hours(rollout, stage):g} h; promote on {criteria or 'quality kept'}"
            )
        for stage in rollout.stages[len(decided) :]:
            typer.echo(
                f"    {stage.name}: {stage.traffic_pct:g}% of the traffic, at once for good: the candidate is the "
                f"stable version, and guarded for {rollout.keep_previous_hours:g} h"
            )
        for variable, whose in dict.fromkeys(_variables(rollout)):
            if variable and not os.environ.get(variable):
                typer.echo(f"    {variable} is not set here; {whose} needs it")
    for channel in settings.alerts:
        for variable in (channel.url_env, channel.key_env):
            if variable and not os.environ.get(variable):
                typer.echo(
                    f"  {variable} is not set here; the controller needs it for alert channel {channel.name}"
                )
    if not settings.rollouts:
        typer.echo("  no rollout: requests are mirrored, and nothing is shadowed")
    for warning in warnings(settings, key):
        typer.echo(f"warning: {warning}", err=True)


def _variables(rollout: Rollout) -> list[tuple[str, str]]:
    """The environment variables that a rollout names, and who reads each."""
    confirm = (stage.confirm for stage in rollout.stages if stage.confirm)
    return [
        (rollout.candidate.api_key_env, "the shadow worker"),
        (rollout.stable.api_key_env, "the shadow worker"),
        *((one.secret_env, "the controller") for one in confirm),
    ]
