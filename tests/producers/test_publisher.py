"""The publisher: the mirror's way for records that exist already; it waits, and says when it can't."""

import threading
import uuid

import pytest

from shadowlane.errors import BrokerError, CodecError
from shadowlane.producers import Publisher
from shadowlane.schemas.events import MirroredRequest, Response
from tests.producers.support import FakeLink, Sent, balanced, read_all, topics_on
from tests.services import KafkaAddress, free_port

TS = 1_700_000_000_000


def pair(number: int, text: str = "hi") -> tuple[MirroredRequest, Response]:
    request = MirroredRequest(
        request_id=f"r{number}",
        ts=TS + number * 1000,
        service="shop",
        route="r",
        protocol="json",
        body={"text": text},
    )
    response = Response(
        request_id=f"r{number}",
        ts=TS + number * 1000,
        completed_at=TS + number * 1000 + 5,
        service="shop",
        route="r",
        role="served",
        output=text,
    )
    return request, response


def test_it_sends_what_the_mirror_would_have(kafka: KafkaAddress) -> None:
    with topics_on(kafka.bootstrap_servers, f"t{uuid.uuid4().hex[:8]}") as topics:
        with Publisher(kafka.bootstrap_servers, topic_prefix=topics.prefix, buffer_bytes=50_000) as publisher:
            for number in range(500):
                publisher.send(*pair(number, "mail bob@example.com " + "x" * 500))
            assert publisher.flush(60), publisher.stats()
            assert publisher.stats()["mirrored"] == 500
        sent = read_all(kafka.bootstrap_servers, topics, lambda s: s.rows["mirrored"] == 500)
    assert len({r.request_id for r in sent.requests}) == len(sent.served) == 500
    assert sent.requests[0].body["text"].startswith("mail [email] ")
    assert sent.served[0].output.startswith("mail [email] ")
    assert sent.rows == {"eligible": 500, "mirrored": 500}
    assert {key[1] for key in sent.cells} == {TS + n * 1000 - (TS + n * 1000) % 60_000 for n in range(500)}


def test_a_kafka_that_is_not_there_is_an_error() -> None:
    with pytest.raises(BrokerError, match="can't be reached"):
        Publisher(f"127.0.0.1:{free_port()}")


def test_topics_that_are_missing_are_an_error(kafka: KafkaAddress) -> None:
    with pytest.raises(BrokerError, match=r"nowhere\.requests has 0 partitions"):
        Publisher(kafka.bootstrap_servers, topic_prefix="nowhere")


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> FakeLink:
    link = FakeLink()
    monkeypatch.setattr("shadowlane.producers.publisher.KafkaLink", lambda *_, **__: link)
    return link


def test_it_waits_for_room_and_drops_nothing(link: FakeLink) -> None:
    link.fate = lambda topic: None  # Kafka is slow
    publisher = Publisher("fake", buffer_bytes=20_000)
    progress = [0]
    stuck = threading.Event()

    def send() -> None:
        for number in range(100):
            if publisher.stats()["buffered_bytes"] > 17_000:
                stuck.set()
            publisher.send(*pair(number))
            progress[0] = number + 1

    thread = threading.Thread(target=send)
    thread.start()
    assert stuck.wait(30)
    assert progress[0] < 100
    link.fate = lambda topic: ""
    thread.join(60)
    assert publisher.flush(30)
    stats = publisher.stats()
    assert (stats["mirrored"], stats["dropped"]) == (100, {})
    publisher.close()


def test_what_cannot_be_sent_is_an_error_and_counted(link: FakeLink) -> None:
    publisher = Publisher("fake")
    request, response = pair(1)
    request.body = {"n": 2**70}
    with pytest.raises(CodecError):
        publisher.send(request, response)
    with pytest.raises(CodecError, match="over 900000 bytes"):
        publisher.send(*pair(2, "x" * 1_000_000))
    publisher.send(*pair(3))
    assert publisher.flush(30)
    stats = publisher.stats()
    assert stats["dropped"] == {"encode_failed": 1, "too_large": 1}
    assert balanced(stats)
    assert [r.request_id for r in Sent(link.acknowledged).requests] == ["r3"]
    publisher.close()
    with pytest.raises(BrokerError, match="closed"):
        publisher.send(*pair(4))


def test_the_records_given_stay_as_they_were(link: FakeLink) -> None:
    request, response = pair(1, "bob@example.com")
    Publisher("fake").send(request, response)
    assert (request.body, response.output) == ({"text": "bob@example.com"}, "bob@example.com")
