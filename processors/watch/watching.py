"""Puts the parts around a running component: the port, the lag, the watchdog."""

import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.registry import Collector

from shadowlane import __version__, metrics
from shadowlane.processors.health import deployment
from shadowlane.processors.lag import reads
from shadowlane.processors.watch.board import Board
from shadowlane.processors.watch.figures import Family, figure, figures
from shadowlane.processors.watch.lag_reader import LagReader
from shadowlane.processors.watch.server import serving
from shadowlane.processors.watch.stall import Seen
from shadowlane.processors.watch.watchdog import Watchdog
from shadowlane.schemas.config import Settings

log = logging.getLogger("shadowlane.watch")

LOOK_S = 1.0
STALLED_STARTS = "SHADOWLANE_STALLED_STARTS"
"""The environment variable in which a supervisor says how often the watchdog has ended this component."""


class Figures(Collector):
    """Everything of one component, read at the scrape."""

    def __init__(self, board: Board, lags: LagReader | None) -> None:
        self._board, self._lags = board, lags
        told = os.environ.get(STALLED_STARTS, "")
        self._stalled = int(told) if told.isdecimal() else 0

    def describe(self) -> list[Family]:
        """Nothing: to register must not read a component that does not run yet."""
        return []

    def collect(self) -> Iterator[Family]:
        board = self._board
        build = (board.component, __version__, platform.python_version())
        yield figures(metrics.BUILD_INFO, {build: 1})
        yield figures(metrics.LOOP_AGE, {loop.name: loop.age for loop in board.loops})
        yield figure(metrics.READY, bool(board.readiness()["ready"]))
        yield figure(metrics.STALLED, self._stalled)
        yield figures(metrics.WAITING, {wait.what: wait.seconds for wait in board.lasting()})
        yield from board.figures()
        if self._lags:
            yield from self._lags.figures()


@contextmanager
def watching(settings: Settings, board: Board, see: Callable[[], Seen] = Seen) -> Iterator[int]:
    """Serves and guards ``board``'s component within the ``with`` block; gives the port, 0 where none is served.

    ``see`` is called from the watchdog's thread.
    """
    monitoring = settings.monitoring
    board.deployment = deployment(settings)
    with ExitStack() as stack:
        lags = None
        if reads(board.component, settings.kafka):
            lags = LagReader(board.component, settings.kafka, monitoring.lag_every_s)
            lags.start()
            stack.callback(lags.stop)
            board.pace = lags.pace
        stack.enter_context(_looking(board, lags))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Figures(board, lags))
        ProcessCollector(registry=registry)
        key = f"monitoring.{board.component}_port"
        port = stack.enter_context(
            serving(monitoring.host, monitoring.port_of(board.component), key, board, registry)
        )
        if monitoring.stalled_after_s:
            watchdog = Watchdog(board, see, lags, monitoring.stalled_after_s)
            watchdog.start()
            stack.callback(watchdog.stop)
        yield port


@contextmanager
def _looking(board: Board, lags: LagReader | None) -> Iterator[None]:
    """Asks the component each second what it waits for: one who asks later is told since when."""
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(LOOK_S):
            try:
                waiting = {**(lags.waiting() if lags else {}), **board.waiting()}
                board.waits.look(waiting, time.monotonic())
            except Exception:
                log.exception("what is waited for is not known")

    thread = threading.Thread(target=look, name="waits", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
