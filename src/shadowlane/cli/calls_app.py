"""`shadowlane calls …`: what each command takes. What it does is in calls.py."""

from typing import Annotated

import typer

from shadowlane.cli.options import AnyRollout, By, ConfigFile
from shadowlane.schemas.config import load

calls_app = typer.Typer(no_args_is_help=True, help="What the shadow side asks: stop it, and let it go on.")

Why = Annotated[
    str, typer.Option("--why", metavar="TEXT", help="Stands in each response that is not asked for.")
]


@calls_app.command("stop")
def calls_stop(rollout: AnyRollout = None, why: Why = "", by: By = None, config: ConfigFile = None) -> None:
    """No call more, within a second, in no worker: of this rollout, or of all. Calls under way are ended.

    What is read meanwhile makes no pair, and is in the ledger as abstained, `stopped`.
    """
    from shadowlane.cli.calls import set_calls

    set_calls(load(config), rollout, by, why, stopped=True)


@calls_app.command("start")
def calls_start(rollout: AnyRollout = None, why: Why = "", by: By = None, config: ConfigFile = None) -> None:
    """Calls go on: of this rollout, or of all that were stopped without a name."""
    from shadowlane.cli.calls import set_calls

    set_calls(load(config), rollout, by, why, stopped=False)


@calls_app.command("list")
def calls_list(config: ConfigFile = None) -> None:
    """What is stopped, by whom, since when, and why."""
    from shadowlane.cli.calls import list_calls

    list_calls(load(config))
