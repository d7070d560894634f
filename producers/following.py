"""Reading a compacted topic whole, from the beginning, by every process for itself, for as long as it runs.

There is no group, and no offset is committed. Whenever Kafka was away all of it is read again: a broker that lost its
data, or was replaced, counts its offsets anew. So what is read must do no harm when it comes twice, or late.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import confluent_kafka

# list_topics imports this at its first call. In this thread that would take the module's import lock, and a service
# that forks in that moment would have a child that waits for it for ever.
import confluent_kafka.admin
from confluent_kafka.cimpl import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from shadowlane.producers.log import Log

POLL_S = 0.2
ASK_EVERY_S = 10.0  # whether Kafka is there, and how many partitions the topic has
ASK_AGAIN_S = 0.5  # the same, while it is not
ASK_TIMEOUT_S = 2.0
REREAD_S = 3.0  # the topic is begun again so often at most


class Takes(Protocol):
    """Who is told what is read, in the follower's thread."""

    def take(self, envelope: bytes | None, key: bytes | None) -> list[str]:
        """Takes one message; gives what is wrong with those of its lines that can't be read."""
        ...


class Follower:
    """A daemon thread that reads a topic, for as long as it is not stopped.

    It never raises and never gives up: whatever goes wrong is logged, at most once a minute, and tried again.

    Args:
        bootstrap: Kafka's addresses.
        topic: to be read.
        options: librdkafka's, over these.
        known: where what is read goes.
        log: gets what is wrong.
        name: of the Kafka client and of the thread.
        what: the topic's records are called in the log.
        begun: told, in the follower's thread, whenever reading begins at the beginning.
        ended: told there, whenever all that the topic has was read.
        whole_s: no offset may be missing before a message that is younger than so many seconds: the one that is may
            come still, or was skipped, and so all is read again. Of older ones those are missing that were compacted
            away. None: it does no harm to miss one.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        options: Mapping[str, Any],
        known: Takes,
        log: Log,
        *,
        name: str = "shadowlane-router",
        what: str = "state of a rollout",
        begun: Callable[[], None] = lambda: None,
        ended: Callable[[], None] = lambda: None,
        whole_s: float | None = None,
    ) -> None:
        self.ready = threading.Event()  # once the topic was read to its end
        self.contact: float | None = None  # time.monotonic() when Kafka answered last
        self._topic = topic
        self._known = known
        self._what = what
        self._log = log
        self._stop = threading.Event()
        self._lost = False
        self._begun = begun
        self._ended = ended
        self._whole_s = whole_s
        self._next: dict[int, int] = {}  # partition: the offset of its next message
        self._missed = False  # nothing more is taken before all is read again
        self._ends: set[int] = set()  # partitions that are not read to their end yet
        self._options: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "client.id": name,
            "group.id": name,  # asked for by the client; nobody joins it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            "fetch.wait.max.ms": 100,
            "reconnect.backoff.max.ms": 1000,
            "log_level": 3,
            **options,
            "error_cb": self._on_error,
            "logger": _Logger(log),
        }
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Raises RuntimeError where the process can start no thread any more."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Ends the thread; waits for it for up to ``timeout`` seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except Exception as exc:
                self._log.problem("router", f"reading {self._topic}: {exc}; trying again")
                self._stop.wait(ASK_AGAIN_S)

    def _follow(self) -> None:
        """Until it is stopped. Raises whatever the client raises; then all begins again with another client."""
        consumer = Consumer(self._options)
        try:
            reading: set[int] = set()
            ask_at = begun_at = float("-inf")
            while not self._stop.is_set():
                now = time.monotonic()
                if now >= ask_at or (self._lost and now >= begun_at + REREAD_S):
                    partitions = self._ask(consumer)
                    if partitions is None:
                        self._lost = True
                        self._stop.wait(ASK_AGAIN_S)
                        continue
                    if partitions != reading or (self._lost and now >= begun_at + REREAD_S):
                        self._lost = False
                        reading, begun_at = partitions, now
                        self._begin(consumer, reading)
                    ask_at = now + (ASK_EVERY_S if reading else ASK_AGAIN_S)
                message = consumer.poll(POLL_S)
                if message is not None:
                    self._take(message)
        finally:
            consumer.close()

    def _ask(self, consumer: Consumer) -> set[int] | None:
        """The topic's partitions, none where there is no such topic; None where Kafka does not answer."""
        try:
            # Of all topics: asking for one by name would create it, where the broker allows that.
            found = consumer.list_topics(timeout=ASK_TIMEOUT_S).topics
        except confluent_kafka.KafkaException as exc:
            self._log.problem("kafka", f"Kafka can't be reached: {exc.args[0].str()}")
            return None
        self.contact = time.monotonic()
        metadata = found.get(self._topic)
        return set(metadata.partitions) if metadata is not None and metadata.error is None else set()

    def _begin(self, consumer: Consumer, partitions: set[int]) -> None:
        self._ends = set(partitions)
        self._next, self._missed = {}, False
        self._begun()
        consumer.assign([TopicPartition(self._topic, p, OFFSET_BEGINNING) for p in sorted(partitions)])

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is None:
            self.contact = time.monotonic()
            if self._misses(message):
                return
            for wrong in self._known.take(message.value(), message.key()):
                place = f"{self._topic} [{message.partition()}] at {message.offset()}"
                self._log.problem("bad_record", f"{place} is no {self._what}, and is left out: {wrong}")
        elif error.code() == KafkaError._PARTITION_EOF:
            self._ends.discard(message.partition() or 0)
            if not self._ends:
                if not self._missed:
                    self._ended()
                self.ready.set()
        else:
            self._on_error(error)
            if error.fatal():
                raise confluent_kafka.KafkaException(error)

    def _misses(self, message: Message) -> bool:
        """Whether one before it is missing that ought to be there."""
        if self._whole_s is None or self._missed:
            return self._missed
        partition, offset = message.partition() or 0, message.offset() or 0
        expected = self._next.get(partition, 0)
        self._next[partition] = offset + 1
        # Kafka's clock or the writer's, whichever the topic has: both are the time of writing, but for some seconds.
        age = time.time() - message.timestamp()[1] / 1000
        if offset != expected and age < self._whole_s:
            self._missed = self._lost = True
            self._log.problem(
                "gap", f"{self._topic} [{partition}] goes from {expected} to {offset}: read again"
            )
        return self._missed

    def _on_error(self, error: KafkaError) -> None:
        """Whatever it is, Kafka is asked again, and read from the beginning once it answers."""
        self._lost = True
        self._log.problem("kafka", f"Kafka: {error}")


class _Logger:
    """What confluent-kafka needs of a logger."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def log(self, level: int, text: str, *values: object, **_: object) -> None:
        self._log.client(level, text % values if values else text)
