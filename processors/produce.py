"""Records out to Kafka, packed into envelopes: what every component writes with.

One thread per producer owns librdkafka's poll loop, so that callers never wait for Kafka: ``send`` appends
and returns. Nothing is dropped here. Where librdkafka's queue is full the thread waits; a delivery that
fails for good (librdkafka tried for ``message.timeout.ms``, 300 s unless ``kafka.client`` says otherwise) is
told to the record's owner, which stops rather than go on without it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.cimpl import KafkaError, Producer

from shadowlane.errors import BrokerError
from shadowlane.processors.kafka import producer_options
from shadowlane.schemas.codec import pack
from shadowlane.schemas.config import Envelope, Kafka

log = logging.getLogger("shadowlane.produce")

Done = Callable[[Exception | None], None]
"""Called once for each record: with None once Kafka has acknowledged it, else with why it has not."""

Tell = Callable[[list[Done], Exception | None], None]
"""Called once for each envelope, with the ``done`` of each of its records that has one."""

POLL_S = 0.01


class RecordTooLargeError(BrokerError):
    """Kafka takes no message of this record's size. Trying again is of no use; a shorter record is."""


@dataclass(slots=True)
class Batch:
    """The records of one envelope to be, and who waits for them."""

    topic: str
    partition: int
    since: float
    lines: list[bytes] = field(default_factory=list)
    waiting: list[Done] = field(default_factory=list)
    size: int = 0  # of the envelope, in bytes

    @property
    def payload_bytes(self) -> int:
        return self.size - len(self.lines) + 1


class Packer:
    """Which records make an envelope, and when it goes out. Pure: time is handed in, in seconds.

    Records keep their order within a partition. An envelope never exceeds ``max_bytes``, unless one record
    alone does.
    """

    def __init__(self, envelope: Envelope) -> None:
        self._max_bytes = envelope.max_bytes
        self._linger_s = envelope.linger_ms / 1000
        self._open: dict[tuple[str, int], Batch] = {}  # in the order of their age
        self._full: list[Batch] = []

    def add(self, topic: str, partition: int, line: bytes, done: Done | None, now: float) -> bool:
        """Takes one record. True where the next time that something is due may have changed."""
        batch = self._open.get((topic, partition))
        sealed = batch is not None and batch.size + 1 + len(line) > self._max_bytes
        if batch is None or sealed:
            if batch is not None:
                self._full.append(self._open.pop((topic, partition)))
            batch = self._open[topic, partition] = Batch(topic, partition, now)
        batch.size += len(line) + (1 if batch.lines else 0)
        batch.lines.append(line)
        if done is not None:
            batch.waiting.append(done)
        return sealed or len(batch.lines) == 1

    def due(self, now: float, *, everything: bool = False) -> list[Batch]:
        """The envelopes that are full or have waited long enough; they are no longer here."""
        ready, self._full = self._full, []
        for key, batch in list(self._open.items()):
            if everything or now - batch.since >= self._linger_s:
                ready.append(self._open.pop(key))
        return ready

    def wait(self, now: float) -> float | None:
        """Seconds until something is due; None where nothing waits."""
        if self._full:
            return 0.0
        oldest = next(iter(self._open.values()), None)
        return None if oldest is None else max(0.0, oldest.since + self._linger_s - now)


