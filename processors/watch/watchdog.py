"""Ends a process that no longer progresses, so that whoever supervises it starts it again.

Faust's agents may die without a word, its conductor may hand out nothing, and a gap in what is acknowledged may stop
its commits; a loop may be blocked for good. What a stall is, :mod:`shadowlane.processors.watch.stall` says.
"""

import dataclasses
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

from shadowlane.processors.lag import Lag, Place
from shadowlane.processors.watch.board import Board
from shadowlane.processors.watch.stall import Seen, Stall, Stalls

log = logging.getLogger("shadowlane.watch")

EXIT_STALLED = 8
LOOK_S = 1.0
LAST_RESORT_S = 30.0  # more than this thread may be busy with a look
LOG_S = 2.0  # what a log may take, whose lock the thread that hangs may hold


class Lags(Protocol):
    """What the watchdog needs of :class:`shadowlane.processors.watch.lag_reader.LagReader`."""

    @property
    def lags(self) -> dict[Place, Lag]: ...

    def has_message(self, place: Place, offset: int) -> bool: ...

    def is_owned(self) -> bool: ...


class Watchdog:
    """Looks every second, in a thread of its own.

    Should a thread hold Python's own lock for good (a regular expression that never ends, say), this one can't look
    any more either: then ``faulthandler``'s timer, which needs no lock, ends the process, with exit code 1.

    Args:
        board: the component, with its loops.
        see: what of it is to be seen beside its loops and the lag.
        lags: what Kafka says.
        after_s: how long something may stand still.
        end: ends the process.
    """

    def __init__(
        self,
        board: Board,
        see: Callable[[], Seen],
        lags: Lags | None,
        after_s: float,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._board, self._see, self._lags, self._end = board, see, lags, end
        self._stalls = Stalls(after_s)
        self._after_s = after_s
        self._look_s = min(LOOK_S, after_s / 5)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(self._look_s):
            last_resort = (
                2 * max([self._after_s, *(loop.within_s for loop in self._board.loops)]) + LAST_RESORT_S
            )
            faulthandler.dump_traceback_later(last_resort, exit=True, file=sys.__stderr__ or 2)
            now = time.monotonic()
            elapsed, last = min(now - last, 2 * self._look_s), now
            try:
                stalls = self.look(elapsed)
            except Exception:
                log.exception("the watchdog could not look")
                continue
            if stalls and not self._stop.is_set():
                self._bark(stalls)
                return

    def look(self, elapsed: float) -> list[Stall]:
        """What stands still for good. Blocks for some seconds where a message has to be looked for."""
        seen = self._see()
        turns = {loop.name: (loop.turns, loop.within_s) for loop in list(self._board.loops) if loop.ends}
        lags = self._lags.lags if self._lags else {}
        seen = dataclasses.replace(seen, loops=turns, lags=lags)
        found = []
        for stall in self._stalls.look(seen, elapsed):
            if self._lags and self._is_excused(stall, self._lags):
                self._stalls.excuse(stall)
            else:
                found.append(stall)
        return found

    @staticmethod
    def _is_excused(stall: Stall, lags: Lags) -> bool:
        if stall.unread:
            return not lags.has_message(*stall.unread)
        return stall.unowned and lags.is_owned()

    def _bark(self, stalls: list[Stall]) -> None:
        faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)

        def tell() -> None:
            for stall in stalls:
                log.critical(
                    "%s stands still: %s for %.0f s. It ends with exit code %d, to be started again; nothing is "
                    "lost. What each thread was doing is above",
                    self._board.component,
                    stall.what,
                    stall.seconds,
                    EXIT_STALLED,
                )
            logging.shutdown()

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        teller.join(LOG_S)
        self._end(EXIT_STALLED)
