"""What the router costs on a service's path, and how soon it hears of a decision.

    python benchmarks/router.py

A choice beside the least that any sticky router must do: look the rollout up in a dictionary, hash the key. The ways
take turns in short rounds in one run; the table is the median over the rounds of each round's p50, p99 and p99.9, in
microseconds, of calls timed one by one. The row "nothing" is what the clock adds to each. All the while, a state
arrives ten times a second, as none ever would. Kafka is the embedded broker, in a process of its own, unless
``SHADOWLANE_TEST_KAFKA`` gives another.
"""

import gc
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from shadowlane.processors.kafka import ensure_topics
from shadowlane.rollout.publish import StatePublisher
from shadowlane.rollout.router import Router
from shadowlane.schemas.config import Kafka
from shadowlane.schemas.events import RolloutState
from tests.services import KafkaAddress, embedded_broker

CALLS = 20_000
ROUNDS = 9
DECISIONS = 100
KEYS = [f"session-{n}" for n in range(CALLS)]
SALT = b"0123456789abcdef"


def state(seq: int, rollout: str = "desk", **changed: Any) -> RolloutState:
    return RolloutState(
        rollout=rollout,
        epoch="e",
        seq=seq,
        ts=1,
        phase="running",
        stage="canary",
        traffic_pct=25.0,
        stable_model="old",
        candidate_model="new",
        **changed,
    )


def run() -> dict[str, Any]:
    """Microseconds by way and quantile; milliseconds from the start of a publication to the router's knowing."""
    given = os.environ.get("SHADOWLANE_TEST_KAFKA")
    broker: AbstractContextManager[KafkaAddress] = (
        nullcontext(KafkaAddress(given, "environment")) if given else embedded_broker()
    )
    with broker as kafka:
        config = Kafka(bootstrap_servers=kafka.bootstrap_servers, topic_prefix=f"bench-{os.getpid()}")
        ensure_topics(config)
        router = Router(config.bootstrap_servers, topic_prefix=config.topic_prefix)
        publisher = StatePublisher(config)
        publisher.publish([state(1), state(1, "sliced", excluded=["language=de"])])
        assert router.wait_ready(30)
        try:
            found = {"microseconds": _cost(router, publisher), "decision_ms": _heard(router, publisher)}
        finally:
            router.close()
            publisher.close()
    _print(found)
    return found


def _cost(router: Router, publisher: StatePublisher) -> dict[str, dict[str, float]]:
    known = {"desk": 25 * 2**64 // 100}
    attributes = {"language": "en", "tenant": "acme", "prompt": "p1"}

    def bare(key: str) -> bool:
        limit = known["desk"]
        return int.from_bytes(blake2b(key.encode(), digest_size=8, key=SALT).digest(), "big") < limit

    def serving(key: str) -> None:
        with router.serving("desk", key, attributes=attributes):
            pass

    ways: dict[str, Callable[[str], object]] = {
        "nothing": lambda key: None,
        "a dictionary look-up and BLAKE2b": bare,
        "Router.choose": lambda key: router.choose("desk", key),
        "Router.choose, a slice taken out": lambda key: router.choose("sliced", key, attributes),
        "Router.choose, nothing known": lambda key: router.choose("other", key),
        "with Router.serving": serving,
    }
    stop = threading.Event()

    def decide() -> None:
        seq = 1
        while not stop.wait(0.1):
            seq += 1
            publisher.publish([state(seq)])

    deciding = threading.Thread(target=decide)
    deciding.start()
    try:
        rounds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                rounds[name].append(_round(way))
    finally:
        stop.set()
        deciding.join()
    names = ("p50", "p99", "p99.9")
    return {
        name: dict(zip(names, map(statistics.median, zip(*found, strict=True)), strict=True))
        for name, found in rounds.items()
    }


def _round(way: Callable[[str], object]) -> tuple[float, float, float]:
    times = [0.0] * CALLS
    gc.collect()
    clock = time.perf_counter
    for n, key in enumerate(KEYS):
        before = clock()
        way(key)
        times[n] = clock() - before
    times.sort()
    p50, p99, p999 = (1e6 * times[int(q * CALLS)] for q in (0.5, 0.99, 0.999))
    return p50, p99, p999


def _heard(router: Router, publisher: StatePublisher) -> dict[str, float]:
    took = []
    for seq in range(1_000_000, 1_000_000 + DECISIONS):
        began = time.perf_counter()
        publisher.publish([state(seq, stable_overrides={"seq": seq})])
        while router.choose("desk", "").overrides.get("seq") != seq:
            time.sleep(0.0002)
        took.append(1000 * (time.perf_counter() - began))
        time.sleep(0.01)
    took.sort()
    return {"p50": took[len(took) // 2], "p99": took[int(0.99 * len(took))]}


def _print(found: dict[str, Any]) -> None:
    print(f"{'a choice, µs':36}{'p50':>8}{'p99':>8}{'p99.9':>8}")
    for name, row in found["microseconds"].items():
        print(f"{name:36}" + "".join(f"{value:8.2f}" for value in row.values()))
    heard = found["decision_ms"]
    print(f"a decision is known in the service after {heard['p50']:.1f} ms (p99 {heard['p99']:.1f})")


if __name__ == "__main__":
    run()
