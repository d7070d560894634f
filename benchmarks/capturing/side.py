"""Measures one capture, in the capture's own environment; prints JSON.

python -m benchmarks.capturing.side times CAPTURE URL SINK
python -m benchmarks.capturing.side memory CAPTURE ARM URL SINK
python -m benchmarks.capturing.side size CAPTURE
"""

import asyncio
import gc
import importlib.metadata
import json
import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.capturing.attached import CAPTURES, INSTALLS, Arm, wait

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "12"))
CALLS = {"whole": 100, "stream": 40, "a_whole": 100, "a_stream": 40}  # a block
Block = dict[str, Any]


def times(capture: str, url: str, sink: str) -> dict[str, dict[str, list[Block]]]:
    """Blocks by way and arm, in the order of the rounds."""
    arms = CAPTURES[capture](url, sink)
    found: dict[str, dict[str, list[Block]]] = {way: {name: [] for name in arms} for way in CALLS}
    for way in ("whole", "stream"):
        for turn in range(1 + ROUNDS):
            for name, arm in _in_turn(arms, turn):
                block = _block(arm, way)
                if turn:  # the first only warms up
                    found[way][name].append(block)

    async def asynchronous() -> None:
        for way in ("a_whole", "a_stream"):
            for turn in range(1 + ROUNDS):
                for name, arm in _in_turn(arms, turn):
                    block = await _a_block(arm, way)
                    if turn:
                        found[way][name].append(block)

    asyncio.run(asynchronous())
    return found


def _in_turn(arms: dict[str, Arm], turn: int) -> list[tuple[str, Arm]]:
    """Each second turn the other way round: whoever comes after a capture that has just handed over everything starts
    with caches that are not its own."""
    return list(arms.items())[:: -1 if turn % 2 else 1]


def _block(arm: Arm, way: str) -> Block:
    arm.ready()
    call = getattr(arm, way)
    took = [0.0] * CALLS[way]
    gc.collect()
    cpu, thread = time.process_time(), time.thread_time()
    for n in range(len(took)):
        before = time.perf_counter()
        call()
        took[n] = time.perf_counter() - before
    thread = time.thread_time() - thread
    wait(arm.done)
    return _figures(took, thread, time.process_time() - cpu)


async def _a_block(arm: Arm, way: str) -> Block:
    arm.ready()
    call = getattr(arm, way)
    took = [0.0] * CALLS[way]
    gc.collect()
    cpu, thread = time.process_time(), time.thread_time()
    for n in range(len(took)):
        before = time.perf_counter()
        await call()
        took[n] = time.perf_counter() - before
    while not await asyncio.to_thread(arm.done):
        await asyncio.sleep(0.002)
    # Whatever a capture does after the call on the loop is on the service's thread too.
    thread = time.thread_time() - thread
    return _figures(took, thread, time.process_time() - cpu)


def _figures(took: list[float], thread: float, cpu: float) -> Block:
    calls = len(took)
    return {"took": [1e6 * t for t in took], "thread": 1e6 * thread / calls, "cpu": 1e6 * cpu / calls}


def memory(capture: str, arm: str, url: str, sink: str) -> float:
    """The process's peak after 400 calls, half of them streams, MiB."""
    chosen = CAPTURES[capture](url, sink)[arm]
    for _ in range(4):
        chosen.ready()
        for _ in range(50):
            chosen.whole()
            chosen.stream()
        wait(chosen.done)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def size(capture: str) -> tuple[float, float]:
    """MB of the files that the capture installs: alone, and beside openai."""
    alone, client = _closure(INSTALLS[capture]), _closure(("openai",))
    return sum(alone.values()) / 1e6, sum(size for name, size in alone.items() if name not in client) / 1e6


def _closure(names: tuple[str, ...]) -> dict[str, int]:
    """Bytes by distribution, of these and of all that they require in this environment."""
    found: dict[str, int] = {}
    left = list(names)
    while left:
        name = re.split(r"[^\w.-]", left.pop(), maxsplit=1)[0].lower().replace("_", "-")
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        if name not in found:
            paths = [Path(str(path.locate())) for path in distribution.files or ()]
            found[name] = sum(path.stat().st_size for path in paths if path.exists())
            left += [one for one in distribution.requires or () if "extra ==" not in one]
    return found


if __name__ == "__main__":
    os.environ["OPENAI_API_KEY"] = "k"
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    what, *arguments = sys.argv[1:]
    measure: dict[str, Any] = {"times": times, "memory": memory, "size": size}
    print(json.dumps(measure[what](*arguments)))
