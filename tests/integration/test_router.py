"""The router on a broker: what the publisher writes, a Kafka that is away, comes back empty, or never comes; forks."""

import contextlib
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import Producer

from shadowlane.embedded.broker import wait_until_ready
from shadowlane.errors import BrokerError
from shadowlane.processors.kafka import ensure_topics
from shadowlane.rollout.publish import StatePublisher
from shadowlane.rollout.router import Router
from shadowlane.rollout.routing import candidate_serves
from shadowlane.schemas.config import Kafka
from tests.rollout.routers import state
from tests.services import KafkaAddress, free_port, running

KEYS = [f"session-{n}" for n in range(400)]


def until(holds: Callable[[], object], what: str) -> None:
    """The broker says nothing to the test when a router has read: it is asked, until it has."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.02)


def served(router: Router) -> set[str]:
    return {key for key in KEYS if router.choose("desk", key).arm == "candidate"}


def expected(pct: float) -> set[str]:
    return {key for key in KEYS if candidate_serves("desk", key, pct)}


@contextlib.contextmanager
def opened(bootstrap: str, prefix: str) -> Iterator[Router]:
    router = Router(bootstrap, topic_prefix=prefix)
    try:
        yield router
    finally:
        router.close()


@pytest.fixture
def config(kafka: KafkaAddress) -> Iterator[Kafka]:
    config = Kafka(bootstrap_servers=kafka.bootstrap_servers, topic_prefix=f"router-{uuid.uuid4().hex[:12]}")
    ensure_topics(config)
    yield config
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for deleted in admin.delete_topics(list(config.topics.all)).values():
        deleted.result(30)


@pytest.fixture
def publisher(config: Kafka) -> Iterator[StatePublisher]:
    publisher = StatePublisher(config)
    yield publisher
    publisher.close()


def test_routers_follow_the_rollout(config: Kafka, publisher: StatePublisher) -> None:
    publisher.publish([state(seq=1, traffic_pct=5.0), state(rollout="search", seq=1, traffic_pct=100.0)])
    with opened(config.bootstrap_servers, config.topic_prefix) as router:
        assert router.wait_ready(30)
        assert router.rollouts() == {"desk", "search"}
        before = served(router)
        assert before == expected(5)
        publisher.publish([state(seq=2, traffic_pct=25.0)])
        until(lambda: served(router) == expected(25), "25%")
        assert before < served(router)
        publisher.publish([state(seq=1, traffic_pct=5.0)])  # late, of one who led before
        publisher.publish([state(seq=3, traffic_pct=0.0, phase="rolled_back")])
        until(lambda: not served(router), "0%")
        assert router.stats()["older"] == 1
        assert router.stats()["contact_age_s"] < 30


def test_what_is_no_state_harms_nobody(config: Kafka, publisher: StatePublisher) -> None:
    other = Producer({"bootstrap.servers": config.bootstrap_servers})
    for value in (b"{", b'{"rollout": "desk", "seq": "x"}', None):
        other.produce(config.topics.rollouts, value, key=b"desk")
    assert other.flush(30) == 0
    publisher.publish([state(seq=1, traffic_pct=100.0)])
    with opened(config.bootstrap_servers, config.topic_prefix) as router:
        assert router.wait_ready(30)
        until(lambda: served(router) == set(KEYS), "100%")
        assert router.stats()["bad"] == 2


def test_many_threads_while_the_rollout_moves(config: Kafka, publisher: StatePublisher) -> None:
    """A key is in or out as one of the shares says, whenever it is asked."""
    moved, wrong = threading.Event(), []

    def serve(router: Router) -> None:
        while not moved.is_set():
            for key in KEYS:
                choice = router.choose("desk", key)
                if (choice.arm == "candidate") != candidate_serves("desk", key, choice.traffic_pct):
                    wrong.append(choice)

    with opened(config.bootstrap_servers, config.topic_prefix) as router:
        threads = [threading.Thread(target=serve, args=(router,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            for seq, pct in enumerate((5.0, 25.0, 0.0, 75.0), start=1):
                publisher.publish([state(seq=seq, traffic_pct=pct)])
            until(lambda: router.stats()["states"].get("desk", {}).get("seq") == 4, "the last state")
        finally:
            moved.set()
            for thread in threads:
                thread.join()
        assert not wrong
        assert served(router) == expected(75)


def test_kafka_is_away_at_first_then_there_then_away_then_back_and_empty() -> None:
    port = free_port()
    config = Kafka(bootstrap_servers=f"127.0.0.1:{port}")
    with opened(config.bootstrap_servers, config.topic_prefix) as router:
        assert not router.wait_ready(0.5)
        assert not served(router)
        assert router.stats()["contact_age_s"] is None
        with broker(port):
            ensure_topics(config)
            written(config, seq=1, traffic_pct=25.0)
            until(lambda: served(router) == expected(25), "the first state")
        with pytest.raises(BrokerError, match="routers keep what they know"):
            written(config, seq=2, traffic_pct=75.0, timeout=0.5)
        until(lambda: "kafka" in router.stats()["problems"], "word of the lost broker")
        assert served(router) == expected(25)
        with broker(port):  # it has lost everything
            ensure_topics(config)
            written(config, seq=3, traffic_pct=0.0)  # below where the router was: it begins anew
            written(config, seq=1, traffic_pct=5.0)
            until(lambda: not served(router), "the state of the new broker")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_knows_what_its_parent_knew_and_follows_by_itself(
    config: Kafka, publisher: StatePublisher
) -> None:
    publisher.publish([state(seq=1, traffic_pct=100.0)])
    code = """
assert router.wait_ready(30)
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        ok = not router.stats()["ready"] and router.choose("desk", "k").arm == "candidate"
        ok = ok and router.wait_ready(30) and told("stable")
        os._exit(0 if ok else 1)
    children.append(pid)
print("forked", flush=True)
assert told("stable")
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
"""
    with child(config.bootstrap_servers, config.topic_prefix, code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "forked\n"
        publisher.publish([state(seq=2, traffic_pct=0.0)])
        assert process.wait(60) == 0, process.communicate()[1]


@pytest.mark.parametrize("there", [True, False])
def test_the_end_of_the_process_waits_for_nobody(
    config: Kafka, publisher: StatePublisher, there: bool
) -> None:
    publisher.publish([state(seq=1, traffic_pct=100.0)])
    address = config.bootstrap_servers if there else f"127.0.0.1:{free_port()}"
    with child(
        address, config.topic_prefix, f"assert router.wait_ready({30 if there else 0.3}) == {there}"
    ) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, ""), err
    assert "Traceback" not in err


@contextlib.contextmanager
def child(bootstrap: str, prefix: str, code: str) -> Iterator[subprocess.Popen[str]]:
    """A service in a process of its own."""
    script = f"""
import os, time
from shadowlane.rollout.router import Router
router = Router({bootstrap!r}, topic_prefix={prefix!r})
def told(arm):
    for _ in range(1500):
        if router.choose("desk", "k").arm == arm: return True
        time.sleep(0.02)
{code}
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@contextlib.contextmanager
def broker(port: int) -> Iterator[None]:
    with running("shadowlane.embedded.broker", "--port", str(port)) as process:
        wait_until_ready(f"127.0.0.1:{port}", timeout=60)
        yield
        process.kill()


def written(config: Kafka, *, seq: int, traffic_pct: float, timeout: float = 30.0) -> None:
    publisher = StatePublisher(config)
    try:
        publisher.publish([state(seq=seq, traffic_pct=traffic_pct)], timeout=timeout)
    finally:
        publisher.close()
