"""All that a topic has, read to its end as fetches tell it: what the embedded broker calls the end may be too early."""

from collections.abc import Iterator

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

PATIENCE_S = 30.0


def messages(bootstrap: str, topic: str) -> Iterator[Message]:
    """From the first on, each partition's in their order, until there is no more now.

    Raises:
        TimeoutError: nothing comes, and not all has been read.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reads",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            "fetch.message.max.bytes": 32 * 2**20,
        }
    )
    try:
        left = set(consumer.list_topics(topic, timeout=PATIENCE_S).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
        while left:
            message = consumer.poll(PATIENCE_S)
            if message is None:
                raise TimeoutError(f"{topic}: partitions {sorted(left)} are not read to their end")
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())
    finally:
        consumer.close()
