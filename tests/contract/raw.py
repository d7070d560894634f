"""What librdkafka does not do: aiokafka reads, and a batch is sent again on purpose, as a producer does whose answer
was lost."""

import asyncio
import socket
import struct
from typing import Any

# aiokafka has no types.
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

INIT_PRODUCER_ID = 22


def producer_id(bootstrap: str) -> tuple[int, int]:
    """The id and the epoch that an idempotent producer is given (InitProducerId, version 4)."""
    host, _, port = bootstrap.rpartition(":")
    header = struct.pack(">hhih", INIT_PRODUCER_ID, 4, 1, -1) + b"\0"
    body = b"\0" + struct.pack(">iqh", 60_000, -1, -1) + b"\0"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(struct.pack(">i", len(header + body)) + header + body)
        answer = connection.makefile("rb").read(26)
    _size, _correlation, _tags, _throttle, error, given, epoch = struct.unpack(">iiBihqh", answer[:25])
    assert error == 0
    return given, epoch


def produce(bootstrap: str, topic: str, sequences: list[int]) -> list[tuple[int, int]]:
    """Writes one record for each sequence number to partition 0, under one producer id.

    Gives error code and offset of each.
    """
    given, epoch = producer_id(bootstrap)

    def batch(sequence: int) -> bytes:
        builder = DefaultRecordBatchBuilder(
            magic=2,
            compression_type=0,
            is_transactional=False,
            producer_id=given,
            producer_epoch=epoch,
            base_sequence=sequence,
            batch_size=1000,
        )
        builder.append(0, None, None, b"%d" % sequence, [])
        return bytes(builder.build())

    async def send() -> list[tuple[int, int]]:
        client = AIOKafkaClient(bootstrap_servers=bootstrap)
        await client.bootstrap()
        try:
            await client.add_topic(topic)
            node = client.cluster.leader_for_partition(TopicPartition(topic, 0))
            answers = []
            for sequence in sequences:
                request = ProduceRequest(
                    transactional_id=None,
                    required_acks=-1,
                    timeout=30_000,
                    topics=[(topic, [(0, batch(sequence))])],
                )
                answer = await client.send(node, request)
                _partition, error, offset = answer.topics[0][1][0][:3]
                answers.append((error, offset))
            return answers
        finally:
            await client.close()

    return asyncio.run(send())


def read_with_aiokafka(bootstrap: str, topic: str, count: int) -> list[Any]:
    """The first ``count`` records of partition 0, by aiokafka: what Faust, and so pairing, reads with."""

    async def go() -> list[Any]:
        reader = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=20
        )
        await reader.start()
        try:
            reader.assign([TopicPartition(topic, 0)])
            return [await reader.getone() for _ in range(count)]
        finally:
            await reader.stop()

    return asyncio.run(go())
