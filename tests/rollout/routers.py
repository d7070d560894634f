"""States, and a router that is handed them without Kafka."""

import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from shadowlane.producers.log import Log
from shadowlane.rollout.known import Known
from shadowlane.rollout.router import Router
from shadowlane.schemas.codec import encode, pack
from shadowlane.schemas.events import RolloutState


def state(**changed: Any) -> RolloutState:
    """5% of ``desk`` to ``new``, unless changed."""
    fields: dict[str, Any] = {
        "rollout": "desk",
        "epoch": "e1",
        "seq": 1,
        "ts": 1,
        "phase": "running",
        "stage": "canary",
        "traffic_pct": 5.0,
        "stable_model": "old",
        "candidate_model": "new",
    }
    return RolloutState(**(fields | changed))


class FakeFollower:
    """Takes what the test hands it, and starts nothing."""

    def __init__(
        self, bootstrap: str, topic: str, options: Mapping[str, Any], known: Known, log: Log
    ) -> None:
        self.bootstrap, self.topic, self.options, self.known = bootstrap, topic, options, known
        self.ready = threading.Event()
        self.contact: float | None = None
        self.stopped = False

    def start(self) -> None:
        pass

    def stop(self, timeout: float) -> None:
        self.stopped = True

    def gives(self, *states: RolloutState) -> list[str]:
        self.contact = time.monotonic()
        return self.known.take(pack(map(encode, states)))


def fake_followers(monkeypatch: pytest.MonkeyPatch) -> list[FakeFollower]:
    """The followers that routers make from now on, in order."""
    made: list[FakeFollower] = []

    def make(*args: Any) -> FakeFollower:
        made.append(FakeFollower(*args))
        return made[-1]

    monkeypatch.setattr("shadowlane.rollout.router.Follower", make)
    for name in ("BOOTSTRAP_SERVERS", "TOPIC_PREFIX", "CLIENT"):
        monkeypatch.delenv(f"SHADOWLANE_KAFKA__{name}", raising=False)
    return made


def following(followers: list[FakeFollower], *states: RolloutState) -> tuple[Router, FakeFollower]:
    """A router that knows these states, and what gives it more."""
    router = Router("kafka:9092")
    router.choose("anything")
    followers[-1].gives(*states)
    return router, followers[-1]
