"""A service's traffic: a real mirrored client, asking in bursts as production does."""

import base64
import csv
import gzip
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from openai import APIError, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from shadowlane.producers import Mirror

TRACES = Path(os.environ.get("SHADOWLANE_TRACES", ""))
"""A CSV of real arrivals, its first column TIMESTAMP; without it, bursts are drawn of the same shape."""


def arrivals(count: int, seconds: float, seed: int = 4) -> list[float]:
    """Moments within ``seconds``, in order, as bursty as a production service's."""
    moments = _recorded(count) if TRACES.is_file() else _drawn(count, seed)
    first, last = moments[0], moments[-1]
    return [(moment - first) / (last - first) * seconds for moment in moments]


def steady(count: int, seconds: float) -> list[float]:
    """Moments at one rate."""
    return [number * seconds / count for number in range(count)]


def _recorded(count: int) -> list[float]:
    with gzip.open(TRACES, "rt") if TRACES.suffix == ".gz" else TRACES.open() as lines:
        rows = csv.DictReader(lines)
        return [
            datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()
            for row, _ in zip(rows, range(count), strict=False)
        ]


def _drawn(count: int, seed: int) -> list[float]:
    """Gaps of a lognormal, whose deviation is 1.4 times its mean as in recorded traffic."""
    draw, now = random.Random(seed), 0.0
    moments = []
    for _ in range(count):
        moments.append(now)
        now += draw.lognormvariate(0.0, 1.04)
    return moments


def question(number: int, size: int = 0) -> str:
    """What a customer asks, after so many characters that no compression makes shorter."""
    letter = base64.b64encode(random.Random(number).randbytes(size * 3 // 4)).decode() + "\n" if size else ""
    return f"{letter}Where is my order, please? It is number {number}"


class Traffic:
    """``count`` prompts of one service to the stable model, through the mirror. ``answered`` counts from outside."""

    def __init__(
        self,
        mirror: Mirror,
        base_url: str,
        count: int,
        seconds: float,
        callers: int = 6,
        moments: Callable[[int, float], list[float]] = arrivals,
        size: int = 0,
    ) -> None:
        self.mirror = mirror
        self.count = count
        self.answered = 0
        self.failed = 0
        self._changed = threading.Condition()
        self._arrivals = moments(count, seconds)
        self._client = mirror.wrap(OpenAI(base_url=base_url, api_key="stable", max_retries=0, timeout=30))
        self._callers = callers
        self._size = size
        self.took: list[
            tuple[int, float]
        ] = []  # number and seconds of each call, as the service waits for it
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    @property
    def sent(self) -> int:
        return self.answered + self.failed

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> None:
        """Until all was asked and answered."""
        self._thread.join()

    def finish(self) -> None:
        """Until all of it is mirrored, or counted as dropped. Raises RuntimeError where that takes a minute."""
        self.wait()
        if not self.mirror.flush(60):
            raise RuntimeError(f"the mirror did not come to an end: {self.mirror.stats()}")
        self.mirror.close()

    def await_sent(self, share: float, timeout: float = 120.0) -> None:
        """Until so much of it was sent: the moment for a fault."""
        with self._changed:
            enough = self._changed.wait_for(lambda: self.sent >= share * self.count, timeout)
        if not enough:
            raise RuntimeError(f"{self.sent} of {self.count} sent after {timeout:g} s")

    def _run(self) -> None:
        started = time.monotonic()
        with ThreadPoolExecutor(self._callers, thread_name_prefix="caller") as callers:
            for number, moment in enumerate(self._arrivals):
                time.sleep(max(0.0, started + moment - time.monotonic()))
                callers.submit(self._ask, number)
        self._client.close()

    def _ask(self, number: int) -> None:
        messages: list[ChatCompletionMessageParam] = [
            {"role": "user", "content": question(number, self._size)}
        ]
        began = time.perf_counter()
        try:
            with self.mirror.context(key=f"user-{number % 50}", route="/desk", attributes={"language": "en"}):
                self._client.chat.completions.create(model="desk-1", messages=messages)
            outcome = "answered"
        except APIError:
            outcome = "failed"
        with self._changed:
            self.took.append((number, time.perf_counter() - began))
            setattr(self, outcome, getattr(self, outcome) + 1)
            self._changed.notify_all()


def wait_until(true: Callable[[], object], what: str, timeout: float = 60.0, every: float = 0.05) -> None:
    """Until ``true()`` is. Raises RuntimeError where it does not become so in time."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {timeout:g} s")
        time.sleep(every)
