"""The sink's loop: Kafka's messages into blocks, blocks into ClickHouse, offsets after them.

Delivery is at least once, and a row counts once. A block is inserted under a token made of its topic,
partition, offsets and content, and the offsets that it is made of are committed first, as metadata of the
old offset: after a crash the next owner makes the same block again, and ClickHouse knows its token. Where the
broker keeps no metadata (the embedded one), or the token is forgotten, a row may be stored twice, and the
tables' keys and the views still show it once.
"""

import logging
import signal
import threading
import time
from collections.abc import Iterator

from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaException
from confluent_kafka.cimpl import Consumer, Message, TopicPartition

from shadowlane.errors import BrokerError, StoreError
from shadowlane.processors.dead_letters.limit import PoisonLimit
from shadowlane.processors.kafka import consumer_options, ensure_topics
from shadowlane.processors.lag import reads
from shadowlane.processors.produce import EnvelopeProducer
from shadowlane.processors.reading import check_passes, stamp_of
from shadowlane.processors.sink.blocks import Block, Blocks, Partition, promised_last
from shadowlane.processors.sink.progress import Progress
from shadowlane.processors.sink.writer import Writer
from shadowlane.processors.store import connect, insert_lines, migrate, refusal
from shadowlane.processors.watch import Board, Family, Seen, Waiting, watching
from shadowlane.processors.watch.writing import producer_figures, producer_waiting
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import ClickHouse, Settings
from shadowlane.schemas.events import DeadLetter
from shadowlane.schemas.topics import partition_of

log = logging.getLogger("shadowlane.sink")

START_S = 30.0  # how long a start waits for ClickHouse
INSERT_S = 60  # how long one insert may take; then it is sent again under the same token
READ_S = 0.1  # the longest wait for messages
READ_MIN_S = 0.005  # the shortest, while a block that is old enough waits for more of its partition
MORE = 5  # messages: of these alone, a block does not wait
READ_MESSAGES = 100  # at once; each may be an envelope of 256 KB, or more
RETRY_MIN_S, RETRY_MAX_S = 0.5, 5.0  # at the most so much later does it go on
BURY_S = 30.0
TURN_S = 2 * INSERT_S + BURY_S  # how long one turn may take


def run(settings: Settings) -> None:
    """Runs a sink until SIGTERM or SIGINT. Blocks.

    It brings the store's schema up to date first. While ClickHouse is away it tries again, reads no more,
    and keeps its place in the consumer group. A stop inserts what was read. Any number may run: they share
    the partitions.

    Raises:
        BrokerError: Kafka can't be reached at the start, or lets nothing be read.
        StoreError: ClickHouse can't be reached at the start (within 30 s), or its schema is not this
            version's.
        PoisonError: too many records can't be read. Their blocks are not committed.
    """
    partitions = ensure_topics(settings.kafka)  # until Kafka answers, a signal ends the wait
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    client = _connected(settings.clickhouse, stop)
    if client is None:
        return
    for name in migrate(client, settings.clickhouse.database):
        log.info("migrated the store: %s", name)
    sink = Sink(settings, client, partitions, stop)
    with watching(settings, sink.board, sink.seen):
        sink.run()


