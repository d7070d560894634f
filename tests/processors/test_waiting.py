"""What the components say that they wait for."""

import time

import pytest

from shadowlane.errors import BrokerError, StoreError
from shadowlane.processors.sink.progress import Progress as SinkProgress
from shadowlane.processors.store import CodedError, refusal
from shadowlane.rollout.progress import Progress as ControllerProgress

SECRET = "password=hunter2"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (StoreError(SECRET), "it does not answer"),
        (CodedError(SECRET, 243), "its disk is full (ClickHouse's code 243)"),
        (CodedError(SECRET, 999), "it refuses (ClickHouse's code 999)"),
        (BrokerError(SECRET), "Kafka does not take the dead letters"),
    ],
)
def test_how_the_store_refuses_is_said_in_words_of_ours(error: Exception, says: str) -> None:
    assert refusal(error) == says


def test_the_sink_waits_for_a_store_that_refuses_and_for_one_that_is_slow() -> None:
    progress = SinkProgress()
    assert progress.waiting() == {}
    progress.inserting = (5000, time.monotonic())
    assert progress.waiting() == {}
    progress.inserting = (5000, time.monotonic() - 4.2)
    assert progress.waiting() == {"the store": "an insert of 5,000 rows has taken 4 s so far"}
    progress.paused, progress.refused = True, "its disk is full"
    assert progress.waiting() == {"the store": "its disk is full; the insert is tried again"}


def test_the_controller_waits_until_a_poll_goes_through() -> None:
    progress = ControllerProgress()
    assert progress.waiting() == {}
    progress.could_not_poll("it does not answer")
    assert progress.waiting() == {"the store": "it does not answer; nothing is decided meanwhile"}
    progress.polled(leads=True, failed=True, decisions=[], states=[])
    assert list(progress.waiting()) == ["a good poll"]
    progress.polled(leads=True, failed=False, decisions=[], states=[])
    assert progress.waiting() == {}
