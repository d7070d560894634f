"""The owner's side of a callable's processes: hands them requests, ends what does not come back, starts them again."""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import sys
import time
from collections import deque
from typing import Any

import orjson

from shadowlane.errors import ShadowlaneError
from shadowlane.processors.callables.host import MAX_FRAME_BYTES
from shadowlane.schemas.config.kinds import Python

log = logging.getLogger("shadowlane.callables")

CANCEL_S = 1.0  # how long a coroutine may take to see that its time is over
AGAIN_S = 10.0  # how long after a start that failed there is no other


class CallFailedError(ShadowlaneError):
    """There is no answer. The text says why."""


class CallLateError(CallFailedError):
    """It did not come back in time."""


class CallLostError(CallFailedError):
    """Its process was ended for another call's sake: it may be tried again."""


class Pool:
    """The processes of one callable. Within one event loop.

    A function is called once at a time in each process, and other calls wait; of a coroutine function each process
    runs any number. Nothing is started before the first call.
    """

    def __init__(self, settings: Python) -> None:
        self._settings = settings
        self._processes: list[_Process] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._failed = ""
        self._failed_until = 0.0

    async def call(self, body: bytes, *, keywords: bool, timeout_s: float) -> tuple[Any, float]:
        """What the callable gives for ``body`` (JSON), and the milliseconds that it took, without the wait for a
        process. ``keywords``: each member of the body is an argument.

        Raises:
            CallLateError: it took longer than ``timeout_s``. Its process is ended, where it is busy all the same.
            CallLostError: its process was ended for another call's sake.
            CallFailedError: it raised, gave no JSON, took its process with it, or could not be started.
        """
        process = await self._free()
        started = time.perf_counter()
        try:
            value = await process.call(body, keywords=keywords, timeout_s=timeout_s)
            return value, (time.perf_counter() - started) * 1000
        finally:
            process.calls -= 1
            self._wake(1)

    async def close(self) -> None:
        """Ends all processes, whatever they are doing."""
        processes, self._processes = self._processes, []
        for process in processes:
            await process.kill("the worker stops")

    async def _free(self) -> "_Process":
        """A process with room for a call, which counts from here on."""
        while True:
            self._processes = [process for process in self._processes if not process.ended]
            room = [each for each in self._processes if each.ready and (each.many or not each.calls)]
            idle = [each for each in room if not each.calls]
            failed = time.monotonic() < self._failed_until
            if not idle and len(self._processes) < self._settings.processes and not failed:
                return await self._started()
            if room:
                process = min(room, key=lambda each: each.calls)
                process.calls += 1
                return process
            if not self._processes:
                raise CallFailedError(self._failed)
            self._waiting.append(turn := asyncio.get_running_loop().create_future())
            await turn

    async def _started(self) -> "_Process":
        process = _Process()
        process.calls = 1
        self._processes.append(process)
        try:
            await process.start(self._settings)
        except CallFailedError as exc:
            self._failed, self._failed_until = str(exc), time.monotonic() + AGAIN_S
            log.error("%s; tried again in %g s", exc, AGAIN_S)
            raise
        except BaseException:
            await process.kill("the worker stops")
            raise
        finally:
            if process.many or not process.ready:
                self._wake(len(self._waiting))
        return process

    def _wake(self, count: int) -> None:
        """So many of those that wait for room look again."""
        while count and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1


class _Process:
    def __init__(self) -> None:
        self.calls = 0
        self.ready = False
        self.many = False
        self.ended = False
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._reason = ""  # why it was ended
        self._process: asyncio.subprocess.Process | None = None
        self._killed = False

    async def start(self, settings: Python) -> None:
        """
        Raises:
            CallFailedError: it could not be imported, or not in time.
        """
        host = "shadowlane.processors.callables.host"
        command = [sys.executable, "-m", host, settings.callable, str(settings.memory_mb or 0)]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # what it starts ends with it
        )
        try:
            async with asyncio.timeout(settings.start_s):
                first = await self._frame()
        except TimeoutError as exc:
            await self.kill("")
            raise CallFailedError(f"{settings.callable} was not ready within {settings.start_s:g} s") from exc
        if first is None or "failed" in first:
            await self.kill("")
            why = first["failed"] if first else self._ending()
            raise CallFailedError(f"{settings.callable} could not be started: {why}")
        self.many, self.ready = first["many"], True
        self._reading = asyncio.create_task(self._read())

    async def call(self, body: bytes, *, keywords: bool, timeout_s: float) -> Any:
        number = next(self._numbers)
        self._open[number] = answer = asyncio.get_running_loop().create_future()
        self._write(b'{"id":%d,"keywords":%s,"body":%s}' % (number, b"true" if keywords else b"false", body))
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError as exc:
            await self._end_late(number)
            raise CallLateError(f"no answer within {timeout_s:g} s") from exc
        except asyncio.CancelledError:
            # Calls are stopped: all of this pool, which is one arm's of one rollout. At once, whatever it is doing.
            await asyncio.shield(self.kill("calls were stopped"))
            raise
        finally:
            self._open.pop(number, None)

    async def kill(self, reason: str) -> None:
        """Ends it, and all that it started. ``reason``: for the calls that are open."""
        self.ended, self._reason = True, self._reason or reason
        if self._process is None:
            return  # cancelled while it was started: asyncio has ended it
        if not self._killed:
            self._killed = True  # once: another process may have its number later
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def _end_late(self, number: int) -> None:
        """A coroutine is cancelled, and the other calls go on; what does not come back is ended with its process."""
        if self.many:
            self._open[number] = seen = asyncio.get_running_loop().create_future()
            self._write(b'{"cancel":%d}' % number)
            with contextlib.suppress(CallFailedError, TimeoutError):
                async with asyncio.timeout(CANCEL_S):
                    await seen
            if seen.done() and not seen.cancelled():
                return
        log.warning("a callable did not come back in time; its process is started again")
        await self.kill("its process was ended, since another call in it did not come back")

    def _write(self, data: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(len(data).to_bytes(4, "big") + data)

    async def _frame(self) -> Any:
        """The next frame; None at the end."""
        assert self._process is not None
        assert self._process.stdout is not None
        source = self._process.stdout
        try:
            length = int.from_bytes(await source.readexactly(4), "big")
            if length > MAX_FRAME_BYTES:
                return None  # none of the host's
            return orjson.loads(await source.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError, orjson.JSONDecodeError):
            return None

    async def _read(self) -> None:
        while (frame := await self._frame()) is not None:
            answer = self._open.get(frame["id"])
            if frame.get("spent"):
                self.ended = True  # what else is in it can't be relied on
                self._reason = "its process was ended, since another call in it took all memory"
            if answer is None or answer.done():
                continue
            if "error" in frame:
                answer.set_exception(CallFailedError(frame["error"]))
            else:
                answer.set_result(frame["result"])
            if self.ended:
                break
        ours = bool(self._reason)
        await self.kill("")
        for answer in self._open.values():
            if not answer.done():
                lost = CallLostError(self._reason) if ours else CallFailedError(self._ending())
                answer.set_exception(lost)

    def _ending(self) -> str:
        assert self._process is not None
        code = self._process.returncode
        if code is not None and code < 0:
            return f"it took its process with it ({signal.Signals(-code).name})"
        return f"it ended its process (exit code {code})"
