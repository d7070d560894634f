"""Reads mirrored requests in a thread of its own, and commits what is finished.

The thread alone touches the consumer and the offsets. What is read goes out through ``hand``; what is
finished comes back through ``finished``.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.cimpl import Consumer, KafkaError, Message

from shadowlane.errors import BrokerError
from shadowlane.processors.kafka import consumer_options
from shadowlane.processors.reading import check_passes, stamp_of
from shadowlane.processors.watch import Loop
from shadowlane.processors.worker.offsets import Offsets, Ticket
from shadowlane.schemas.codec import unpack
from shadowlane.schemas.config import Kafka

log = logging.getLogger("shadowlane.worker")

POLL_S = 0.1
WAIT_MS = 100  # fifty empty fetches a second were half of an idle worker's CPU
COMMIT_S = 1.0
FULL_S = 0.5  # how long reading waits for room before it pauses the partitions: resuming fetches them again
BATCH = 256  # lines
MESSAGES = 100_000  # that may lie behind one that is not finished: 150 bytes each


class Work(NamedTuple):
    """One line of one message."""

    ticket: Ticket
    partition: int
    number: int  # of the line, from 0
    line: bytes
    stamp: int  # when the message came to Kafka, Unix milliseconds; 0 where it is not said


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be read and not finished, before reading waits."""

    records: int
    bytes: int


class Reader:
    """A member of the workers' consumer group.

    ``hand`` gets the lines that were read, ``failed`` the error that ended the thread; both are called in
    the reader's thread and must not block. ``held`` says that reading should wait for another reason; ``aside`` how
    many of the records that were read count for nothing, but by their bytes.
    A partition that is taken away is committed up to its finished prefix, and then forgotten.
    """

    def __init__(
        self,
        kafka: Kafka,
        group: str,
        limits: Limits,
        *,
        hand: Callable[[list[Work]], None],
        failed: Callable[[Exception], None],
        held: Callable[[], bool] = lambda: False,
        aside: Callable[[], int] = lambda: 0,
        turning: Loop | None = None,
    ) -> None:
        self._topic = kafka.topics.requests
        self._options = consumer_options(kafka, "shadowlane-worker", group, WAIT_MS)
        self._limits, self._hand, self._failed = limits, hand, failed
        self._held, self._aside = held, aside
        self._turning = turning or Loop("reader", 0.0)
        self.joined = threading.Event()
        """Set while the group has given this member its partitions, be they none."""
        self.partitions = 0
        """How many it has now."""
        self._offsets = Offsets()
        self._finished: queue.SimpleQueue[Ticket] = queue.SimpleQueue()
        self._reading = threading.Event()
        self._reading.set()
        self._closing = threading.Event()
        self._paused: bool | None = None  # None: not known of all partitions
        self._thread = threading.Thread(target=self._run, name="shadowlane-worker-reader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finished(self, ticket: Ticket) -> None:
        """One record of the ticket's message is finished. From any thread, once for each record."""
        self._finished.put(ticket)

    def stop_reading(self) -> None:
        """Hands out nothing more; stays in the group, and commits what becomes finished."""
        self._reading.clear()

    def close(self) -> None:
        """Commits what is finished, leaves the group, and waits until that is done. Blocks."""
        self.stop_reading()
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            consumer = Consumer({**self._options, "on_commit": self._on_commit})
            try:
                consumer.subscribe(
                    [self._topic],
                    on_assign=self._on_assign,
                    on_revoke=self._on_revoke,
                    on_lost=self._on_lost,
                )
                self._loop(consumer)
            finally:
                consumer.close()  # calls on_revoke
        except KafkaException as exc:
            self._failed(BrokerError(f"reading {self._topic}: {exc.args[0].str()}"))
        except Exception as exc:
            self._failed(exc)

    def _loop(self, consumer: Consumer) -> None:
        commit_at = time.monotonic() + COMMIT_S
        while not self._closing.is_set():
            self._turning.turn()
            self._collect(FULL_S if self._full() else 0.0)
            full = self._full()
            if full != self._paused:
                (consumer.pause if full else consumer.resume)(consumer.assignment())
                self._paused = full
            if works := self._read(consumer):
                self._hand(works)
            if time.monotonic() >= commit_at:
                self._commit(consumer, self._offsets.committable(), asynchronous=True)
                commit_at = time.monotonic() + COMMIT_S

    def _full(self) -> bool:
        return (
            not self._reading.is_set()
            or self._offsets.records - self._aside() >= self._limits.records
            or self._offsets.messages >= MESSAGES
            or self._offsets.bytes >= self._limits.bytes
            or self._held()
        )

    def _collect(self, timeout: float) -> None:
        """Takes in what is finished; waits for it while there is no room."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                ticket = self._finished.get_nowait()
            except queue.Empty:
                left = deadline - time.monotonic()
                if left <= 0 or self._closing.is_set() or not self._full():
                    return
                try:
                    ticket = self._finished.get(timeout=min(left, POLL_S))
                except queue.Empty:
                    continue
            self._offsets.finish(ticket)

    def _read(self, consumer: Consumer) -> list[Work]:
        # One message at a time: a batch may span a rebalance, and hold messages of a partition that is gone.
        # While there is no room the partitions are paused, and polling serves rebalances alone.
        works: list[Work] = []
        wait = 0.0 if self._paused else POLL_S
        while len(works) < BATCH and (message := consumer.poll(wait)) is not None:
            works += self._begin(message)
            wait = 0.0
        return works

    def _begin(self, message: Message) -> list[Work]:
        error = message.error()
        if error is not None:
            check_passes(error, self._topic)
            log.warning("reading %s: %s", self._topic, error.str())
            return []
        partition, offset, value = message.partition(), message.offset(), message.value()
        if partition is None or offset is None:
            return []
        envelope = value.encode() if isinstance(value, str) else value
        lines = list(unpack(envelope))
        ticket = self._offsets.begin(partition, offset, len(lines), len(envelope or b""))
        stamp = stamp_of(message)
        return [Work(ticket, partition, number, line, stamp) for number, line in lines]

    def _commit(self, consumer: Consumer, offsets: dict[int, int], *, asynchronous: bool) -> None:
        if not offsets:
            return
        positions = [TopicPartition(self._topic, p, offset) for p, offset in offsets.items()]
        self._offsets.committed(offsets)
        try:
            if asynchronous:
                consumer.commit(offsets=positions, asynchronous=True)
            else:
                consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as exc:
            # At least once: who gets the partition next reads these again.
            log.warning("offsets not committed: %s", exc.args[0].str())
            for partition in offsets:
                self._offsets.not_committed(partition)

    def _on_commit(self, error: KafkaError | None, positions: list[TopicPartition]) -> None:
        for position in positions:
            if error is not None or position.error is not None:
                log.warning(
                    "offset of partition %d not committed: %s", position.partition, error or position.error
                )
                self._offsets.not_committed(position.partition)

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for p in partitions:
            self._offsets.assign(p.partition)
        self._paused = None
        self.partitions = len(partitions)
        self.joined.set()
        log.info("partitions assigned: %s", sorted(p.partition for p in partitions))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._collect(0.0)
        taken = [p.partition for p in partitions]
        self._commit(consumer, self._offsets.committable(taken), asynchronous=False)
        self._forget(taken)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget([p.partition for p in partitions])  # they are another's: nothing may be committed

    def _forget(self, partitions: list[int]) -> None:
        self.joined.clear()
        self.partitions = 0
        for partition in partitions:
            self._offsets.revoke(partition)
        log.info("partitions revoked: %s", sorted(partitions))
