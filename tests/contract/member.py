"""A member of a consumer group, as a process that can be killed.

``python -m tests.contract.member KAFKA GROUP TOPIC COUNT``: KAFKA is a ``schemas.config.Kafka`` as JSON. It reads on,
and commits the first COUNT messages of each partition, one by one.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import TopicPartition
from confluent_kafka.cimpl import Consumer

from shadowlane.processors.kafka import consumer_options
from shadowlane.schemas.config import Kafka


def main(kafka: Kafka, group: str, topic: str, count: int) -> None:
    def assigned(_consumer: Consumer, partitions: list[TopicPartition]) -> None:
        print("assigned", *(tp.partition for tp in partitions), flush=True)

    consumer = Consumer(consumer_options(kafka, "member", group))
    consumer.subscribe([topic], on_assign=assigned)
    while True:
        message = consumer.poll(0.1)
        if message is None or message.error():
            continue
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        if offset < count:
            consumer.commit(offsets=[TopicPartition(topic, partition, offset + 1)], asynchronous=False)
        print("read", partition, offset, flush=True)


class Member:
    """What a member in a process of its own says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[list[str]] = []

    def listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.split())

    def partitions(self) -> set[int]:
        said = [words[1:] for words in self.lines if words[0] == "assigned"]
        return {int(number) for number in said[-1]} if said else set()

    def count(self, what: str) -> int:
        return sum(words[0] == what for words in self.lines)


@contextmanager
def member(config: Kafka, group: str, topic: str, count: int) -> Iterator[Member]:
    arguments = [config.model_dump_json(), group, topic, str(count)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.member", *arguments], stdout=subprocess.PIPE, text=True
    )
    made = Member(process)
    listener = threading.Thread(target=made.listen)
    listener.start()
    try:
        yield made
    finally:
        process.kill()
        process.wait()
        listener.join()
        assert process.stdout
        process.stdout.close()


if __name__ == "__main__":
    main(Kafka.model_validate_json(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
