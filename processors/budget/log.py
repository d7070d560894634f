"""The budgets' log on Kafka, and the stops': read whole by each worker, written a line at a time."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from confluent_kafka import KafkaException
from confluent_kafka.cimpl import KafkaError, Producer

from shadowlane.errors import BrokerError, CodecError
from shadowlane.processors.budget.amounts import Amount, Limits
from shadowlane.processors.budget.book import SECONDS, Book, Entry, Span, Window
from shadowlane.processors.kafka import producer_options
from shadowlane.producers.following import Follower
from shadowlane.producers.link import FENCED
from shadowlane.producers.log import Log
from shadowlane.schemas.codec import decode, encode, unpack
from shadowlane.schemas.config import Kafka
from shadowlane.schemas.events import BudgetEntry, Stop

log = logging.getLogger("shadowlane.budget")

SPANS: Mapping[str, Span] = {span: span for span in (*SECONDS, "rollout")}
WHOLE_S = 30.0
"""A line younger than that is of use only to who has read all before it. The embedded broker shows a line whose
predecessor is not there yet, if it ever does, after 10 s."""
CLOSE_S = 1.0  # how long a producer may take to tell what it had not written
READ_S = 0.05  # how long Kafka waits for more before it answers: calls wait for these lines
STOPS_READ_S = 0.25
"""The same where nobody waits for each line: every fetch costs CPU, also of workers that have no budget."""


class Lines:
    """Takes what is read of the budgets' topic into a :class:`Book`. Any thread may read it, with ``lock`` held."""

    def __init__(self, heard: Callable[[], None] = lambda: None) -> None:
        """``heard``: told after each message that had lines, in the reading thread."""
        self.book = Book()
        self.lock = threading.Lock()
        self.whole = False
        """Whether the topic was read to its end since it was begun: of less than all nobody can say what is taken, and
        whoever asked then would ask for all that it has once more. With ``lock``."""
        self._keys: dict[bytes, Window] = {}
        self._heard = heard

    def begin(self) -> None:
        """All is read again."""
        with self.lock:
            self.whole = False
            self.book.begin()
            self._keys.clear()

    def end(self) -> None:
        """All is read that is there now."""
        with self.lock:
            if self.whole:
                return
            self.whole = True
        self._heard()

    def forget(self, now: float) -> list[bytes]:
        """The windows that are over; gives the keys of their lines, for the topic to forget. ``lock`` held."""
        self.book.forget(now)
        over = [key for key, window in self._keys.items() if window.over(now)]
        for key in over:
            del self._keys[key]
        return over

    def take(self, envelope: bytes | None, key: bytes | None = None) -> list[str]:
        """As :class:`~shadowlane.producers.following.Takes`."""
        entries, wrong = [], []
        for _, line in unpack(envelope):
            try:
                entries.append(entry_of(decode(BudgetEntry, line)))
            except CodecError as exc:
                wrong.append(str(exc))
        with self.lock:
            if key is not None:
                self._keys.pop(key, None)
                for entry in entries:
                    self._keys[key] = entry.window
            self.book.apply(entries)
        if entries:
            self._heard()
        return wrong


class Stops:
    """Which rollouts' calls are stopped, as the topic says. Written by the reading thread, read by any.

    The last line holds, whatever the clocks of those who wrote them say. One that was read before and comes again,
    since all is read again, says nothing new.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        """``changed``: told after each message, in the reading thread."""
        self._known: dict[str, Stop] = {}
        self._seen: set[bytes] = set()
        self._changed = changed

    def take(self, envelope: bytes | None, key: bytes | None = None) -> list[str]:
        """As :class:`~shadowlane.producers.following.Takes`."""
        wrong = []
        for _, line in unpack(envelope):
            try:
                stop = decode(Stop, line)
            except CodecError as exc:
                wrong.append(str(exc))
                continue
            if line not in self._seen:
                self._seen.add(line)
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


def follow_budgets(kafka: Kafka, lines: Lines) -> Follower:
    """Reads the budgets' topic for as long as it runs; ``ready`` is set once it was read to its end."""
    return _follower(kafka, kafka.topics.budgets, lines, "line of the budgets", READ_S, lines, WHOLE_S)


def follow_stops(kafka: Kafka, stops: Stops) -> Follower:
    """The same of the stops' topic."""
    return _follower(kafka, kafka.topics.stops, stops, "stop", STOPS_READ_S)


def _follower(
    kafka: Kafka,
    topic: str,
    takes: Lines | Stops,
    what: str,
    read_s: float,
    again: Lines | None = None,
    whole_s: float | None = None,
) -> Follower:
    """``again``: told when all is read again, and when it was."""
    told = {} if again is None else {"begun": again.begin, "ended": again.end}
    return Follower(
        kafka.bootstrap_servers,
        topic,
        {**kafka.client, "fetch.wait.max.ms": int(read_s * 1000)},
        takes,
        Log(name=log.name),
        name="shadowlane-budget",
        what=what,
        whole_s=whole_s,
        **told,
    )


