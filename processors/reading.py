"""Errors of a Kafka consumer: those that pass by themselves, and those that no waiting heals."""

from confluent_kafka.cimpl import KafkaError, Message

from shadowlane.errors import BrokerError

HOPELESS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "may this client read the topic?",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "may this client join the group?",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "may this client use the cluster?",
    KafkaError.INVALID_SESSION_TIMEOUT: (
        "set kafka.session_timeout_s between the broker's group.min.session.timeout.ms and "
        "group.max.session.timeout.ms, by default 6 and 1800 seconds"
    ),
}
"""Error codes, and what to do."""


def check_passes(error: KafkaError, topic: str) -> None:
    """Raises BrokerError for an error after which nothing will ever be read; returns for all others."""
    remedy = HOPELESS.get(error.code())
    if error.fatal() or remedy:
        raise BrokerError(f"reading {topic}: {error.str()}" + (f"; {remedy}" if remedy else ""))


def stamp_of(message: Message) -> int:
    """When the message came to Kafka (or was made, as its topic has it), Unix milliseconds; 0 where it is not said."""
    return max(0, message.timestamp()[1])
