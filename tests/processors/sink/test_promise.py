"""What was committed beside the offset, across a kill between insert and commit."""

import os
import signal
import subprocess
import sys

from clickhouse_connect.driver.client import Client
from confluent_kafka import TopicPartition

from shadowlane.processors.sink.blocks import promised_last
from shadowlane.schemas.codec import encode, pack
from tests.processors.sink.test_sink import PARTITIONS, START, Scene, until
from tests.seeds import day
from tests.services import ClickHouseAddress, KafkaAddress

MESSAGES = 40


def test_the_block_of_a_killed_sink_is_repeated_as_it_was(
    kafka: KafkaAddress, clickhouse: ClickHouseAddress
) -> None:
    # Each message is one pair of its own, and no two blocks hold the same, so rows are what was inserted, as long as
    # nothing is merged.
    scene, pairs = Scene(kafka, clickhouse, max_wait_s=1.0, max_rows=7), day(START).scored
    lines = [pack([encode(pair)]) for pair in {pair.pair_id: pair for pair in pairs}.values()]
    first, later = lines[:MESSAGES], lines[MESSAGES : 3 * MESSAGES]
    client = scene.store()
    client.command("SYSTEM STOP MERGES pair_log")
    scene.produce(scene.topics.pairs, first)
    crash = subprocess.run(
        [sys.executable, "-m", "tests.processors.sink.crashing", scene.settings.model_dump_json()],
        env=os.environ | {"CLICKHOUSE_PASSWORD": clickhouse.password},
        timeout=120,
        check=False,
    )
    assert crash.returncode == -signal.SIGKILL
    assert rows(client) == 7  # one block went in, and its offset was not committed
    promised = promises(scene)
    assert promised == ([] if kafka.kind == "embedded" else [6])

    # More has come since, and the limits are others: without the promise the next blocks would be cut otherwise.
    scene.produce(scene.topics.pairs, later)
    wider = scene.settings.sink.model_copy(update={"max_rows": 1000})
    scene.settings = scene.settings.model_copy(update={"sink": wider})
    with scene.running():
        until(scene.all_committed, "all is committed")
    assert client.query("SELECT count() FROM pairs").result_rows[0][0] == 3 * MESSAGES
    # The embedded broker loses the promise: seven rows are there twice until they are merged, and no view counts
    # them twice.
    assert rows(client) == 3 * MESSAGES + (7 if kafka.kind == "embedded" else 0)


def rows(client: Client) -> int:
    """Rows inserted, as far as they were not dropped for their block's token."""
    count: int = client.query("SELECT count() FROM pair_log").result_rows[0][0]
    return count


def promises(scene: Scene) -> list[int]:
    """The last offset of each block that is promised."""
    places = [TopicPartition(scene.topics.pairs, number) for number in range(PARTITIONS)]
    group = scene.group()
    found = [promised_last(tp.metadata, tp.offset) for tp in group.committed(places, timeout=30)]
    group.close()
    return [last for last in found if last is not None]
