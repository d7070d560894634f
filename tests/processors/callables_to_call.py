"""What tests have called in processes of their own."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pydantic

calls = 0


class Completion(pydantic.BaseModel):
    choices: list[dict[str, Any]]


def answer(body: dict[str, Any]) -> Any:
    """As the last message says."""
    global calls
    calls += 1
    match body["messages"][-1]["content"].split(" ", 1):
        case ["count"]:
            return f"{os.getpid()} {calls}"
        case ["model"]:
            return body["model"]
        case ["plain"]:
            call = {"name": "look_up", "arguments": {"id": 7}}
            return {"output": "fine", "tool_calls": [call], "finish_reason": "stop", "input_tokens": 3}
        case ["completion"]:
            message = {"role": "assistant", "content": "fine"}
            return Completion(choices=[{"message": message, "finish_reason": "stop"}])
        case ["other"]:
            return {"label": "refund"}
        case ["print"]:
            print("not an answer", flush=True)
            os.write(1, b"nor this")
            return "printed"
        case ["raise"]:
            raise ValueError("no such thing")
        case ["exit"]:
            sys.exit(3)
        case ["die"]:
            os._exit(7)
        case ["kill"]:
            os.kill(os.getpid(), 9)
        case ["object"]:
            return object()
        case ["large"]:
            return "x" * (9 * 2**20)
        case ["memory"]:
            return str(len([bytearray(2**20) for _ in range(4000)]))
        case ["hang"]:
            time.sleep(3600)
        case ["lock"]:  # holds Python's own lock
            return str(re.match(r"(a+)+b", "a" * 60))
        case ["leave", path]:
            child = subprocess.Popen(["sleep", "3600"])
            Path(path).write_text(str(child.pid))
            time.sleep(3600)
    raise AssertionError(body)


async def answer_async(body: dict[str, Any]) -> str:
    match body["messages"][-1]["content"].split(" ", 1):
        case ["wait"]:
            await asyncio.sleep(3600)
        case ["block"]:
            time.sleep(3600)
        case ["deaf", path]:
            Path(path).write_text(str(os.getpid()))
            await deaf()
        case ["meet", count]:
            return await meet(int(count))
    return str(os.getpid())


async def deaf() -> None:
    """Does not end when it is cancelled."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


_here: list[asyncio.Future[str]] = []


async def meet(count: int) -> str:
    """Comes back once so many calls are here at the same time."""
    _here.append(mine := asyncio.get_running_loop().create_future())
    if len(_here) == count:
        for each in _here:
            each.set_result("met")
    return str(await mine)


def classify(text: str, limit: int = 3) -> dict[str, Any]:
    return {"label": text[:limit]}
