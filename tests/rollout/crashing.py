"""A controller that is killed after the n-th thing that it did to the world, in a process of its own."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shadowlane.rollout.alerts import Answer, Outbox, Request, post
from shadowlane.rollout.controller import Controller
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import RolloutState
from tests.rollout.stored import ClockedStore, always_yes


class Counter:
    """Counts what was done, and kills the process once it was so much."""

    def __init__(self, kill_after: int) -> None:
        self.done = 0
        self._kill_after = kill_after

    def did(self) -> None:
        self.done += 1
        if self.done == self._kill_after:
            os.kill(os.getpid(), signal.SIGKILL)


class Store(ClockedStore):
    """Counts inserts."""

    counter: Counter

    def insert(self, table: str, lines: bytes, token: str) -> None:
        super().insert(table, lines, token)
        self.counter.did()


class Routers:
    """What routers are told, in a file."""

    def __init__(self, path: Path, counter: Counter) -> None:
        self._path, self._counter = path, counter

    def publish(self, states: list[RolloutState]) -> None:
        with self._path.open("ab") as file:
            file.writelines(encode(state) + b"\n" for state in states)
        self._counter.did()


def run(content: dict[str, Any], folder: Path, times: list[int], kill_after: int) -> None:
    """Polls once at each of the times, from the one that ``folder`` says on; notes how much it did.

    ``kill_after`` 0 is never.
    """
    settings = Settings(**content)
    counter = Counter(kill_after)
    store = Store(settings.clickhouse)
    store.counter = counter

    def counted_post(request: Request, timeout_s: float) -> Answer:
        answer = post(request, timeout_s)
        counter.did()
        return answer

    outbox = Outbox(store.rows, store.insert, settings, counted_post, store.now, patience_s=20)
    routers = Routers(folder / "routers", counter)
    controller = Controller(settings, store, routers, outbox, always_yes, f"controller-{os.getpid()}")
    reached = folder / "reached"
    begin = int(reached.read_text()) if reached.exists() else 0
    for number in range(begin, len(times)):
        reached.write_text(str(number))
        store.at = times[number]
        assert controller.poll().leads
    outbox.close()
    (folder / "done").write_text(str(counter.done))


Target = Callable[[dict[str, Any], Path, list[int], int], None]
