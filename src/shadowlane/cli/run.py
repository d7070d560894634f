"""`shadowlane run COMPONENT`."""

from shadowlane.evaluators.check import check
from shadowlane.processors.watch.logs import configure
from shadowlane.schemas.config import Settings


def run_component(component: str, settings: Settings) -> None:
    """Runs one component until it is told to stop."""
    check(settings)
    configure(component, settings.logs.format)
    if component == "worker":
        from shadowlane.processors.worker import run
    elif component == "pairing":
        from shadowlane.processors.app import run
    elif component == "sink":
        from shadowlane.processors.sink import run
    elif component == "controller":
        from shadowlane.rollout.controller import run
    else:
        from shadowlane.rollout.flags import run
    run(settings)
