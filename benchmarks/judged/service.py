"""The service of a staged upgrade: it asks the router who serves a user, and that version for the answer."""

import concurrent.futures
import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import openai
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.system import System
from shadowlane import Mirror, Router

ENDED = frozenset({"completed", "settled", "passed", "rolled_back", "aborted", "inconclusive", "waiting"})
THREADS = 16
USERS = 5000
A_SECOND = 200
"""Requests a second at most, so that a bucket of a second holds no more pairs than a decision takes."""

err = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request was served."""

    stage: str
    arm: str
    slice: str


@dataclass(slots=True)
class Service:
    """One service with a mirror and a router. ``asked`` counts its requests, by place; a failed one too."""

    rollout: str
    system: System
    ports: dict[str, int]  # of the models, by arm
    prompts: list[dict[str, str]]
    timeout_s: float
    asked: Counter[Place] = field(default_factory=Counter)
    mirror: Mirror = field(init=False)
    router: Router = field(init=False)
    _clients: dict[str, openai.OpenAI] = field(init=False)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        # The prompts are public, and the servers and the scorer know a prompt by its exact text.
        self.mirror = Mirror(service=self.rollout, kafka=self.system.kafka, content="full")
        self.router = Router(kafka=self.system.kafka)
        self._clients = {arm: self.mirror.wrap(self._client(port)) for arm, port in self.ports.items()}

    def __enter__(self) -> "Service":
        if not self.router.wait_ready(30):
            raise SystemExit(f"the router does not hear of Kafka: {self.router.stats()}")
        deadline = time.monotonic() + 60
        while not self.state:
            self.system.alive()
            if time.monotonic() > deadline:
                raise SystemExit(f"no controller has started the rollout after 60 s\n{self.system.logs()}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.mirror.close()
        self.router.close()

    @property
    def state(self) -> dict[str, Any]:
        """What the router knows of the rollout: epoch, seq, phase, stage, traffic_pct."""
        found: dict[str, Any] = self.router.stats()["states"].get(self.rollout, {})
        return found

    @property
    def ended(self) -> bool:
        return self.state["phase"] in ENDED

    def run(self, most: int, label: str) -> None:
        """Asks until the rollout has come to an end, or ``most`` requests are used up; then all are mirrored."""
        stop, started = threading.Event(), time.monotonic()

        def asking() -> None:
            while (number := next(self._numbers)) < most and not stop.wait(due(number) - time.monotonic()):
                self._ask(number)

        def due(number: int) -> float:
            return started + number / A_SECOND

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with (
            Progress(*columns, console=err) as progress,
            concurrent.futures.ThreadPoolExecutor(THREADS) as pool,
        ):
            task = progress.add_task(label, total=most)
            try:
                threads = [pool.submit(asking) for _ in range(THREADS)]
                while not all(thread.done() for thread in threads):
                    now = self.state
                    said = f"{label}: {now['phase'].replace('_', ' ')}, {now['stage']}"
                    progress.update(task, completed=self.asked.total(), description=said)
                    if self.ended:
                        break
                    concurrent.futures.wait(threads, 0.1)
            finally:
                stop.set()
            for thread in threads:
                thread.result()
        self.flush()

    def ask_more(self, count: int) -> Counter[Place]:
        """So many requests more, one by one. Where they were served."""
        before = self.asked.copy()
        for _ in range(count):
            self._ask(next(self._numbers))
        self.flush()
        return self.asked - before

    def flush(self) -> None:
        if not self.mirror.flush(30):
            raise SystemExit(f"the mirror could not send all within 30 s: {self.mirror.stats()}")

    def _client(self, port: int) -> openai.OpenAI:
        address = f"http://127.0.0.1:{port}/v1"
        return openai.OpenAI(base_url=address, api_key="recorded", timeout=self.timeout_s, max_retries=0)

    def _ask(self, number: int) -> None:
        prompt = self._prompt(number)
        user = f"user-{random.Random(number).randrange(USERS)}"
        with (
            self.router.serving(self.rollout, user, attributes={"slice": prompt["slice"]}) as choice,
            contextlib.suppress(
                openai.OpenAIError
            ),  # a fault of the candidate's server: the mirror has seen it
        ):
            self._clients[choice.arm.value].chat.completions.create(
                model=choice.model, messages=[{"role": "user", "content": prompt["prompt"]}]
            )
        with self._lock:
            self.asked[Place(choice.stage, choice.arm.value, prompt["slice"])] += 1

    def _prompt(self, number: int) -> dict[str, str]:
        """Every prompt in turn, in another order each time: the file has them by slice, and traffic is mixed."""
        turn, place = divmod(number, len(self.prompts))
        return self.prompts[_order(turn, len(self.prompts))[place]]


def _order(turn: int, count: int) -> list[int]:
    order = _ORDERS.get((turn, count))
    if order is None:
        order = list(range(count))
        random.Random(turn).shuffle(order)
        _ORDERS[turn, count] = order
    return order


_ORDERS: dict[tuple[int, int], list[int]] = {}
