"""The thread: when a request wakes it, and when it comes by itself."""

import threading

from shadowlane.producers.link import Done
from shadowlane.producers.log import Log
from shadowlane.producers.pipeline import Pipeline
from shadowlane.schemas.topics import Topics
from tests.producers.support import FakeLink
from tests.producers.test_worker import Thing, encode


class SlowLink(FakeLink):
    """Acknowledges nothing, and says when it was given something first."""

    def __init__(self) -> None:
        super().__init__()
        self.fate = lambda topic: None
        self.given = threading.Event()

    def send(self, topic: str, partition: int, value: bytes, done: Done) -> bool:
        self.given.set()
        return super().send(topic, partition, value, done)


def test_no_request_wakes_a_thread_that_has_never_been_without_work() -> None:
    link = SlowLink()
    pipeline: Pipeline[Thing] = Pipeline(
        lambda: link, encode, Topics(), Log(), buffer_bytes=4_000_000, hold_s=30.0
    )
    woken: list[bool] = []
    wake = pipeline.buffer.wake

    def told() -> None:
        woken.append(True)
        wake()

    pipeline.buffer.wake = told
    assert pipeline.buffer.offer(Thing(0, 100, 0.0)) == ""
    assert link.given.wait(20)
    for number in range(1, 50):
        assert pipeline.buffer.offer(Thing(number, 100, 0.0)) == ""
    pipeline.close(0.0)
    assert len(woken) == 1
