"""The sink between a real broker and a real store."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client
from confluent_kafka import TopicPartition
from confluent_kafka.cimpl import Consumer, KafkaError, Message, Producer
from pydantic import SecretStr

from shadowlane.processors.kafka import consumer_options, ensure_topics, producer_options
from shadowlane.processors.sink import Sink
from shadowlane.processors.store import connect, migrate
from shadowlane.schemas import config
from shadowlane.schemas.codec import encode, pack
from shadowlane.schemas.config import Settings
from tests.seeds import Day, day
from tests.services import ClickHouseAddress, KafkaAddress, free_port, running

START = datetime(2026, 3, 2, tzinfo=UTC)
PARTITIONS = 2
COUNTS = """
SELECT
    (SELECT count() FROM pairs), (SELECT uniqExact(pair_id) FROM pairs),
    (SELECT round(sum(candidate_quality), 6) FROM pairs),
    (SELECT count() FROM unpaired), (SELECT count() FROM abstained), (SELECT count() FROM dead_letters),
    (SELECT groupArray((row, reason, n)) FROM
        (SELECT row, reason, sum(requests) AS n FROM ledger GROUP BY row, reason ORDER BY row, reason))
"""


class Scene:
    """One topic prefix and one database."""

    def __init__(self, kafka: KafkaAddress, clickhouse: ClickHouseAddress, **sink: Any) -> None:
        name = f"sink{uuid.uuid4().hex[:10]}"
        self.settings = Settings(
            kafka=config.Kafka(
                bootstrap_servers=kafka.bootstrap_servers,
                topic_prefix=name,
                partitions=PARTITIONS,
                session_timeout_s=kafka.session_s,
            ),
            clickhouse=config.ClickHouse(
                host=clickhouse.host,
                port=clickhouse.port,
                username=clickhouse.username,
                password=SecretStr(clickhouse.password),
                database=name,
            ),
            sink=config.Sink(**{"max_wait_s": 0.2, "max_rows": 500} | sink),
        )
        self.topics = self.settings.kafka.topics
        self.partitions = ensure_topics(self.settings.kafka)
        self.produced: dict[tuple[str, int], int] = {}  # one past the last offset

    def store(self) -> Client:
        client = connect(self.settings.clickhouse)
        migrate(client, self.settings.clickhouse.database)
        return client

    def produce(self, topic: str, envelopes: list[bytes]) -> None:
        producer = Producer(producer_options(self.settings.kafka, "test"))

        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None
            place = (topic, message.partition() or 0)
            self.produced[place] = max(self.produced.get(place, 0), (message.offset() or 0) + 1)

        for number, envelope in enumerate(envelopes):
            producer.produce(topic, envelope, partition=number % PARTITIONS, on_delivery=delivered)
        assert producer.flush(30) == 0

    def produce_day(self, made: Day) -> None:
        self.produce(self.topics.pairs, envelopes(made.pairs))
        self.produce(self.topics.ledger, envelopes(made.cells))
        self.produce(self.topics.dead_letters, envelopes(made.letters))

    @contextmanager
    def running(self) -> Iterator[Sink]:
        """A sink, until the end of the block; then it stops cleanly."""
        stop = threading.Event()
        sink = Sink(self.settings, self.store(), self.partitions, stop)
        thread = threading.Thread(target=sink.run)
        thread.start()
        try:
            yield sink
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()

    def group(self) -> Consumer:
        kafka = self.settings.kafka
        return Consumer(consumer_options(kafka, "test", f"{kafka.topic_prefix}-sink"))

    def all_partitions(self) -> list[TopicPartition]:
        topics = (self.topics.pairs, self.topics.ledger, self.topics.dead_letters)
        return [TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)]

    def committed(self) -> dict[tuple[str, int], int]:
        consumer = self.group()
        found = consumer.committed(self.all_partitions(), timeout=10)
        consumer.close()
        return {(tp.topic, tp.partition): max(tp.offset, 0) for tp in found}

    def all_committed(self) -> bool:
        """Whether all that was produced here is; not asked of the watermarks, which lag on some brokers."""
        committed = self.committed()
        return all(committed[place] >= end for place, end in self.produced.items())


def envelopes(records: list[Any]) -> list[bytes]:
    lines: list[bytes] = [encode(record) for record in records]
    return [pack(lines[at : at + 25]) for at in range(0, len(lines), 25)]


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, f"not within 30 s: {what}"
        time.sleep(0.05)


def counts(client: Client) -> tuple[Any, ...]:
    return tuple(client.query(COUNTS).result_rows[0])


def expected(made: Day) -> tuple[int, int, int, int]:
    """Pairs, unpaired, abstained, dead letters: as far as they are counted by hand here."""
    ids = {
        outcome: {p.pair_id for p in made.pairs if p.outcome == outcome} for outcome in ("scored", "unpaired")
    }
    abstained = sum(pair.outcome == "abstained" for pair in made.pairs)
    return len(ids["scored"]), len(ids["unpaired"] - ids["scored"]), abstained, len(made.letters)


def check(scene: Scene, made: Day) -> tuple[Any, ...]:
    found = counts(scene.store())
    pairs, unpaired, abstained, letters = expected(made)
    assert found[:2] == (pairs, pairs)
    assert found[3:6] == (unpaired, abstained, letters)
    by_row = {(row, reason): n for row, reason, n in found[6]}
    assert {key: n for key, n in by_row.items() if key in made.rows} == dict(made.rows)
    assert by_row["eligible", ""] == sum(made.rows.values())
    assert by_row["unreadable", "worker"] == 1
    return found


def test_everything_twice_and_a_replay_from_the_start(
    kafka: KafkaAddress, clickhouse: ClickHouseAddress
) -> None:
    scene, made = Scene(kafka, clickhouse), day(START)
    scene.produce_day(made)
    with scene.running() as sink:
        until(scene.all_committed, "all is committed")
        first = check(scene, made)
        assert sink.progress.rows == len(made.pairs) + len(made.cells) + len(made.letters)

        for records in (made.pairs, made.cells, made.letters):
            random.Random(1).shuffle(records)  # in other company, and in another order
        scene.produce_day(made)
        until(scene.all_committed, "the copies are committed")
        assert check(scene, made) == first
    assert scene.all_committed()

    rewind = scene.group()
    rewind.commit(
        offsets=[TopicPartition(tp.topic, tp.partition, 0) for tp in scene.all_partitions()],
        asynchronous=False,
    )
    rewind.close()
    with scene.running():
        until(scene.all_committed, "all is committed again")
    assert check(scene, made) == first


def test_killed_between_insert_and_commit(kafka: KafkaAddress, clickhouse: ClickHouseAddress) -> None:
    scene, made = Scene(kafka, clickhouse), day(START)
    client = scene.store()
    scene.produce_day(made)
    crash = subprocess.run(
        [sys.executable, "-m", "tests.processors.sink.crashing", scene.settings.model_dump_json()],
        env=os.environ | {"CLICKHOUSE_PASSWORD": clickhouse.password},
        timeout=120,
        check=False,
    )
    assert crash.returncode == -signal.SIGKILL
    stored = client.query("SELECT count() FROM pair_log").result_rows[0][0]
    stored += client.query("SELECT count() FROM ledger_log").result_rows[0][0]
    assert stored > 0
    assert set(scene.committed().values()) == {0}

    with scene.running():
        until(scene.all_committed, "all is committed")
    check(scene, made)


def test_what_the_store_can_not_read_becomes_a_dead_letter(
    kafka: KafkaAddress, clickhouse: ClickHouseAddress
) -> None:
    scene = Scene(kafka, clickhouse)
    good = [pair for pair in day(START).scored[:6]]
    too_large = encode(good[5]).replace(b'"stable_status":200', b'"stable_status":-99999999999999999999')
    lines = [encode(pair) for pair in good[:5]]
    scene.produce(
        scene.topics.pairs, [pack([lines[0], b"[]", b"{}", lines[1], too_large]), pack(lines[2:]), b"nothing"]
    )
    scene.produce(scene.topics.dead_letters, [b"no dead letter"])
    client = scene.store()
    with scene.running() as sink:
        until(lambda: sink.progress.dead_letters == 5, "five dead letters")
        until(
            lambda: client.query("SELECT count() FROM dead_letters").result_rows[0][0] == 5,
            "the dead letters came back through Kafka",
        )
        until(scene.all_committed, "all is committed")
    pairs = client.query("SELECT pair_id FROM pairs ORDER BY pair_id").result_columns[0]
    assert list(pairs) == sorted(pair.pair_id for pair in good[:5])
    found = client.query(
        "SELECT source_topic, payload, component, request_id FROM dead_letters ORDER BY payload"
    ).result_rows
    assert [tuple(row) for row in found] == [
        (scene.topics.pairs, "[]", "sink", ""),
        (scene.topics.dead_letters, "no dead letter", "sink", ""),
        (scene.topics.pairs, "nothing", "sink", ""),
        (scene.topics.pairs, too_large.decode(), "sink", good[5].request_id),
        (scene.topics.pairs, "{}", "sink", ""),
    ]


def test_the_store_goes_away_and_comes_back(kafka: KafkaAddress, tmp_path: Path) -> None:
    port, made = free_port(), day(START)
    arguments = ("shadowlane.embedded.store", "--data", str(tmp_path), "--port", str(port))
    scene = Scene(kafka, ClickHouseAddress("127.0.0.1", port, "default", "", "embedded"), max_rows=100)
    with running(*arguments) as server, scene.running() as sink:
        scene.produce(scene.topics.pairs, envelopes(made.pairs[:200]))
        until(lambda: sink.progress.rows == 200, "the first pairs")
        server.kill()
        server.wait()
        scene.produce_day(made)
        until(lambda: sink.progress.retries >= 1, "the store is missed")
        with running(*arguments):
            until(scene.all_committed, "all is committed")
            check(scene, made)
            assert sink.progress.dead_letters == 0


def test_a_stop_while_the_store_is_away_leaves_the_rest_to_the_next_start(
    kafka: KafkaAddress, tmp_path: Path
) -> None:
    port, made = free_port(), day(START)
    arguments = ("shadowlane.embedded.store", "--data", str(tmp_path), "--port", str(port))
    scene = Scene(kafka, ClickHouseAddress("127.0.0.1", port, "default", "", "embedded"))
    with running(*arguments) as server, scene.running() as sink:
        server.kill()
        server.wait()
        scene.produce_day(made)
        until(lambda: sink.progress.retries >= 1, "the store is missed")
    assert set(scene.committed().values()) == {0}
    with running(*arguments), scene.running():
        until(scene.all_committed, "all is committed")
        check(scene, made)


def test_several_sinks_share_the_partitions(kafka: KafkaAddress, clickhouse: ClickHouseAddress) -> None:
    scene, made = Scene(kafka, clickhouse), day(START)
    with scene.running() as one:
        scene.produce(scene.topics.pairs, envelopes(made.pairs[:100]))
        until(lambda: one.progress.rows == 100, "the first pairs")
        with scene.running() as two:

            def second_has_its_share() -> bool:
                scene.produce(scene.topics.pairs, envelopes(made.pairs[:50]))
                return two.progress.rows > 0

            until(second_has_its_share, "the second sink writes too")
            scene.produce_day(made)
            until(scene.all_committed, "all is committed")
    check(scene, made)


def test_a_stop_inserts_what_was_read(kafka: KafkaAddress, clickhouse: ClickHouseAddress) -> None:
    scene, made = Scene(kafka, clickhouse, max_wait_s=3600), day(START)
    scene.produce(scene.topics.pairs, [encode(pair) for pair in made.scored[:100]])
    with scene.running() as sink:
        until(lambda: sink.progress.messages == 100, "all is read")
        assert sink.progress.rows == 0
    assert sink.progress.rows == 100
    assert scene.all_committed()


def test_stops_on_sigterm(kafka: KafkaAddress, clickhouse: ClickHouseAddress) -> None:
    scene, made = Scene(kafka, clickhouse), day(START)
    scene.produce(scene.topics.pairs, [encode(pair) for pair in made.scored[:100]])
    client = scene.store()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.processors.sink.whole", scene.settings.model_dump_json()],
        env=os.environ | {"CLICKHOUSE_PASSWORD": clickhouse.password},
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: client.query("SELECT count() FROM pairs").result_rows[0][0] > 0, "the first pairs")
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "sink stopped" in said
    # Every message stands for one pair here.
    assert client.query("SELECT count() FROM pairs").result_rows[0][0] == sum(scene.committed().values())
