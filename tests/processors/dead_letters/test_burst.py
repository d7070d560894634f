"""A burst of poison into each topic stops its reader, which goes on from there once it is told to."""

import threading
from pathlib import Path
from typing import Any

import pytest

from shadowlane.errors import PoisonError
from shadowlane.processors.kafka import ensure_topics
from shadowlane.processors.sink import Sink
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import DeadLetters, Rollout
from shadowlane.schemas.events import LedgerCell, MirroredRequest, Response
from shadowlane.schemas.topics import Topics
from tests.processors.dead_letters.scene import Scene, until
from tests.services import ClickHouseAddress, KafkaAddress

LIMIT, BURST = 20, 50
ROLLOUT = {"name": "r", "match": {"service": "shop"}, "candidate": {"base_url": "http://127.0.0.1:9"}}
EPOCH = Rollout.model_validate(ROLLOUT).epoch


def poison(topic: str) -> list[bytes]:
    return [b'{"request_id": "q%d", "torn %s' % (n, topic.encode()) for n in range(BURST)]


def half(side: str, request_id: str) -> bytes:
    more: dict[str, Any] = {"arm": "candidate", "rollout": "r", "epoch": EPOCH} if side == "shadow" else {}
    return encode(
        Response(
            request_id=request_id,
            ts=1,
            completed_at=2,
            service="shop",
            route="/",
            role=side,
            output="x",
            **more,
        )
    )


@pytest.mark.parametrize(
    ("component", "topic"), [("worker", Topics("").requests), ("pairing", Topics("").shadow)]
)
def test_a_burst_stops_who_reads_it_and_nothing_is_lost_or_twice(
    kafka: KafkaAddress, tmp_path: Path, component: str, topic: str
) -> None:
    scene = Scene(tmp_path, kafka, dead_letters={"limit": LIMIT, "window_s": 86400}, rollouts=[ROLLOUT])
    topic = scene.topics.prefix + topic
    elsewhere = MirroredRequest(request_id="good", ts=1, service="other", route="/", protocol="json")
    good = encode(elsewhere) if component == "worker" else half("shadow", "good")
    scene.produce(topic, good, *poison(topic), good)

    with scene.running(component) as process:
        assert process.wait(90) == 7, scene.log(component).read_text()
    assert len({letter.dead_letter_id for letter in scene.letters()}) == LIMIT
    assert scene.committed(component, topic) <= LIMIT + 1
    said = scene.log(component).read_text()
    assert f"shadowlane: {component} stops: {LIMIT} records" in said
    assert topic in said
    assert f"of {LIMIT}: not JSON" in said

    with scene.running(component, SHADOWLANE_DEAD_LETTERS__LIMIT="0"):
        until(lambda: len({one.dead_letter_id for one in scene.letters()}) == BURST, "all are dead letters")
        if component == "worker":
            until(lambda: scene.committed(component, topic) == BURST + 2, "all is committed")
    ids = {letter.dead_letter_id: letter for letter in scene.letters()}
    assert {letter.request_id for letter in ids.values()} == {f"q{n}" for n in range(BURST)}
    assert len(ids) == BURST


@pytest.mark.parametrize("topic", [Topics("").pairs, Topics("").ledger, Topics("").dead_letters])
def test_a_burst_stops_the_sink(
    kafka: KafkaAddress, clickhouse: ClickHouseAddress, tmp_path: Path, topic: str
) -> None:
    scene = Scene(tmp_path, kafka, clickhouse, dead_letters={"limit": LIMIT, "window_s": 86400})
    topic = scene.topics.prefix + topic
    client, partitions = scene.store(), ensure_topics(scene.settings.kafka)
    scene.produce(topic, b"\n".join(poison(topic)))
    with pytest.raises(PoisonError, match="sink stops: 20 records"):
        Sink(scene.settings, client, partitions, threading.Event()).run()
    assert client.query("SELECT count(), any(component) FROM dead_letters").result_rows == [(LIMIT, "sink")]
    assert scene.committed("sink", topic) == 0

    cell = LedgerCell(instance="m", minute=60_000, service="s", route="/", row="eligible", count=7)
    scene.produce(scene.topics.ledger, encode(cell))
    raised = scene.settings.model_copy(update={"dead_letters": DeadLetters(limit=0)})
    stop = threading.Event()
    thread = threading.Thread(target=Sink(raised, client, partitions, stop).run)
    thread.start()
    ledger = "SELECT row, sum(requests) FROM ledger GROUP BY row ORDER BY row"
    try:
        until(
            lambda: scene.store().query(ledger).result_rows == [("dead_lettered", BURST), ("eligible", 7)],
            "all is in the store, once",
        )
    finally:
        stop.set()
        thread.join(60)


def test_a_trickle_goes_on_however_fast_it_is_read(kafka: KafkaAddress, tmp_path: Path) -> None:
    scene = Scene(tmp_path, kafka, dead_letters={"limit": LIMIT, "window_s": 60}, rollouts=[ROLLOUT])
    stamps = [1_700_000_000_000 + n * 10_000 for n in range(BURST)]  # six a minute
    scene.produce(scene.topics.requests, *poison("trickle"), stamps=stamps)
    with scene.running("worker"):
        until(lambda: scene.committed("worker", scene.topics.requests) == BURST, "all is committed")
    assert len(scene.letters()) == BURST


def test_where_it_holds_it_stays_and_does_nothing_until_it_is_stopped(
    kafka: KafkaAddress, tmp_path: Path
) -> None:
    scene = Scene(tmp_path, kafka, dead_letters={"limit": LIMIT, "hold": True}, rollouts=[ROLLOUT])
    scene.produce(scene.topics.requests, *poison("held"))
    with scene.running("worker") as process:
        until(
            lambda: "does nothing until it is started again: worker stops" in scene.log("worker").read_text(),
            "it says so",
        )
        assert process.poll() is None
        process.terminate()
        assert process.wait(30) == 7
    assert len(scene.letters()) == LIMIT
