"""`shadowlane config schema` and `shadowlane config check`."""

import os
from pathlib import Path

import orjson
import typer

from shadowlane.evaluators.check import check
from shadowlane.schemas.config import Settings, load
from shadowlane.schemas.config_errors import place, read_yaml


def print_schema() -> None:
    """The JSON Schema of the configuration file, for editors and for CI."""
    schema = Settings.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    typer.echo(orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode())


def check_file(file: Path) -> None:
    """Raises ConfigError with all that is wrong; else says what the file declares."""
    settings = load(file)
    _, lines = read_yaml(file)
    check(settings, lambda location: place(location, lines, str(file)))
    typer.echo(f"{file}: right")
    for rollout in settings.rollouts:
        criteria = ", ".join(f"{metric} {limit}" for metric, limit in rollout.success_criteria.items())
        typer.echo(
            f"  rollout {rollout.name} (epoch {rollout.epoch}): "
            f"{rollout.stable.model or 'any model'} -> {rollout.candidate.model or 'the same model'} "
            f"at {rollout.candidate.base_url}; promote on {criteria}; roll back on {rollout.auto_rollback.trigger}"
        )
        variable = rollout.candidate.api_key_env
        if variable and not os.environ.get(variable):
            typer.echo(f"    {variable} is not set here; the shadow worker needs it")
    if not settings.rollouts:
        typer.echo("  no rollout: requests are mirrored, and nothing is shadowed")
