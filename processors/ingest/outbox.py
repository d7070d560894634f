"""The way to Kafka: both records of each request, what became of it in the ledger, and whoever waits told.

Runs in one event loop; the producer's thread hands what Kafka said over to it. A request is mirrored where Kafka has
one of its two records: the other half is then in the pipeline's own ledger, as unpaired.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from shadowlane import metrics
from shadowlane.processors.ingest.books import Book, Books
from shadowlane.processors.ingest.ready import Ready
from shadowlane.processors.produce import Done, EnvelopeProducer, tell_each
from shadowlane.processors.watch import Family, Waiting, figure, figures
from shadowlane.processors.watch.writing import producer_figures, producer_waiting
from shadowlane.producers.ledger import FORGET_EVERY_S, Drop, Key, Row
from shadowlane.producers.outflow import Outflow, Samples
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import LedgerCell
from shadowlane.schemas.topics import partition_of

log = logging.getLogger("shadowlane.ingest")

LEDGER_EVERY_S = 1.0
MIRRORED, REPEATED, SAMPLED_OUT, FAILED = "mirrored", "repeated", "sampled_out", "failed"
"""What became of a request, to whoever sent it. Failed: Kafka does not have it, or not all; send it again."""


@dataclass(slots=True, eq=False)
class _UnderWay:
    """A request of which Kafka has not said all yet."""

    ready: Ready
    book: Book
    told: "asyncio.Future[str]"
    errors: list[Exception | None] = field(default_factory=list)


class Outbox:
    """Use in one event loop. ``partitions``: of each topic."""

    def __init__(self, settings: Settings, outflow: Outflow, partitions: dict[str, int]) -> None:
        kafka, ingest = settings.kafka, settings.ingest
        # Whoever sends waits for the answer, so Kafka's has its time. No numbered sequence: a message that comes twice
        # is the same request, by its id, while one that ran out of time would end the sequence, and the producer.
        limits = {"message.timeout.ms": int(ingest.delivery_timeout_s * 1000), "enable.idempotence": False}
        self._loop = asyncio.get_running_loop()
        self._producer = EnvelopeProducer(
            kafka.model_copy(update={"client": kafka.client | limits}),
            settings.envelope,
            "shadowlane-ingest",
            self._tell,
        )
        self._topics = kafka.topics
        self._partitions = partitions
        self._samples = Samples(outflow.capture)
        self._books = Books(uuid.uuid4().hex, ingest.remembered)
        self._under_way: dict[str, _UnderWay] = {}
        self._ledger_in_flight = 0
        self._ledger_failed = False
        self._forget_at = time.monotonic() + FORGET_EVERY_S

    def put(self, ready: Ready) -> "asyncio.Future[str]":
        """Send a request; the future is one of the words above.

        Raises:
            BrokerError: the producer has died.
        """
        books, request_id = self._books, ready.request_id
        if (before := self._under_way.get(request_id)) is not None:
            books.repeated += 1
            return self._repeated(before.told)
        told: asyncio.Future[str] = self._loop.create_future()
        if books.knows(request_id):
            books.repeated += 1
            told.set_result(REPEATED)
            return told
        book = (ready.ts, ready.service, ready.route)
        left_out = self._samples.left_out(ready.own_route, ready.own_key or request_id, time.monotonic())
        if left_out is not None:
            books.comes(book, request_id)
            books.ends(book, request_id, Row.SAMPLED_OUT, left_out)
            told.set_result(SAMPLED_OUT)
            return told
        item = _UnderWay(ready, book, told)
        partition = partition_of(request_id, self._partitions[self._topics.requests])
        for topic, line in zip((self._topics.requests, self._topics.served), ready.lines, strict=True):
            self._producer.send(topic, partition, line, partial(self._said, item))
        books.comes(book, request_id)
        self._under_way[request_id] = item
        return told

    def drop(self, book: Book, request_id: str, reason: str) -> None:
        """Book a request that is not sent."""
        self._books.comes(book, request_id)
        self._books.drops(book, request_id, reason)

    @property
    def queued_bytes(self) -> int:
        """Of what Kafka has not acknowledged."""
        return self._producer.queued_bytes

    def keep_books(self) -> None:
        """Write what the ledger has that Kafka does not. To be called each second."""
        ledger = self._books.ledger
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + FORGET_EVERY_S
            ledger.forget()
        if self._ledger_in_flight:
            return
        topic = self._topics.ledger
        partition = partition_of(ledger.instance, self._partitions[topic])
        for key, cell in ledger.unacknowledged():
            self._ledger_in_flight += 1
            self._producer.send(topic, partition, encode(cell), partial(self._booked, key, cell))

    async def close(self, within_s: float) -> None:
        """Send what is left within ``within_s`` seconds; the rest is dropped, booked, and told as failed."""
        await asyncio.to_thread(self._producer.flush, within_s)
        left = list(self._under_way.values())
        if left:
            log.warning("the process ends before Kafka has acknowledged %d requests", len(left))
        for item in left:
            self._settle(item, Drop.SHUTDOWN)
        self._ledger_in_flight = 0  # sent again: the largest count holds
        self.keep_books()
        await asyncio.to_thread(self._producer.close, within_s)

    def figures(self) -> Iterator[Family]:
        """From any thread."""
        totals = self._books.ledger.totals.copy()
        dropped = {str(reason): count for (row, reason), count in totals.items() if row == Row.DROPPED}
        yield figure(metrics.INGEST_ELIGIBLE, totals[Row.ELIGIBLE, ""])
        yield figure(metrics.INGEST_SAMPLED_OUT, totals[Row.SAMPLED_OUT, ""])
        yield figure(metrics.INGEST_MIRRORED, totals[Row.MIRRORED, ""])
        yield figures(metrics.INGEST_DROPPED, dropped)
        yield figure(metrics.INGEST_REPEATED, self._books.repeated)
        yield figures(metrics.INGEST_WITHOUT_CONTENT, self._books.without_content.copy())
        yield from producer_figures(self._producer)

    def waiting(self) -> Waiting:
        """From any thread."""
        return producer_waiting(self._producer)

    @property
    def failing(self) -> bool:
        """Whether Kafka did not take the ledger, when it was last sent."""
        return self._ledger_failed

    def _repeated(self, first: "asyncio.Future[str]") -> "asyncio.Future[str]":
        """What becomes of a request whose first sending is under way: REPEATED once that is mirrored."""
        told: asyncio.Future[str] = self._loop.create_future()

        def also(done: "asyncio.Future[str]") -> None:
            if not told.done():
                told.set_result(REPEATED if done.result() == MIRRORED else done.result())

        first.add_done_callback(also)
        return told

    def _tell(self, waiting: list[Done], error: Exception | None) -> None:
        """In the producer's thread: one hand-over for an envelope."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to hear it
            self._loop.call_soon_threadsafe(tell_each, waiting, error)

    def _said(self, item: _UnderWay, error: Exception | None) -> None:
        item.errors.append(error)
        if len(item.errors) == 2 and not item.told.done():
            self._settle(item, Drop.DELIVERY_FAILED)

    def _settle(self, item: _UnderWay, reason: Drop) -> None:
        """All that there is to know is known; ``reason`` where Kafka has neither record."""
        ready, books = item.ready, self._books
        del self._under_way[ready.request_id]
        if item.errors == [None, None]:
            books.ends(item.book, ready.request_id, Row.MIRRORED)
            if ready.without_content:
                books.without_content[ready.without_content] += 1
            item.told.set_result(MIRRORED)
            return
        if None in item.errors:
            books.half(item.book, ready.request_id)
        else:
            books.drops(item.book, ready.request_id, reason)
        if error := next(filter(None, item.errors), None):
            log.warning("Kafka did not take all of a request: %s", error)
        item.told.set_result(FAILED)

    def _booked(self, key: Key, cell: LedgerCell, error: Exception | None) -> None:
        self._ledger_in_flight = max(0, self._ledger_in_flight - 1)
        self._ledger_failed = error is not None
        if error is None:
            self._books.ledger.acknowledge([(key, cell)])
