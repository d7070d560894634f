"""What the mirror's thread does: take from the buffer, encode, pack, send, and keep the books.

A :class:`Worker` has no thread and no clock of its own: ``step(now)`` is one round, with the time handed in,
and tests drive it with a link that is no Kafka. :mod:`shadowlane.producers.pipeline` runs it.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from shadowlane.errors import BrokerError, CodecError
from shadowlane.producers.buffer import OVERHEAD_BYTES, Book, Buffer, Queued
from shadowlane.producers.ledger import FORGET_EVERY_S, Drop, Key, Row
from shadowlane.producers.link import Link
from shadowlane.producers.packing import Batch, Packer
from shadowlane.schemas.codec import ENVELOPE_MAX_BYTES, encode, pack
from shadowlane.schemas.events import LedgerCell
from shadowlane.schemas.topics import Topics, partition_of

BATCH = 32  # taken from the buffer at once
LINGER_S = 0.05  # how long a request waits for others in its envelope
LEDGER_EVERY_S = 1.0
METADATA_EVERY_S = 60.0
METADATA_RETRY_S = 1.0
RECORD_MAX_BYTES = 900_000  # librdkafka and Kafka refuse messages over 1 MB unless told otherwise


class Item(Queued, Protocol):
    """A request in the buffer."""

    request_id: str

    @property
    def queued_at(self) -> float:
        """Seconds on the worker's clock."""
        ...


T = TypeVar("T", bound=Item)

Encoder = Callable[[T, str], tuple[bytes, bytes]]
"""(item, its route as the ledger has it) -> (request line, response line). Raises CodecError where it can't."""


