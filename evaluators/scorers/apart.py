"""A scorer of the user's own, in a process of its own, so that it can be ended where it does not come back.

A thread would not do: what holds Python's lock (a regular expression that explodes on one answer) would hold up
the whole of pairing, and after a restart the same pair would do it again. So each call has :data:`LIMIT_S`; a
scorer that takes longer, or that takes its process with it, abstains on this pair and starts afresh for the next.
"""

import logging
import multiprocessing
import numbers
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from shadowlane.errors import ShadowlaneError
from shadowlane.schemas.config import Price

log = logging.getLogger("shadowlane.scorers")

LIMIT_S = 5.0
"""How long one call may take; pairing waits meanwhile."""

START_S = 60.0
"""How long its process may take to start: what a scorer loads, it loads then."""

IN_A_ROW = 3
"""So many calls without an answer, one after the other, set a scorer aside."""

ASIDE_S = 60.0
"""For how long: it abstains without being called, and then is tried again."""


class ScorerFailedError(ShadowlaneError):
    """A scorer gave no answer. The text says why, and never holds a part of the answers."""


@dataclass(frozen=True, slots=True)
class NoNumber:
    """Stands for a value that is none of a scorer's, and does not travel. ``kind`` is its type's name."""

    kind: str


class Apart:
    """Called like the scorer that it stands for. For one thread.

    Args:
        name: of the scorer, for messages.
        make: gives the scorer, in its process; must be importable there.
        arguments: of ``make``.
    """

    def __init__(
        self,
        name: str,
        make: Callable[..., Callable[..., Any]],
        arguments: tuple[str, Mapping[str, Any], Mapping[str, Price], str],
        *,
        limit_s: float = LIMIT_S,
        aside_s: float = ASIDE_S,
    ) -> None:
        self._name, self._make, self._arguments = name, make, arguments
        self._limit_s, self._aside_s = limit_s, aside_s
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._in_a_row = 0
        self._aside_until = 0.0

    def __call__(self, *arguments: Any) -> Any:
        """What the scorer gives. Blocks for ``limit_s`` at most, and for its start.

        Raises:
            ScorerFailedError: it raised, did not come back, ended its process, or is set aside.
        """
        if time.monotonic() < self._aside_until:
            raise ScorerFailedError(f"is set aside for {self._aside_s:g} s: {IN_A_ROW} calls had no answer")
        try:
            pipe = self._pipe or self._start()
            pipe.send(arguments)
            if not pipe.poll(self._limit_s):
                raise ScorerFailedError(f"did not come back within {self._limit_s:g} s")
            raised, value = pipe.recv()
        except (EOFError, OSError) as exc:
            self._gave_none()
            raise ScorerFailedError("ended its process") from exc
        except ScorerFailedError:
            self._gave_none()
            raise
        self._in_a_row = 0
        if raised:
            raise ScorerFailedError(value)
        return value

    def close(self) -> None:
        """Ends its process, whatever that is doing. Called again, the scorer starts afresh."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _gave_none(self) -> None:
        self.close()
        self._in_a_row += 1
        if self._in_a_row >= IN_A_ROW:
            self._in_a_row = 0
            self._aside_until = time.monotonic() + self._aside_s
            log.error(
                "the scorer %s gave no answer %d times in a row: it abstains for %g s, then it is tried again",
                self._name,
                IN_A_ROW,
                self._aside_s,
            )

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")  # a fork would copy the owner's threads' locks
        ours, theirs = context.Pipe()
        self._pipe = ours
        self._process = context.Process(
            target=_serve,
            args=(theirs, self._make, self._arguments),
            name=f"scorer-{self._name}",
            daemon=True,
        )
        self._process.start()
        theirs.close()
        if not ours.poll(START_S):
            raise ScorerFailedError(f"was not ready within {START_S:g} s")
        raised, value = ours.recv()
        if raised:
            raise ScorerFailedError(value)
        return ours


def _serve(pipe: Connection, make: Callable[..., Callable[..., Any]], arguments: tuple[Any, ...]) -> None:
    """The process: makes the scorer, then an answer for each question, until the owner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the owner's to act on
    _die_with_owner()
    sys.stdout = sys.stderr
    try:
        scorer = make(*arguments)
    except BaseException as exc:
        pipe.send((True, told(exc)))
        return
    pipe.send((False, None))
    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            return
        try:
            answer = (False, _plain(scorer(*asked)))
        except BaseException as exc:  # also sys.exit, and a panic in an extension written in Rust
            answer = (True, told(exc))
        pipe.send(answer)


def _plain(value: Any) -> Any:
    """What travels: numbers and None, or two of them."""
    if value is None or type(value) in (float, int, bool):
        return value
    if isinstance(value, tuple) and len(value) == 2:
        return tuple(_plain(each) for each in value)
    if isinstance(value, numbers.Real):
        return float(value)
    return NoNumber(type(value).__name__)


def told(exc: BaseException) -> str:
    """What was raised, and where: neither the message nor the line's text, which may quote the answer."""
    frames = traceback.extract_tb(exc.__traceback__, limit=-1)
    place = f" at {Path(frames[0].filename).name}:{frames[0].lineno}" if frames else ""
    return f"{type(exc).__name__}{place}"


def _die_with_owner() -> None:
    """A scorer that hangs does not see that its owner is gone (prctl PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
