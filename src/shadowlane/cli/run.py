"""`shadowlane run COMPONENT`."""

import logging
import signal
import threading

from shadowlane.errors import PoisonError
from shadowlane.evaluators.check import check
from shadowlane.processors.watch.logs import configure
from shadowlane.schemas.config import Settings

HOLD_TELL_S = 60.0


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
    elif component == "flags":
        from shadowlane.rollout.flags import run
    else:
        from shadowlane.processors.ingest import run
    try:
        run(settings)
    except PoisonError as exc:
        if settings.dead_letters.hold:
            hold(exc)
        raise


def hold(error: PoisonError) -> None:
    """Stays, and says why each minute, until SIGTERM or SIGINT: nothing starts this again meanwhile."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    while True:
        logging.getLogger("shadowlane.run").critical("does nothing until it is started again: %s", error)
        if ended.wait(HOLD_TELL_S):
            return
