"""Waiting for a broker, embedded or not."""

import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from shadowlane.errors import BrokerError


def wait_until_ready(bootstrap: str, timeout: float) -> None:
    """Return once the brokers at ``bootstrap`` answer a metadata request.

    Raises BrokerError if none has answered within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    # No word from librdkafka about the attempts that come before the broker listens.
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
    while True:
        left = deadline - time.monotonic()
        try:
            admin.list_topics(timeout=max(0.1, min(1.0, left)))
            return
        except KafkaException as exc:
            if left <= 0:
                raise BrokerError(
                    f"no Kafka broker answered at {bootstrap} within {timeout:g} s: "
                    "is it running, and is the address right?"
                ) from exc
