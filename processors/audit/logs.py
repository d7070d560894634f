"""Kafka, as the audit reads it: its topics' spans, the committed offsets, and the records. Commits nothing."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaException, TopicPartition, cimpl
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import Consumer, KafkaError

from shadowlane.errors import BrokerError
from shadowlane.processors.audit.account import Kind, Step
from shadowlane.processors.kafka import client_options
from shadowlane.processors.lag import committed_offsets, group_of, read_spans, reads
from shadowlane.processors.reading import check_passes
from shadowlane.schemas.config import Kafka

Partition = tuple[str, int]
"""Topic and number."""

TIMEOUT_S = 30.0
QUIET_S = 1.0  # past the end that the broker named: how long nothing more may come before it is the end
WAIT_S = 0.03
AT_ONCE = 16  # messages: an envelope may have 256 KB
STUCK_S = 60.0  # before that end: how long nothing may come before the broker is at fault
SKEW_MS = 3_600_000  # how far the clocks of two machines may be apart where reading starts at a time


@dataclass(frozen=True, slots=True)
class Span:
    """The offsets that a partition holds: from ``earliest`` up to, and without, ``latest``."""

    earliest: int
    latest: int


@dataclass(slots=True)
class Message:
    partition: Partition
    offset: int
    time: int  # Unix milliseconds
    value: bytes | None


@dataclass(slots=True)
class Reading:
    """How far a reading is: by partition the next offset, and the first message's time."""

    next: dict[Partition, int] = field(default_factory=dict)
    began: dict[Partition, int] = field(default_factory=dict)


class Logs:
    """Use it from one thread, and close it.

    Blocks; every method raises BrokerError where Kafka can't be reached or refuses.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        silent = logging.getLogger("shadowlane.audit.librdkafka")
        silent.addHandler(logging.NullHandler())
        silent.propagate = False
        self._logger = silent
        self._admin = AdminClient(client_options(kafka, "shadowlane-audit"), logger=silent)
        self._consumer = self._connected()
        topics = kafka.topics
        self.kinds = {
            topics.requests: Kind.REQUEST,
            topics.served: Kind.SERVED,
            topics.shadow: Kind.SHADOW,
            topics.pairs: Kind.PAIR,
            topics.noise: Kind.NOISE,
            topics.dead_letters: Kind.LETTER,
            topics.ledger: Kind.CELL,
        }

    def partitions(self) -> dict[str, int]:
        """Each topic's number of partitions.

        Raises:
            BrokerError: one of the topics is not there.
        """
        with _explaining(self._kafka):
            listed = self._admin.list_topics(timeout=TIMEOUT_S)
        found = {
            name: len(meta.partitions)
            for name, meta in listed.topics.items()
            if name in self.kinds and meta.error is None and meta.partitions
        }
        if missing := sorted(set(self.kinds) - set(found)):
            raise BrokerError(
                f"Kafka at {self._kafka.bootstrap_servers} has no topic {' and no '.join(missing)}: is "
                "kafka.topic_prefix right? The components create the topics when they start"
            )
        return found

    def committed(self, partitions: Mapping[str, int]) -> dict[Partition, int]:
        """What each component has committed of what it reads; a partition without a commit is not there."""
        found: dict[Partition, int] = {}
        for step in Step:
            group = group_of(step, self._kafka)
            mine = [(topic, n) for topic in reads(step, self._kafka) for n in range(partitions[topic])]
            with _explaining(self._kafka):
                found |= committed_offsets(self._kafka, group, mine, TIMEOUT_S)
        return found

    def spans(self, partitions: Mapping[str, int]) -> dict[Partition, Span]:
        """What each partition holds now."""
        asked = [(topic, n) for topic, count in partitions.items() for n in range(count)]
        with _explaining(self._kafka):
            found = read_spans(self._admin, asked, TIMEOUT_S)
        return {p: Span(max(0, first), max(0, end)) for p, (first, end) in found.items()}

    def offsets_at(self, spans: Mapping[Partition, Span], since_ms: int) -> dict[Partition, int]:
        """Where to start so that nothing of ``since_ms`` or later is missed."""
        asked = [TopicPartition(*p, max(0, since_ms - SKEW_MS)) for p in spans]
        with _explaining(self._kafka):
            found = self._consumer.offsets_for_times(asked, timeout=TIMEOUT_S)
        at = {(tp.topic, tp.partition): tp.offset for tp in found}
        return {p: at[p] if at.get(p, -1) >= 0 else span.latest for p, span in spans.items()}

    def read(
        self,
        starts: Mapping[Partition, int],
        ends: Mapping[Partition, int],
        reading: Reading,
        *,
        beyond: bool = False,
    ) -> Iterator[list[Message]]:
        """The messages from ``starts`` up to ``ends`` at least, in some order of the partitions.

        It reads on to where a partition really ends: the embedded broker's word on that lags. ``beyond``: and
        does not take its word for there being nothing at all.
        """
        for partition, start in starts.items():
            reading.next[partition] = start
        open_ones = {p for p, start in starts.items() if beyond or start < ends[p]}
        if not open_ones:
            return
        consumer = self._consumer
        with _explaining(self._kafka):
            consumer.assign([TopicPartition(*p, starts[p]) for p in sorted(open_ones)])
            heard = time.monotonic()
            while open_ones:
                messages = []
                for raw in consumer.consume(AT_ONCE, WAIT_S):
                    if error := raw.error():
                        check_passes(error, raw.topic() or "the topics")
                    message = _message(raw)
                    if error and error.code() == KafkaError._PARTITION_EOF:
                        if reading.next[message.partition] >= ends[message.partition]:
                            open_ones.discard(message.partition)
                    elif not error:
                        messages.append(message)
                        reading.next[message.partition] = message.offset + 1
                        reading.began.setdefault(message.partition, message.time)
                now = time.monotonic()
                if messages:
                    heard = now
                    yield messages
                elif now - heard >= QUIET_S:
                    open_ones = {p for p in open_ones if reading.next[p] < ends[p]}
                    if open_ones and now - heard >= STUCK_S:
                        topic, number = min(open_ones)
                        raise BrokerError(
                            f"{topic}, partition {number}: Kafka gives nothing after offset "
                            f"{reading.next[topic, number]}, and says that it ends at {ends[topic, number]}"
                        )
            consumer.unassign()

    def close(self) -> None:
        self._consumer.close()

    def _connected(self) -> Consumer:
        options = {
            "group.id": f"{self._kafka.topic_prefix}-audit",  # it never joins: partitions are assigned by hand
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",  # where retention was faster
            "fetch.wait.max.ms": 20,
            # What waits here is memory. A fetch is as it was compressed, and may be a hundred times that; a
            # larger message still comes, alone.
            "fetch.message.max.bytes": 256 * 1024,
            "queued.max.messages.kbytes": 2 * 1024,
            "fetch.queue.backoff.ms": 20,
            **client_options(self._kafka, "shadowlane-audit"),
        }
        return Consumer(options, logger=self._logger)


def _message(raw: cimpl.Message) -> Message:
    value = raw.value()
    return Message(
        (str(raw.topic()), int(raw.partition() or 0)),
        int(raw.offset() or 0),
        int(raw.timestamp()[1]),
        value.encode() if isinstance(value, str) else value,
    )


class _explaining:
    """Turns Kafka's errors into a BrokerError that says where."""

    def __init__(self, kafka: Kafka) -> None:
        self._where = kafka.bootstrap_servers

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, KafkaException):
            raise BrokerError(
                f"Kafka at {self._where} can't be audited ({exc.args[0].str()}): is it running, and is "
                "kafka.bootstrap_servers right?"
            ) from exc
