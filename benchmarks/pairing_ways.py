"""The ways of pairing that benchmarks/pairing.py runs, each in a process of its own, until it is ended.

    python benchmarks/pairing_ways.py faust|faust_scored|faust_echo|plain_loop SETTINGS

The time at which the first message was read is printed, in Unix seconds.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.cimpl import Producer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import pairing_peers
from benchmarks.pairing_data import Load
from shadowlane.processors.kafka import client_options, producer_options
from shadowlane.schemas.codec import pack
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import Response

ENVELOPE = Load.envelope


def faust_app(settings: Settings) -> None:
    from shadowlane.processors.app import run as pair
    from shadowlane.processors.pairing.service import Pairing

    clock, take = pairing_peers.Clock(), Pairing.take

    def first_take(self: Pairing, *arguments: Any, **named: Any) -> None:
        clock.start()
        Pairing.take = take  # type: ignore[method-assign]  # the clock starts once, and costs nothing after
        take(self, *arguments, **named)

    Pairing.take = first_take  # type: ignore[method-assign]
    pair(settings)


def faust_echo(settings: Settings) -> None:
    """With scorers that are called as ever, and take no time."""
    from shadowlane.evaluators.scorers import scorer_set

    made = scorer_set._scorer

    def echo(*arguments: Any) -> Any:
        scorer, said = made(*arguments), dict[str, Any]()

        def call(request: Any, *answers: Response) -> Any:
            role = answers[0].role
            if role not in said:
                said[role] = scorer.call(request, *answers)
            return said[role]

        return replace(scorer, call=call)

    scorer_set._scorer = echo  # type: ignore[assignment]  # takes and gives the same
    faust_app(settings)


def plain_loop(settings: Settings) -> None:
    topics, partitions = settings.kafka.topics, range(settings.kafka.partitions)
    options: dict[str, Any] = {"group.id": "plain", "fetch.wait.max.ms": 20, "enable.auto.commit": False}
    consumer = Consumer(client_options(settings.kafka, "plain") | options)
    consumer.assign([TopicPartition(t, n, 0) for t in (topics.served, topics.shadow) for n in partitions])
    producer, clock = Producer(producer_options(settings.kafka, "plain")), pairing_peers.Clock()
    waiting: dict[str, dict[str, Any]] = {}
    out: dict[int, list[bytes]] = {n: [] for n in partitions}
    while True:
        for message in consumer.consume(1000, 0.05):
            clock.start()
            for line in (message.value() or b"").split(b"\n"):
                half = orjson.loads(line)
                other = waiting.pop(half["request_id"], None)
                if other is None:
                    waiting[half["request_id"]] = half
                    continue
                partition = message.partition()
                assert partition is not None
                out[partition].append(orjson.dumps(pairing_peers.pair(other, half)))
        for partition, pairs in out.items():
            for start in range(0, len(pairs), ENVELOPE):
                producer.produce(topics.pairs, pack(pairs[start : start + ENVELOPE]), partition=partition)
            pairs.clear()
        producer.poll(0)


if __name__ == "__main__":
    {"plain_loop": plain_loop, "faust_echo": faust_echo}.get(sys.argv[1], faust_app)(
        Settings.model_validate_json(sys.argv[2])
    )
