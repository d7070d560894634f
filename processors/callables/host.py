"""The process of a callable: reads requests, calls, writes answers, until its owner is gone.

    python -m shadowlane.processors.callables.host MODULE:FUNCTION MEMORY_MB

A frame is its length in four bytes, the largest first, and JSON. To it go ``{"id", "keywords", "body"}`` and
``{"cancel": id}``; from it ``{"ready", "many"}`` or ``{"failed"}`` once, then ``{"id", "result"}`` or
``{"id", "error", "spent"}``. What the callable prints goes to stderr.
"""

import asyncio
import importlib
import inspect
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import orjson

SHOWN = 400  # characters of an error
MAX_FRAME_BYTES = 8 * 2**20


def main(target: str, memory_mb: int) -> None:
    """Until standard input ends. ``memory_mb``: 0 is no limit."""
    asked, told = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what the callable prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the owner's to act on
    _bound(memory_mb)
    try:
        function = _load(target)
    except BaseException as exc:  # a module may do anything while it is imported
        _send(told, {"failed": _text(exc)})
        sys.exit(1)
    _send(told, {"ready": True, "many": _many(function)})
    try:
        asyncio.run(_Host(function, asked, told).serve())
    finally:
        os._exit(0)  # whatever threads the callable has started


class _Host:
    def __init__(self, function: Callable[..., Any], asked: BinaryIO, told: BinaryIO) -> None:
        self._function, self._asked, self._told = function, asked, told
        self._running: dict[int, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        # A thread, so that the end of the owner is seen while a function runs.
        threading.Thread(target=self._read, daemon=True).start()
        await asyncio.Event().wait()

    def _read(self) -> None:
        while (frame := read_frame(self._asked)) is not None:
            self._loop.call_soon_threadsafe(self._take, frame)
        os._exit(0)

    def _take(self, frame: bytes) -> None:
        asked = orjson.loads(frame)
        if "cancel" in asked:
            if (task := self._running.get(asked["cancel"])) is not None:
                task.cancel()
            return
        number = asked["id"]
        self._running[number] = task = self._loop.create_task(self._answer(number, asked))
        task.add_done_callback(lambda _: self._running.pop(number, None))

    async def _answer(self, number: int, asked: dict[str, Any]) -> None:
        try:
            body = asked["body"]
            result = self._function(**body) if asked["keywords"] else self._function(body)
            if inspect.isawaitable(result):
                result = await result
            _send(self._told, {"id": number, "result": result})
        except BaseException as exc:  # also sys.exit, and a panic in an extension written in Rust
            _send(self._told, {"id": number, "error": _text(exc), "spent": isinstance(exc, MemoryError)})


def read_frame(source: BinaryIO) -> bytes | None:
    """The next one; None at the end."""
    head = source.read(4)
    if len(head) < 4:
        return None
    frame = source.read(length := int.from_bytes(head, "big"))
    return frame if len(frame) == length else None


def _send(told: BinaryIO, frame: Any) -> None:
    try:
        data = orjson.dumps(frame, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as exc:
        raise TypeError(f"the callable gave what is no JSON: {exc.__cause__ or exc}") from exc
    if len(data) > MAX_FRAME_BYTES:
        raise ValueError(f"an answer of more than {MAX_FRAME_BYTES} bytes")
    told.write(len(data).to_bytes(4, "big") + data)
    told.flush()


def _plain(value: Any) -> Any:
    """Of an SDK's object its JSON."""
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(mode="json")
    raise TypeError(type(value).__name__)


def _load(target: str) -> Callable[..., Any]:
    module, _, path = target.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    if not callable(found):
        raise TypeError(f"{target} is no callable")
    return found  # type: ignore[no-any-return]  # it is one


def _many(function: Any) -> bool:
    """Whether it runs many calls at once."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 (of an object that is called)
    )


def _bound(memory_mb: int) -> None:
    """How much memory it may take; and where there is too little for all, it goes first."""
    if sys.platform != "linux":
        return
    import resource

    if memory_mb:
        limit = memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return  # not everywhere; it helps where it is


def _text(exc: BaseException) -> str:
    """What was raised, and where the callable's own code was."""
    frames = traceback.extract_tb(exc.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(exc).__name__}: {exc}"[:SHOWN] + place


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
