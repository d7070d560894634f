"""`shadowlane run COMPONENT`."""

import logging
import sys

from shadowlane.evaluators.check import check
from shadowlane.schemas.config import Settings


def run_component(component: str, settings: Settings) -> None:
    """Runs one component until it is told to stop."""
    check(settings)
    configure_logging()
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


def configure_logging() -> None:
    """One line an event on stderr. Libraries speak up from a warning on."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        force=True,
    )
    logging.getLogger("shadowlane").setLevel(logging.INFO)