class Sink:
    """One sink. ``partitions`` is each topic's number of them; setting ``stop`` ends it."""

    def __init__(
        self, settings: Settings, client: Client, partitions: dict[str, int], stop: threading.Event
    ) -> None:
        self.progress = Progress()
        self._settings = settings
        self._client = client
        self._partitions = partitions
        self._stop = stop
        self._topics = settings.kafka.topics
        self._blocks = Blocks(settings.sink)
        self._due: list[Block] = []
        self._writing: Partition | None = None  # None too where it was taken away meanwhile
        self._gave_up = False
        self._writer = Writer(
            self._topics, self._insert, self._bury, PoisonLimit(settings.dead_letters, "sink")
        )
        self._joined = False
        self._reads = 0  # partitions
        self._producer: EnvelopeProducer | None = None
        self.board = Board(
            "sink",
            unready=self._unready,
            figures=self._figures,
            doing=self.progress.doing,
            waiting=self._waits_for,
        )
        self._turning = self.board.loop("loop", TURN_S)

    def run(self) -> None:
        """Until it is stopped."""
        kafka = self._settings.kafka
        group = f"{kafka.topic_prefix}-sink"
        self._producer = self._new_producer()
        self._consumer = Consumer(consumer_options(kafka, "shadowlane-sink", group))
        self._consumer.subscribe(
            list(reads("sink", kafka)),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        log.info("sink started: group %s, database %s", group, self._settings.clickhouse.database)
        try:
            while not self._stop.is_set():
                self._read()
                self._write_due()
            self._write_due(everything=True)
        finally:
            self._consumer.close()
            self._producer.close(BURY_S)
            log.info("sink stopped: %s", self.progress)

    def _new_producer(self) -> EnvelopeProducer:
        return EnvelopeProducer(self._settings.kafka, self._settings.envelope, "shadowlane-sink")

    def _unready(self) -> list[str]:
        reasons = [] if self._joined else ["it has not joined its consumer group"]
        if self.progress.paused:
            reasons.append("the store takes no inserts; they are tried again")
        return reasons

    def _waits_for(self) -> Waiting:
        if self._producer is None:
            return {}
        group = {} if self._joined else {"its consumer group": "Kafka has given it no partitions yet"}
        return {**group, **producer_waiting(self._producer), **self.progress.waiting()}

    def seen(self) -> Seen:
        """For the watchdog, on its thread."""
        return Seen(assigned=self._reads > 0 if self._producer else None)

    def _figures(self) -> Iterator[Family]:
        yield from self.progress.figures()
        if self._producer is not None:
            yield from producer_figures(self._producer)

    def _read(self) -> None:
        self._turning.turn()
        wait = self._blocks.wait(time.monotonic())
        timeout = READ_S if wait is None else max(READ_MIN_S, min(READ_S, wait))
        for message in self._consumer.consume(READ_MESSAGES, timeout):
            self._take(message)

    def _take(self, message: Message) -> None:
        if error := message.error():
            check_passes(error, message.topic() or "the sink's topics")
            log.warning("reading %s: %s", message.topic(), error.str())
            return
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        self.progress.messages += 1
        self._blocks.add((topic, partition), offset, message.value(), time.monotonic(), stamp_of(message))

    def _write_due(self, *, everything: bool = False) -> None:
        self._due = self._blocks.due(time.monotonic(), more=self._more, everything=everything)
        # Once it gives up, at a stop, it must write nothing more: a later block of the same partition would
        # commit past the one that was not written.
        while self._due and not self._gave_up:
            block = self._due.pop(0)
            self._writing = block.partition
            self._commit(block, block.first, block.promise)
            if self._written(block):
                self._commit(block, block.last + 1)
            self._writing = None

    def _more(self, partition: Partition) -> bool:
        """Whether the last fetch knew of more messages than those that were read. Asks nobody."""
        place = TopicPartition(*partition)
        _, end = self._consumer.get_watermark_offsets(place, cached=True)
        (place,) = self._consumer.position([place])
        return place.offset >= 0 and end - place.offset >= MORE

    def _written(self, block: Block) -> bool:
        """Writes the block, however long it takes; False where it is not ours any more, or gives up."""
        wait = RETRY_MIN_S
        while True:
            self._turning.turn()
            began = time.monotonic()
            self.progress.inserting = (block.rows, began)
            try:
                self.progress.dead_letters += self._writer.write(block)
            except (StoreError, BrokerError) as exc:
                if self._stop.is_set():
                    log.warning("the block %s and all after it wait for the next start: %s", block.token, exc)
                    self._gave_up = True
                    return False
                self.progress.retries += 1
                self.progress.refused = refusal(exc)
                log.warning("the block %s is not written, again in %g s: %s", block.token, wait, exc)
                self._pause(True)
                if not self._idle(wait, block):
                    return False
                wait = min(2 * wait, RETRY_MAX_S)
            else:
                self.progress.inserted(block.rows, time.monotonic() - began)
                self._pause(False)
                return True
            finally:
                self.progress.inserting = None

    def _idle(self, seconds: float, block: Block) -> bool:
        """Waits, and stays in the group; False where the block's partition was taken away meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set():
            self._turning.turn()
            message = self._consumer.poll(min(left, READ_S))
            if message is not None:  # it was under way already
                self._take(message)
            if self._writing is None:
                log.warning("the block %s is left to the partition's new owner", block.token)
                self._pause(False)
                return False
        return True

    def _pause(self, on: bool) -> None:
        if on == self.progress.paused:
            return
        self.progress.paused = on
        change = self._consumer.pause if on else self._consumer.resume
        change(self._consumer.assignment())

    def _commit(self, block: Block, offset: int, metadata: str = "") -> None:
        try:
            self._consumer.commit(
                offsets=[TopicPartition(*block.partition, offset, metadata)], asynchronous=False
            )
        except KafkaException as exc:
            # Nothing is lost: at worst the block is read again, and its rows are known by their ids.
            log.warning("offset %d of %s is not committed: %s", offset, block.partition, exc.args[0].str())

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            for tp in consumer.committed(partitions, timeout=10.0):
                last = promised_last(tp.metadata, tp.offset)
                if last is not None:
                    self._blocks.promise((tp.topic, tp.partition), last)
        except KafkaException as exc:
            log.warning("what was promised before is not known: %s", exc.args[0].str())
        self._joined, self._reads = True, len(partitions)
        log.info("reads %d partitions", len(partitions))

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {(tp.topic, tp.partition) for tp in partitions}
        self._joined, self._reads = False, 0
        self._blocks.drop(gone)
        self._due = [block for block in self._due if block.partition not in gone]
        if self._writing in gone:
            self._writing = None

    def _insert(self, table: str, lines: bytes, token: str) -> None:
        insert_lines(self._client, self._settings.clickhouse, table, lines, token)

    def _bury(self, letters: list[DeadLetter]) -> None:
        errors: list[Exception] = []
        topic = self._topics.dead_letters

        def done(error: Exception | None) -> None:
            if error is not None:
                errors.append(error)

        producer = self._producer
        assert producer is not None
        for letter in letters:
            key = letter.request_id or letter.dead_letter_id
            producer.send(topic, partition_of(key, self._partitions[topic]), encode(letter), done)
        remaining = producer.flush(BURY_S)
        if errors or remaining:
            # The block, and all of them, come again. Kafka may take nothing any more from this producer.
            producer.close(0.0)
            self._producer = self._new_producer()
            raise BrokerError(f"{len(errors) + remaining} dead letters are not written: {errors[:1]}")


def _connected(clickhouse: ClickHouse, stop: threading.Event) -> Client | None:
    """A connection, once there is one; None at a stop. Raises StoreError after 30 seconds without."""
    deadline, told = time.monotonic() + START_S, False
    while not stop.is_set():
        try:
            return connect(clickhouse, timeout_s=INSERT_S)
        except StoreError as exc:
            if time.monotonic() > deadline:
                raise
            if not told:
                log.info("waits for the store, up to %d s: %s", START_S, exc)
            told = True
            stop.wait(0.5)
    return None
