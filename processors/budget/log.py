"""The budgets' log on Kafka, and the stops': read whole by each worker, written a line at a time."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from confluent_kafka import KafkaException
from confluent_kafka.cimpl import KafkaError, Producer

from shadowlane.errors import BrokerError, CodecError
from shadowlane.processors.budget.amounts import Amount
from shadowlane.processors.budget.book import SECONDS, Book, Entry, Span, Window
from shadowlane.processors.kafka import producer_options
from shadowlane.producers.following import Follower
from shadowlane.producers.log import Log
from shadowlane.schemas.codec import decode, encode, unpack
from shadowlane.schemas.config import Kafka
from shadowlane.schemas.events import BudgetEntry, Stop

log = logging.getLogger("shadowlane.budget")

SPANS: Mapping[str, Span] = {span: span for span in (*SECONDS, "rollout")}
READ_S = 0.05  # how long Kafka waits for more before it answers: calls wait for these lines


class Lines:
    """Takes what is read of the budgets' topic into a :class:`Book`. Any thread may read it, with ``lock`` held."""

    def __init__(self, heard: Callable[[], None] = lambda: None) -> None:
        """``heard``: told after each message that had lines, in the reading thread."""
        self.book = Book()
        self.lock = threading.Lock()
        self._heard = heard

    def take(self, envelope: bytes | None) -> list[str]:
        """As :class:`~shadowlane.producers.following.Takes`."""
        entries, wrong = [], []
        for _, line in unpack(envelope):
            try:
                entries.append(entry_of(decode(BudgetEntry, line)))
            except CodecError as exc:
                wrong.append(str(exc))
        if entries:
            with self.lock:
                self.book.apply(entries)
            self._heard()
        return wrong


class Stops:
    """Which rollouts' calls are stopped, as the topic says. Written by the reading thread, read by any."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        """``changed``: told after each message, in the reading thread."""
        self._known: dict[str, Stop] = {}
        self._changed = changed

    def take(self, envelope: bytes | None) -> list[str]:
        """As :class:`~shadowlane.producers.following.Takes`."""
        wrong = []
        for _, line in unpack(envelope):
            try:
                stop = decode(Stop, line)
            except CodecError as exc:
                wrong.append(str(exc))
                continue
            known = self._known.get(stop.rollout)
            if known is None or stop.ts >= known.ts:
                self._known[stop.rollout] = stop
        self._changed()
        return wrong

    def of(self, rollout: str) -> Stop | None:
        """What stops this rollout's calls: a stop of its own, or one of all; None where nothing does."""
        for name in ("", rollout):
            stop = self._known.get(name)
            if stop is not None and stop.stopped:
                return stop
        return None

    def all(self) -> list[Stop]:
        """Those that hold."""
        return [stop for stop in list(self._known.values()) if stop.stopped]


def follower(kafka: Kafka, topic: str, takes: Lines | Stops, what: str) -> Follower:
    """Reads one of the two topics for as long as it runs; ``ready`` is set once it was read to its end."""
    options = {**kafka.client, "fetch.wait.max.ms": int(READ_S * 1000)}
    return Follower(
        kafka.bootstrap_servers,
        topic,
        options,
        takes,
        Log(name=log.name),
        name="shadowlane-budget",
        what=what,
    )


class Writer:
    """Writes lines, each in its turn.

    Args:
        lost: told of an entry that Kafka did not take, in whatever thread calls this writer.
    """

    def __init__(self, kafka: Kafka, lost: Callable[[Entry], None] = lambda entry: None) -> None:
        self._topics = kafka.topics
        self._lost = lost
        self._producer = Producer({**producer_options(kafka, "shadowlane-budget"), "linger.ms": 0})

    def budgets(self, entries: Iterable[Entry], now: float) -> None:
        """Never waits. ``now``: Unix seconds."""
        for entry in entries:
            try:
                self._producer.produce(
                    self._topics.budgets,
                    encode(record_of(entry, int(now * 1000))),
                    key=_key(entry),
                    partition=0,
                    on_delivery=partial(self._told, entry),
                )
            except (BufferError, KafkaException) as exc:
                self._not_taken(entry, str(exc))
        self._producer.poll(0)

    def stop(self, stop: Stop, timeout: float) -> None:
        """Waits until Kafka has it.

        Raises:
            BrokerError: it has not, in ``timeout`` seconds.
        """
        failed: list[str] = ["no answer"]

        def told(error: KafkaError | None, _: object) -> None:
            failed[:] = [] if error is None else [error.str()]

        self._producer.produce(
            self._topics.stops, encode(stop), key=stop.rollout or "*", partition=0, on_delivery=told
        )
        deadline = time.monotonic() + timeout
        while failed and self._producer.flush(0.1) and time.monotonic() < deadline:
            pass
        if failed:
            raise BrokerError(f"the stop could not be written to {self._topics.stops}: {failed[0]}")

    def close(self, timeout: float) -> None:
        """Waits for what is not acknowledged."""
        self._producer.flush(timeout)

    def poll(self) -> None:
        """Hears what became of what was written. Never waits."""
        self._producer.poll(0)

    def _told(self, entry: Entry, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._not_taken(entry, error.str())

    def _not_taken(self, entry: Entry, why: str) -> None:
        log.warning("a line could not be written to %s: %s", self._topics.budgets, why)
        self._lost(entry)


def entry_of(record: BudgetEntry) -> Entry:
    """
    Raises:
        CodecError: it names no window.
    """
    span = SPANS.get(record.span)
    if span is None:
        raise CodecError(f"BudgetEntry.span {record.span[:50]!r} is none of {', '.join(SPANS)}")
    spent = None
    if record.spent_nanodollars is not None:
        spent = Amount(record.spent_nanodollars, record.spent_tokens, record.spent_calls, record.spent_bytes)
    window = Window(record.rollout, record.epoch, span, record.start)
    return Entry(window, record.worker, record.number, record.blocks, spent)


def record_of(entry: Entry, ts: int) -> BudgetEntry:
    """``ts``: Unix milliseconds."""
    window, spent = entry.window, entry.spent
    record = BudgetEntry(
        ts=ts,
        worker=entry.worker,
        number=entry.number,
        rollout=window.rollout,
        epoch=window.epoch,
        span=window.span,
        start=window.start,
        blocks=entry.blocks,
    )
    if spent is not None:
        record.spent_nanodollars = spent.nanodollars
        record.spent_tokens, record.spent_calls, record.spent_bytes = spent.tokens, spent.calls, spent.bytes
    return record


def _key(entry: Entry) -> str:
    """Of what compaction may forget: a line that takes or gives back has a key of its own, one that says what was
    spent replaces the one before."""
    window = ":".join(map(str, entry.window))
    return f"{window}:{entry.worker}" + (f":{entry.number}" if entry.spent is None else "")
