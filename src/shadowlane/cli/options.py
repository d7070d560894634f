"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="YAML; else SHADOWLANE_CONFIG, else ./shadowlane.yaml."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]
By = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who says so; else the user of this session.")
]
RolloutName = Annotated[
    str | None, typer.Argument(metavar="ROLLOUT", help="May be left out where there is only one.")
]
AnyRollout = Annotated[str | None, typer.Argument(metavar="ROLLOUT", help="One alone; else all.")]
