"""The budgets' log and the stops on a real broker: what one worker writes, all read, in one order."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from confluent_kafka.cimpl import KafkaError

from shadowlane.errors import CodecError
from shadowlane.processors.budget import log
from shadowlane.processors.budget.amounts import Amount, Limits
from shadowlane.processors.budget.book import KEPT_S, Entry, Span, Window
from shadowlane.processors.budget.log import (
    Lines,
    Stops,
    Writer,
    entry_of,
    follow_budgets,
    follow_stops,
    record_of,
    write_stop,
)
from shadowlane.processors.budget.purse import Exhausted, Later, Purse, Reservation
from shadowlane.processors.kafka import ensure_topics
from shadowlane.schemas.codec import decode, encode
from shadowlane.schemas.config import Kafka
from shadowlane.schemas.events import BudgetEntry, Stop
from tests.services import KafkaAddress

NOW = 1_795_456_000.0
LIMITS: dict[Span, Limits] = {"hour": Limits(nanodollars=1_000_000, calls=500)}


@pytest.fixture
def config(kafka: KafkaAddress) -> Kafka:
    made = Kafka(
        bootstrap_servers=kafka.bootstrap_servers, topic_prefix=f"t{uuid.uuid4().hex[:8]}", partitions=1
    )
    ensure_topics(made)
    return made


@contextmanager
def reading(config: Kafka, takes: Lines | Stops) -> Iterator[None]:
    follows = follow_budgets(config, takes) if isinstance(takes, Lines) else follow_stops(config, takes)
    follows.start()
    try:
        assert follows.ready.wait(30)
        yield
    finally:
        follows.stop(10)


class Worker(threading.Thread):
    """Makes calls of 300 nanodollars until there is no more; remembers what it spent."""

    def __init__(self, config: Kafka, name: str, stack: ExitStack) -> None:
        super().__init__(daemon=True)
        self.heard = threading.Event()
        self.lines = Lines(self.heard.set)
        self.purse = Purse(name, self.lines.book)
        self.writer = Writer(config)
        self.spent = 0
        stack.enter_context(reading(config, self.lines))

    def run(self) -> None:
        while True:
            self.heard.clear()
            with self.lines.lock:
                answer = self.purse.reserve("r", "e", LIMITS, Amount(nanodollars=300, calls=1), NOW)
                if isinstance(answer, Reservation):
                    self.purse.settle(answer, Amount(nanodollars=200, calls=1))
                    self.spent += 200
            if isinstance(answer, Exhausted):
                return
            if isinstance(answer, Later):
                self.writer.budgets(answer.entries, NOW)
                assert self.heard.wait(30)


def test_four_workers_at_once_spend_no_more_than_there_is(config: Kafka) -> None:
    with ExitStack() as stack:
        workers = [Worker(config, f"w{number}", stack) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
            assert not worker.is_alive()
        total = sum(worker.spent for worker in workers)
        assert (
            0.9 * 500 * 200 <= total <= 500 * 200
        )  # 500 calls are less than what the dollars are enough for
        with workers[0].lines.lock:
            reports = [entry for worker in workers for entry in worker.purse.report(NOW)]
        workers[0].writer.budgets(reports, NOW)
        for worker in workers:
            worker.writer.close(30)
    late = Lines()
    with reading(config, late):  # who comes later reads the same
        window = Window.at("r", "e", "hour", NOW)
        assert late.book.spent(window).nanodollars == total
        assert late.book.taken(window).nanodollars <= 1_000_000
        assert late.book.taken(window).calls <= 500


def test_a_stop_is_heard_within_a_second_and_by_who_starts_later(config: Kafka) -> None:
    changed = threading.Event()
    stops = Stops(changed.set)
    with reading(config, stops):
        assert stops.of("r") is None
        began = time.monotonic()
        write_stop(config, Stop(ts=1, rollout="r", stopped=True, by="me", why="bills"), 30)
        while stops.of("r") is None:
            changed.wait(0.05)
        took = time.monotonic() - began
        assert stops.of("other") is None
        write_stop(config, Stop(ts=2, rollout="", stopped=True), 30)
        while stops.of("other") is None:
            changed.wait(0.05)
        write_stop(config, Stop(ts=3, rollout="", stopped=False), 30)
        while stops.of("other") is not None:
            changed.wait(0.05)
    print(f"heard after {took * 1000:.0f} ms")
    later = Stops()
    with reading(config, later):
        stop = later.of("r")
        assert stop is not None
        assert (stop.by, stop.why, [each.rollout for each in later.all()]) == ("me", "bills", ["r"])


def test_the_last_line_holds_and_one_that_is_read_again_changes_nothing() -> None:
    stops = Stops()
    lines = [
        encode(Stop(ts=ts, rollout="r", stopped=stopped))
        for ts, stopped in ((5, True), (9, False), (7, True))
    ]
    for line in lines:
        stops.take(line)
    assert stops.of("r") is not None  # though the clock of who stopped it last is behind
    stops.take(encode(Stop(ts=8, rollout="r", stopped=False)))
    for line in lines:
        stops.take(line)
        assert stops.of("r") is None
    assert len(stops.take(b'{"ts": 1}')) == 1


@pytest.mark.parametrize("spent", [None, Amount(1, 2, 3, 4), Amount()])
def test_an_entry_travels_as_it_is(spent: Amount | None) -> None:
    take = Amount(nanodollars=-3, calls=2)
    entry = Entry(Window("r", "e", "day", 86_400), "w", 7, take, Limits(0, bytes=2**50), spent)
    assert entry_of(decode(BudgetEntry, encode(record_of(entry, 1)))) == entry


def test_a_line_of_no_window_is_refused() -> None:
    record = record_of(Entry(Window("r", "e", "day", 0), "w", 1), 1)
    record.span = "week"
    with pytest.raises(CodecError, match="'week' is none of hour, day, rollout"):
        entry_of(record)
    assert len(Lines().take(encode(record))) == 1


@pytest.mark.parametrize("take", [{"cents": 1}, {"calls": 0.5}, {"calls": True}, {"calls": None}])
def test_an_amount_that_is_none_is_refused(take: dict[str, int]) -> None:
    record = record_of(Entry(Window("r", "e", "day", 0), "w", 1), 1)
    record.take = take
    with pytest.raises(CodecError, match="BudgetEntry has"):
        entry_of(record)


def test_the_lines_of_windows_long_over_are_forgotten_once() -> None:
    lines, hour, rollout = Lines(), Window.at("r", "e", "hour", NOW), Window.at("r", "e", "rollout", NOW)
    for number, (window, key) in enumerate([(hour, b"1"), (hour, b"2"), (rollout, b"3")]):
        lines.take(encode(record_of(Entry(window, "w", number, Amount(calls=1)), 1)), key)
    assert lines.forget(NOW + 3600) == []
    lines.take(None, b"1")  # another worker was faster
    assert lines.forget(NOW + 3600 + KEPT_S) == [b"2"]
    assert lines.forget(NOW + 3600 + KEPT_S) == []
    assert lines.book.windows() == [rollout]


def test_a_writer_goes_on_after_kafka_has_fenced_its_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the embedded broker does once a line was not written in its time."""
    made: list[object] = []

    class FencedClient:
        def __init__(self, _options: object) -> None:
            self.waiting: list[Callable[[KafkaError | None, object], None]] = []
            self.fenced = not made
            made.append(self)

        def produce(self, *_: object, on_delivery: Callable[..., None], **__: object) -> None:
            self.waiting.append(on_delivery)

        def poll(self, _timeout: float) -> None:
            waiting, self.waiting = self.waiting, []
            for told in waiting:
                told(KafkaError(KafkaError.PRODUCER_FENCED) if self.fenced else None, None)

        def purge(self) -> None:
            """Nothing waits after a poll."""

        def flush(self, _timeout: float) -> None:
            """Nothing waits after a poll."""

    monkeypatch.setattr(log, "Producer", FencedClient)
    lost: list[int] = []
    writer = Writer(Kafka(), lambda entry: lost.append(entry.number))
    for number in range(3):
        writer.budgets([Entry(Window("r", "e", "hour", 0), "w", number, Amount(calls=1))], 0.0)
    assert (lost, len(made)) == ([0], 2)
