"""The mirror's hand on Kafka: a thin shell over confluent-kafka's producer, used by one thread alone."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import confluent_kafka

# list_topics imports this at its first call. In the mirror's thread that would take the module's import lock, and
# a service that forks in that moment would have a child that waits for it for ever.
import confluent_kafka.admin

from shadowlane.errors import BrokerError, ConfigError
from shadowlane.schemas.addresses import in_flight
from shadowlane.schemas.topics import Topics

Done = Callable[[str], None]
"""Called once for every message that was taken: "" when Kafka acknowledged it, else what went wrong."""

METADATA_TIMEOUT_S = 2.0

# After a message that failed, the client counts on under its next epoch. The embedded broker knows none but the first,
# and would take nothing any more from this producer.
FENCED = (
    confluent_kafka.KafkaError.PRODUCER_FENCED,
    confluent_kafka.KafkaError.INVALID_PRODUCER_EPOCH,
    confluent_kafka.KafkaError.UNKNOWN_PRODUCER_ID,
)


class Link(Protocol):
    """How the worker reaches Kafka. No call raises anything but what it names."""

    def partitions(self) -> dict[str, int]:
        """Partitions by topic, of the topics that exist. Waits up to 2 s. Raises BrokerError."""
        ...

    def send(self, topic: str, partition: int, value: bytes, done: Done) -> bool:
        """Never waits. False: the client's queue is full, try again after a poll; ``done`` is not called."""
        ...

    def poll(self, timeout_s: float) -> None:
        """Waits up to ``timeout_s`` for acknowledgements, and calls their ``done``."""
        ...

    def close(self) -> None:
        """Give up on what is not acknowledged: every ``done`` that was not called is called with an error."""
        ...


class KafkaLink:
    """A producer that is idempotent, waits for all replicas, and is built anew after a fatal error.

    Args:
        bootstrap: Kafka's addresses, comma-separated.
        topics: whose partitions are asked for.
        buffer_bytes: how much may be in flight; the client's own queue has room for all of it.
        delivery_timeout_s: after this an unacknowledged message has failed.
        options: librdkafka's, over these (security.protocol, sasl.*, …).
        log: gets the client's own log lines (level, text).

    Raises:
        ConfigError: the client refuses an option; the text is the client's.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Topics,
        *,
        buffer_bytes: int,
        delivery_timeout_s: float,
        options: Mapping[str, Any],
        log: Callable[[int, str], None],
    ) -> None:
        self._topics = topics
        self._log = log
        self._fatal = False
        self._untold: set[_Delivery] = set()
        self._options: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "client.id": "shadowlane-mirror",
            "acks": "all",
            "enable.idempotence": True,
            "max.in.flight": in_flight(bootstrap),
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.messages": 100_000,
            "queue.buffering.max.kbytes": max(16_384, 2 * buffer_bytes // 1024),
            "message.timeout.ms": int(delivery_timeout_s * 1000),
            # An error that comes with a broker's absence is told by the deliveries; not on stderr.
            "log_level": 3,
            **options,
            "error_cb": self._on_error,
            "logger": _Logger(log),
        }
        self._producer = self._build()

    def _build(self) -> "confluent_kafka.Producer":
        try:
            return confluent_kafka.Producer(self._options)
        except (confluent_kafka.KafkaException, TypeError, ValueError) as exc:
            raise ConfigError(f"the Kafka client refuses its options: {_text(exc)}") from exc

    def _on_error(self, error: confluent_kafka.KafkaError) -> None:
        if error.fatal() or error.code() == confluent_kafka.KafkaError._FATAL:
            self._fatal = True
        self._log(logging.WARNING, str(error))

    def partitions(self) -> dict[str, int]:
        try:
            # Of all topics: asking for one by name would create it, where the broker allows that, with
            # its default number of partitions.
            found = self._producer.list_topics(timeout=METADATA_TIMEOUT_S).topics
        except confluent_kafka.KafkaException as exc:
            raise BrokerError(f"Kafka can't be reached: {_text(exc)}") from exc
        return {
            name: len(found[name].partitions)
            for name in self._topics.all
            if name in found and found[name].error is None
        }

    def send(self, topic: str, partition: int, value: bytes, done: Done) -> bool:
        delivery = _Delivery(self, done)
        try:
            self._producer.produce(topic, value=value, partition=partition, on_delivery=delivery)
        except BufferError:
            return False
        except confluent_kafka.KafkaException as exc:
            done(_text(exc))
        else:
            self._untold.add(delivery)
        return True

    def told(self, delivery: "_Delivery", error: confluent_kafka.KafkaError | None) -> None:
        """What the client says became of a message."""
        if error is not None and error.code() in FENCED:
            self._fatal = True
        if delivery in self._untold:
            self._untold.remove(delivery)
            delivery.done("" if error is None else str(error))

    def poll(self, timeout_s: float) -> None:
        self._producer.poll(timeout_s)
        if self._fatal:
            self.close()
            self._producer = self._build()
            self._fatal = False

    def close(self) -> None:
        self._producer.purge()
        self._producer.flush(1.0)
        left, self._untold = self._untold, set()
        for delivery in left:  # a machine may be so busy that a second was not enough
            delivery.done("the Kafka client ended before it told")


class _Delivery:
    """Called by the client with what became of a message. One object a message: of two that the same owner waits
    for, each is told of."""

    __slots__ = ("_link", "done")

    def __init__(self, link: KafkaLink, done: Done) -> None:
        self._link = link
        self.done = done

    def __call__(self, error: confluent_kafka.KafkaError | None, _message: object) -> None:
        self._link.told(self, error)


class _Logger:
    """What confluent-kafka needs of a logger."""

    def __init__(self, log: Callable[[int, str], None]) -> None:
        self._log = log

    def log(self, level: int, text: str, *values: object, **_: object) -> None:
        self._log(level, text % values if values else text)


def _text(exc: BaseException) -> str:
    error: object = exc.args[0] if exc.args else exc
    return error.str() if isinstance(error, confluent_kafka.KafkaError) else str(error)