class Writer:
    """Writes lines, each in its turn.

    Args:
        lost: told of an entry that Kafka did not take, in whatever thread calls this writer.
    """

    def __init__(self, kafka: Kafka, lost: Callable[[Entry], None] = lambda entry: None) -> None:
        self._topics = kafka.topics
        self._lost = lost
        self._options = {**producer_options(kafka, "shadowlane-budget"), "linger.ms": 0}
        self._producer = Producer(self._options)
        self._fenced = False

    def budgets(self, entries: Iterable[Entry], now: float) -> None:
        """Waits for nothing but the end of a producer of which Kafka takes nothing any more, and that ends at once.
        ``now``: Unix seconds."""
        if self._fenced:
            self._producer.purge()
            self._producer.flush(CLOSE_S)
            self._producer, self._fenced = Producer(self._options), False
        for entry in entries:
            try:
                self._producer.produce(
                    self._topics.budgets,
                    encode(record_of(entry, int(now * 1000))),
                    key=_key(entry),
                    partition=0,
                    on_delivery=partial(self._told, entry),
                )
            except BufferError as exc:
                self._not_taken(entry, str(exc))
            except KafkaException as exc:
                self._told(entry, exc.args[0], None)
        self._producer.poll(0)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Lines of windows that are over. Never waits; what is not taken is tried again by who starts next."""
        with contextlib.suppress(BufferError, KafkaException):
            for key in keys:
                self._producer.produce(self._topics.budgets, None, key=key, partition=0)

    def close(self, timeout: float) -> None:
        """Waits for what is not acknowledged. Nothing may be written after it."""
        self._producer.flush(timeout)
        del self._producer  # its connections end now, and not when this object is collected

    def poll(self) -> None:
        """Hears what became of what was written. Never waits."""
        self._producer.poll(0)

    def _told(self, entry: Entry, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._fenced |= error.fatal() or error.code() in (KafkaError._FATAL, *FENCED)
            self._not_taken(entry, error.str())

    def _not_taken(self, entry: Entry, why: str) -> None:
        log.warning("a line could not be written to %s: %s", self._topics.budgets, why)
        self._lost(entry)


def write_stop(kafka: Kafka, stop: Stop, timeout: float) -> None:
    """Waits until Kafka has it.

    Raises:
        BrokerError: it has not, in ``timeout`` seconds.
    """
    # An idempotent producer takes half a second to begin, and the embedded broker refuses it when it is full.
    producer = Producer(
        {**producer_options(kafka, "shadowlane-stop"), "enable.idempotence": False, "linger.ms": 0}
    )
    failed: list[str] = ["no answer"]

    def told(error: KafkaError | None, _: object) -> None:
        failed[:] = [] if error is None else [error.str()]

    topic = kafka.topics.stops
    producer.produce(topic, encode(stop), key=stop.rollout or "*", partition=0, on_delivery=told)
    producer.flush(timeout)
    if failed:
        raise BrokerError(f"the stop could not be written to {topic}: {failed[0]}")


def entry_of(record: BudgetEntry) -> Entry:
    """
    Raises:
        CodecError: it names no window, or an amount is none.
    """
    span = SPANS.get(record.span)
    if span is None:
        raise CodecError(f"BudgetEntry.span {record.span[:50]!r} is none of {', '.join(SPANS)}")
    window = Window(record.rollout, record.epoch, span, record.start)
    take, limits = Amount(**_known(record.take)), Limits(**_known(record.limits))
    spent = None if record.spent is None else Amount(**_known(record.spent))
    return Entry(window, record.worker, record.number, take, limits, spent)


def record_of(entry: Entry, ts: int) -> BudgetEntry:
    """``ts``: Unix milliseconds."""
    window, spent = entry.window, entry.spent
    return BudgetEntry(
        ts=ts,
        worker=entry.worker,
        number=entry.number,
        rollout=window.rollout,
        epoch=window.epoch,
        span=window.span,
        start=window.start,
        take={name: of for name, of in entry.take._asdict().items() if of},
        limits={name: most for name, most in entry.limits._asdict().items() if most is not None},
        spent=None if spent is None else {name: of for name, of in spent._asdict().items() if of},
    )


def _known(measures: dict[str, int]) -> dict[str, int]:
    for name, of in measures.items():
        if name not in Amount._fields or type(of) is not int:
            raise CodecError(
                f"BudgetEntry has {name[:50]!r}: {str(of)[:50]}, and takes whole {Amount._fields}"
            )
    return measures


def _key(entry: Entry) -> str:
    """What compaction goes by: a line that takes or gives back has a key of its own, one that says what was spent
    replaces the one before."""
    window = ":".join(map(str, entry.window))
    return f"{window}:{entry.worker}" + (f":{entry.number}" if entry.spent is None else "")