class Worker(Generic[T]):
    """One mirror's way to Kafka, from the buffer on.

    Args:
        buffer: taken from; every item taken is settled here, exactly once.
        encode_item: redacts and encodes.
        link: Kafka.
        topics: where to.
        hold_s: how long requests wait for a Kafka that can't be reached, before they are dropped.
        report: told what went wrong, as (kind, text).
        pause: called between two items, to let the service's threads run.
    """

    def __init__(
        self,
        buffer: Buffer[T],
        encode_item: Encoder[T],
        link: Link,
        topics: Topics,
        *,
        hold_s: float,
        report: Callable[[str, str], None],
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        self._buffer = buffer
        self._encode = encode_item
        self._link = link
        self._topics = topics
        self._hold_s = hold_s
        self._report = report
        self._pause = pause
        self._batch: deque[tuple[T, Book]] = deque()  # taken, and not packed yet
        self._packer = Packer()
        self._packer_since = 0.0
        self._outgoing: deque[_Message] = deque()
        self._in_flight = 0
        self._partitions = 0
        self._ledger_partitions = 0
        self._metadata_at = float("-inf")
        self._metadata_every = METADATA_RETRY_S
        self._ledger_at = float("-inf")
        self._ledger_in_flight = 0
        self._forget_at = float("-inf")
        self._deliveries: set[_Delivery] = set()
        self._giving_up = ""

    @property
    def connected(self) -> bool:
        """Whether the topics were found."""
        return self._partitions > 0

    def idle(self) -> bool:
        """Nothing to do until a new request comes, but keeping the ledger and the metadata."""
        return not (
            self._buffer.queued()
            or self._batch
            or self._in_flight
            or self._outgoing
            or self._ledger_in_flight
        ) and (self._packer.empty())

    def settled(self) -> bool:
        """Everything is acknowledged or dropped, and Kafka, if it is there, has the ledger that says so."""
        with self._buffer.lock:
            self._buffer.collect()
            if self._buffer.pending or self._metadata_at == float("-inf"):
                return False
            return self._buffer.ledger.clean() or not self._ledger_partitions

    def step(self, now: float, *, urgent: bool = False) -> int:
        """One round. ``now`` in seconds, monotonic. Urgent: wait for no further requests, send now.

        Returns:
            How many requests were waiting.
        """
        waiting = self._buffer.queued()
        self._look_up_partitions(now)
        if self._partitions:
            self._drain()
            if not self._packer.empty() and (urgent or now - self._packer_since >= LINGER_S):
                self._dispatch_open()
        else:
            self._expire(now)
        self._send()
        self._link.poll(0)
        self._write_ledger(now, urgent)
        return waiting

    def abandon(self, reason: Drop) -> int:
        """Give up on everything that is not settled, as dropped; how many requests that was."""
        self._buffer.collect()
        before = self._buffer.pending
        self._giving_up = reason
        self._buffer.settle(self._batch, Row.DROPPED, reason)
        self._batch.clear()
        while items := self._buffer.take(BATCH):
            self._buffer.settle(items, Row.DROPPED, reason)
        self._dispatch_open()
        waiting, self._outgoing = self._outgoing, deque()
        for message in waiting:
            self._in_flight += 1
            message.delivery.done(reason)
        self._link.close()
        for delivery in list(self._deliveries):  # the client ended before it told
            delivery.give_up()
        return before

    def _look_up_partitions(self, now: float) -> None:
        if now - self._metadata_at < self._metadata_every:
            return
        if self._metadata_at > float("-inf") and not (
            self._partitions or self._buffer.queued() or not self._buffer.ledger.clean()
        ):
            return  # a service at rest does not go on asking
        self._metadata_at = now
        self._metadata_every = METADATA_RETRY_S
        try:
            found = self._link.partitions()
        except BrokerError as exc:
            self._report("unreachable", str(exc))
            return
        requests, served = (found.get(t, 0) for t in (self._topics.requests, self._topics.served))
        self._ledger_partitions = found.get(self._topics.ledger, 0)
        if not requests or not served:
            missing = [t for t in (self._topics.requests, self._topics.served) if t not in found]
            self._report("topics", f"Kafka has no topic {' and no '.join(missing)}: create the topics first")
            requests = 0
        elif requests != served:
            self._report(
                "topics",
                f"{self._topics.requests} has {requests} partitions and {self._topics.served} has {served}: "
                "pairing needs the same number",
            )
            requests = 0
        else:
            self._metadata_every = METADATA_EVERY_S
        if requests != self._partitions:
            self._dispatch_open()
            self._partitions = requests

    def _expire(self, now: float) -> None:
        while (item := self._buffer.head()) is not None and now - item.queued_at > self._hold_s:
            self._buffer.settle(self._buffer.take(), Row.DROPPED, Drop.UNREACHABLE)

    def _drain(self) -> None:
        # No more than was there as the round began, and nothing while Kafka's client has no room.
        left = self._buffer.queued()
        while (self._batch or left > 0) and not self._outgoing:
            self._batch.extend(self._buffer.take(max(0, min(left, BATCH))))
            left -= BATCH
            freed = 0  # encoded, a stream is a fraction of what came
            try:
                while self._batch:
                    freed += self._pack(*self._batch[0])
                    self._batch.popleft()
                    self._pause()
            finally:
                self._buffer.release(freed)
            self._send()

    def _pack(self, item: T, book: Book) -> int:
        """Encode an item, and put it into its envelope; how many of its reserved bytes it needs no more."""
        try:
            request_line, response_line = self._encode(item, book[2])
        except Exception as exc:
            why = str(exc) if isinstance(exc, CodecError) else f"{type(exc).__name__}: {exc}"
            self._report("encode", f"a request could not be encoded: {why}")
            self._buffer.settle([(item, book)], Row.DROPPED, Drop.ENCODE_FAILED)
            return 0
        if len(request_line) > RECORD_MAX_BYTES or len(response_line) > RECORD_MAX_BYTES:
            self._buffer.settle([(item, book)], Row.DROPPED, Drop.TOO_LARGE)
            return 0
        if self._packer.empty():
            self._packer_since = item.queued_at
        cost = OVERHEAD_BYTES + len(request_line) + len(response_line)
        partition = partition_of(item.request_id, self._partitions)
        closed = self._packer.add(partition, book, cost, request_line, response_line)
        if closed is not None:
            self._dispatch(closed)
        return item.cost - cost

    def _dispatch_open(self) -> None:
        for batch in self._packer.take():
            self._dispatch(batch)

    def _dispatch(self, batch: Batch) -> None:
        requests, served = batch.envelopes()
        delivery = _Delivery(batch, self._delivered)
        self._deliveries.add(delivery)
        self._outgoing.append(_Message(self._topics.requests, batch.partition, requests, delivery))
        self._outgoing.append(_Message(self._topics.served, batch.partition, served, delivery))

    def _send(self) -> None:
        while self._outgoing:
            message = self._outgoing[0]
            if not self._link.send(message.topic, message.partition, message.value, message.delivery.done):
                return
            self._outgoing.popleft()
            self._in_flight += 1

    def _delivered(self, delivery: "_Delivery", last: bool) -> None:
        self._in_flight -= 1
        if not last:
            return
        self._deliveries.discard(delivery)
        batch = delivery.batch
        if delivery.acknowledged:
            self._buffer.settle_all(batch.books, batch.cost, Row.MIRRORED)
        else:
            if not self._giving_up:
                lost = batch.books.total()
                self._report("delivery", f"Kafka did not take {lost} requests: {delivery.error}")
            reason = self._giving_up or Drop.DELIVERY_FAILED
            self._buffer.settle_all(batch.books, batch.cost, Row.DROPPED, reason)

    def _write_ledger(self, now: float, urgent: bool) -> None:
        ledger = self._buffer.ledger
        if now - self._forget_at >= FORGET_EVERY_S:
            self._forget_at = now
            with self._buffer.lock:
                ledger.forget()
        if self._ledger_in_flight or not self._ledger_partitions:
            return
        if not urgent and now - self._ledger_at < LEDGER_EVERY_S:
            return
        self._ledger_at = now
        with self._buffer.lock:
            cells = ledger.unacknowledged()
        partition = partition_of(ledger.instance, self._ledger_partitions)
        while cells:
            lines: list[bytes] = []
            size = 0
            sent: list[tuple[Key, LedgerCell]] = []
            while cells and size < ENVELOPE_MAX_BYTES // 2:
                sent.append(cells.pop())
                lines.append(encode(sent[-1][1]))
                size += len(lines[-1]) + 1

            def done(error: str, sent: list[tuple[Key, LedgerCell]] = sent) -> None:
                self._ledger_in_flight -= 1
                if not error:
                    with self._buffer.changed:
                        ledger.acknowledge(sent)
                        self._buffer.changed.notify_all()

            self._ledger_in_flight += 1
            if not self._link.send(self._topics.ledger, partition, pack(lines), done):
                self._ledger_in_flight -= 1
                return


class _Delivery:
    """The twin envelopes of one batch. Its requests are mirrored if Kafka has one of the two.

    A request whose other half is missing is in the pipeline: it ends there as unpaired, and in its ledger.
    """

    __slots__ = ("_settled", "_told", "acknowledged", "batch", "error")

    def __init__(self, batch: Batch, told: "Callable[[_Delivery, bool], None]") -> None:
        self.batch = batch
        self.acknowledged = False
        self.error = ""
        self._told = told
        self._settled = 0

    def done(self, error: str) -> None:
        self._settled += 1
        if error:
            self.error = error
        else:
            self.acknowledged = True
        self._told(self, self._settled == 2)

    def give_up(self) -> None:
        while self._settled < 2:
            self.done("the process ended first")


class _Message:
    __slots__ = ("delivery", "partition", "topic", "value")

    def __init__(self, topic: str, partition: int, value: bytes, delivery: _Delivery) -> None:
        self.topic = topic
        self.partition = partition
        self.value = value
        self.delivery = delivery
