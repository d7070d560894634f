"""The rollouts' states out to Kafka, for the routers."""

import time
from collections.abc import Iterable

from confluent_kafka import KafkaException
from confluent_kafka.cimpl import KafkaError, Message, Producer

from shadowlane.errors import BrokerError
from shadowlane.processors.kafka import producer_options
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import Kafka
from shadowlane.schemas.events import RolloutState


class StatePublisher:
    """Writes states, each a message of its own under its rollout's name. Used by one thread.

    Writing a state again does no harm: of several the one with the largest ``seq`` holds. The topic must be there
    (:func:`shadowlane.processors.kafka.ensure_topics` creates it, compacted).
    """

    def __init__(self, kafka: Kafka) -> None:
        self._topic = kafka.topics.rollouts
        self._options = {
            **producer_options(kafka, "shadowlane-controller"),
            # In order, so that compaction keeps the last one; without idempotence, whose errors end a producer.
            "enable.idempotence": False,
            "max.in.flight.requests.per.connection": 1,
            "partitioner": "consistent",
            "linger.ms": 0,
            "batch.num.messages": 1,  # the embedded broker counts a batch at the end as one message
            "compression.type": "none",
            "log_level": 0,  # what goes wrong is raised
        }
        self._producer = Producer(self._options)

    def publish(self, states: Iterable[RolloutState], timeout: float = 10.0) -> None:
        """Returns once Kafka has acknowledged all of them. Blocks for up to ``timeout`` seconds.

        Raises:
            BrokerError: it has not. Some of the states may be written all the same.
            CodecError: a state that JSON has no form for; nothing is written.
        """
        messages = [(state.rollout, encode(state)) for state in states]
        failed: dict[str, str] = {}
        acknowledged = 0

        def delivered(error: KafkaError | None, message: Message) -> None:
            nonlocal acknowledged
            acknowledged += error is None
            if error is not None:
                failed[(message.key() or b"").decode()] = error.str()

        try:
            for name, value in messages:
                self._producer.produce(self._topic, value, key=name.encode(), on_delivery=delivered)
        except (KafkaException, BufferError) as exc:
            self._give_up()
            raise BrokerError(f"can't write to {self._topic}: {exc}") from exc
        deadline = time.monotonic() + timeout
        # In short calls: no signal is seen within one.
        while acknowledged + len(failed) < len(messages) and (left := deadline - time.monotonic()) > 0:
            self._producer.poll(min(0.2, left))
        if acknowledged < len(messages):
            self._give_up()
            why = next(iter(failed.values()), f"no acknowledgement in {timeout:g} s")
            raise BrokerError(
                f"{len(messages) - acknowledged} of {len(messages)} states of rollouts were not written to "
                f"{self._topic}: {why}; routers keep what they know"
            )

    def close(self) -> None:
        self._give_up()

    def _give_up(self) -> None:
        """What is still on its way is not sent any more: the next call has something newer."""
        self._producer.purge()
        self._producer.poll(0)
