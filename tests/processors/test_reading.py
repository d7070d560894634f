import pytest
from confluent_kafka.cimpl import KafkaError

from shadowlane.errors import BrokerError
from shadowlane.processors.reading import check_passes


def test_what_no_waiting_heals_is_raised_with_its_remedy() -> None:
    with pytest.raises(BrokerError, match=r"reading t: .*session timeout.*set kafka.session_timeout_s"):
        check_passes(KafkaError(KafkaError.INVALID_SESSION_TIMEOUT), "t")
    with pytest.raises(BrokerError, match="reading t: torn"):
        check_passes(KafkaError(KafkaError.UNKNOWN, "torn", fatal=True), "t")


def test_what_passes_is_left_to_pass() -> None:
    check_passes(KafkaError(KafkaError._ALL_BROKERS_DOWN), "t")
