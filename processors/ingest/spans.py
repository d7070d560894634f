"""Reads spans from a collector's topic, in a thread of its own; commits what Kafka has as exchanges.

Batch by batch: what was read is handed to the event loop, and committed once all of it is acknowledged. So after a
crash the last batch is read again (at least once), and its requests have the same ids.
"""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.cimpl import Consumer, Message

from shadowlane.errors import BrokerError, CodecError
from shadowlane.processors.ingest import genai
from shadowlane.processors.ingest.otlp import reader
from shadowlane.processors.ingest.outbox import FAILED, Outbox
from shadowlane.processors.ingest.ready import Ready, ready
from shadowlane.processors.kafka import consumer_options
from shadowlane.processors.reading import check_passes
from shadowlane.producers.outflow import Outflow
from shadowlane.schemas.config import Settings

log = logging.getLogger("shadowlane.ingest")

POLL_S = 0.1
MESSAGES = 100
AGAIN_S = 1.0  # after a batch of which Kafka did not take all


class SpanReader:
    """``failed`` is told, in the event loop, what ended the thread.

    Raises:
        ConfigError: what reads the encoding is not installed.
    """

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        outflow: Outflow,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._settings, self._outbox, self._failed = settings, outbox, failed
        self._read = reader(settings.ingest.otel_encoding)
        self._outflow = outflow
        self._loop = asyncio.get_running_loop()
        self._closing = threading.Event()
        self.counts: Counter[str] = Counter()
        """Spans: mirrored and so on, as exchanges are; ``other`` asked no model. ``unreadable`` are messages."""
        self._thread = threading.Thread(target=self._run, name="shadowlane-ingest-spans", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the thread, and waits for it: the loop must go on meanwhile. Blocks."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        kafka, topic = self._settings.kafka, self._settings.ingest.otel_topic
        try:
            consumer = Consumer(
                consumer_options(kafka, "shadowlane-ingest", f"{kafka.topic_prefix}-ingest")
                | {"allow.auto.create.topics": False}
            )
            try:
                consumer.subscribe([topic])
                while not self._closing.is_set():
                    self._turn(consumer, topic)
            finally:
                consumer.close()
        except KafkaException as exc:
            self._tell(BrokerError(f"reading {topic}: {exc.args[0].str()}"))
        except Exception as exc:
            self._tell(exc)

    def _tell(self, error: BaseException) -> None:
        if not self._closing.is_set():
            self._loop.call_soon_threadsafe(self._failed, error)

    def _turn(self, consumer: Consumer, topic: str) -> None:
        messages: list[Message] = []
        while len(messages) < MESSAGES:
            message = consumer.poll(0.0 if messages else POLL_S)
            if message is None:
                break
            if (error := message.error()) is not None:
                check_passes(error, topic)
                continue
            messages.append(message)
        found = [each for message in messages for each in self._exchanges(message)]
        while found and not self._closing.is_set():
            became = self._sent(found)
            self.counts.update(word for word in became if word != FAILED)
            found = [each for each, word in zip(found, became, strict=True) if word == FAILED]
            if found:
                log.warning("Kafka did not take %d spans: again in %g s", len(found), AGAIN_S)
                self._closing.wait(AGAIN_S)
        if messages and not found:
            try:
                consumer.commit(offsets=_positions(messages), asynchronous=False)
            except KafkaException as exc:  # at least once: who gets the partition reads these again
                log.warning("offsets of %s not committed: %s", topic, exc.args[0].str())

    def _sent(self, found: list[Ready]) -> list[str]:
        """What became of each; FAILED of all where the end comes first: then they are read again."""
        sending = asyncio.run_coroutine_threadsafe(self._send(found), self._loop)
        while True:
            try:
                return sending.result(POLL_S)
            except TimeoutError:
                if self._closing.is_set():
                    return [FAILED] * len(found)

    async def _send(self, found: list[Ready]) -> list[str]:
        return list(await asyncio.gather(*map(self._outbox.put, found)))

    def _exchanges(self, message: Message) -> list[Ready]:
        value = message.value()
        try:
            spans = self._read(value.encode() if isinstance(value, str) else value or b"")
        except CodecError as exc:
            self.counts["unreadable"] += 1
            log.warning("%s:%s:%s: %s", message.topic(), message.partition(), message.offset(), exc)
            return []
        made: list[Ready] = []
        for span in spans:
            both = genai.exchange(span, self._settings.ingest)
            if both is None:
                self.counts["other"] += 1
                continue
            try:
                made.append(ready(self._outflow, *both))
            except CodecError as exc:
                self.counts["refused"] += 1
                log.warning("span %s: %s", both[0].request_id, exc)
        return made


def _positions(messages: list[Message]) -> list[TopicPartition]:
    """After the last of each partition."""
    after = {(m.topic() or "", m.partition() or 0): (m.offset() or 0) + 1 for m in messages}
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in after.items()]