class EnvelopeProducer:
    """Packs encoded records into envelopes and produces them. Safe to use from any thread.

    ``done`` callbacks run in the producer's own thread: an owner on asyncio hands itself the result with
    ``loop.call_soon_threadsafe``. They must neither block nor raise (what they raise is logged). There is no
    bound on what is sent: the owner stops reading where ``queued_bytes`` is more than it wants to hold.

    Args:
        tell: calls the callbacks of one envelope; in place of calling them here, an owner may take them along
            and call them itself, where and when it wants. It must neither block nor raise.
    """

    def __init__(self, kafka: Kafka, envelope: Envelope, client_id: str, tell: Tell | None = None) -> None:
        self._tell = tell or tell_each
        self._producer = Producer(producer_options(kafka, client_id))
        self._packer = Packer(envelope)
        self._changed = threading.Condition()  # guards all below, and the packer
        self._queued_bytes = 0
        self._queued = 0
        self.written = self.failed = 0  # records; the thread's own to write
        self._out: dict[int, Batch] = {}  # by id(): those that have left the packer; the thread's own
        self._flushes = 0
        self._closing = False
        self._abort = False
        self._broken: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"{client_id}-produce", daemon=True)
        self._thread.start()

    def send(self, topic: str, partition: int, line: bytes, done: Done | None = None) -> None:
        """Queues one encoded record. Never blocks on Kafka.

        Raises:
            BrokerError: the producer is closed, or its thread has died.
        """
        self.send_many(topic, [(partition, line, done)])

    def send_many(self, topic: str, records: Iterable[tuple[int, bytes, Done | None]]) -> None:
        """Queues encoded records of a topic, each with its partition, in one go. Never blocks on Kafka.

        Raises:
            BrokerError: the producer is closed, or its thread has died.
        """
        with self._changed:
            if self._closing or self._broken:
                raise BrokerError(f"can't write to {topic}: {self._broken or 'the producer is closed'}")
            now, changed = time.monotonic(), False
            for partition, line, done in records:
                self._queued += 1
                self._queued_bytes += len(line)
                changed |= self._packer.add(topic, partition, line, done, now)
            if changed:
                self._changed.notify_all()

    @property
    def queued_bytes(self) -> int:
        """Of the records that were sent and that Kafka has neither acknowledged nor refused."""
        return self._queued_bytes

    @property
    def oldest_s(self) -> float:
        """How long the oldest envelope has waited for Kafka's word; 0 where none does. From any thread."""
        out = list(self._out.values())
        return time.monotonic() - out[0].since if out else 0.0

    def flush(self, timeout: float) -> int:
        """Sends what waits at once. Blocks for up to ``timeout`` seconds; gives how many records remain."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._flushes += 1
            self._changed.notify_all()
            try:
                while self._queued and (left := deadline - time.monotonic()) > 0:
                    self._changed.wait(left)
                return self._queued
            finally:
                self._flushes -= 1

    def close(self, timeout: float) -> int:
        """Flushes, then stops. What remains after ``timeout`` seconds is told to its owners as failed.

        Gives how many records that were.
        """
        remaining = self.flush(timeout)
        with self._changed:
            self._closing = self._abort = True
            self._changed.notify_all()
        self._thread.join()
        return remaining

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except Exception as exc:
            log.exception("the producer's thread died")
            with self._changed:
                self._broken = exc
                left = self._packer.due(0.0, everything=True)
            for batch in [*self._out.values(), *left]:
                self._settle(batch, BrokerError(f"the producer's thread died: {exc}"))
        finally:
            del self._producer  # its connections end now, and not when this object is collected

    def _step(self) -> bool:
        """Hands on what is due and serves deliveries; False once it is closed and all is settled."""
        with self._changed:
            now = time.monotonic()
            due = self._packer.due(now, everything=self._flushes > 0 or self._abort)
            wait = self._packer.wait(now)
            if not due and not self._out:
                if self._closing:
                    return False
                self._changed.wait(wait)
                return True
        self._out.update((id(batch), batch) for batch in due)
        for batch in due:
            self._produce(batch)
        if self._abort:
            self._producer.purge()
        self._producer.poll(POLL_S if wait is None else min(POLL_S, wait))
        return True

    def _produce(self, batch: Batch) -> None:
        value = pack(batch.lines)
        while True:
            try:
                self._producer.produce(
                    batch.topic, value, partition=batch.partition, on_delivery=partial(self._delivered, batch)
                )
                return
            except BufferError:
                if self._abort:
                    error: Exception = BrokerError(f"{batch.topic}: closed before there was room to write")
                    break
                self._producer.poll(POLL_S)
            except KafkaException as exc:
                error = _error(batch, exc.args[0])
                break
        self._settle(batch, error)

    def _delivered(self, batch: Batch, error: KafkaError | None, _message: Any) -> None:
        self._settle(batch, None if error is None else _error(batch, error))

    def _settle(self, batch: Batch, error: Exception | None) -> None:
        self._out.pop(id(batch), None)
        if error is None:
            self.written += len(batch.lines)
        else:
            self.failed += len(batch.lines)
        if error is not None and len(batch.waiting) < len(batch.lines):
            log.error("records that nobody waits for were not written: %s", error)
        if batch.waiting:
            try:
                self._tell(batch.waiting, error)
            except Exception:
                log.exception("what was to be told of a delivery raised")
        with self._changed:
            self._queued -= len(batch.lines)
            self._queued_bytes -= batch.payload_bytes
            if not self._queued:
                self._changed.notify_all()


def tell_each(waiting: list[Done], error: Exception | None) -> None:
    """Calls them one after the other; what one raises is logged."""
    for done in waiting:
        try:
            done(error)
        except Exception:
            log.exception("a delivery callback raised")


def _error(batch: Batch, error: KafkaError) -> BrokerError:
    what = f"{len(batch.lines)} records for {batch.topic}, partition {batch.partition}"
    if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE):
        return RecordTooLargeError(f"{what}: Kafka takes no message of {batch.size} bytes")
    return BrokerError(f"{what} could not be written: {error.str()}")
