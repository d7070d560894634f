"""A link that is no Kafka, and what was sent through it or through a real one."""

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import confluent_kafka
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from shadowlane.errors import BrokerError
from shadowlane.producers import Mirror
from shadowlane.producers.link import Done
from shadowlane.schemas.codec import decode, unpack
from shadowlane.schemas.events import LedgerCell, MirroredRequest, Response
from shadowlane.schemas.topics import Topics


class FakeLink:
    """Takes up to ``room`` messages, and tells of them at the next poll, as ``fate`` says: "" or an error.

    Of one partition, in which exchanges keep their order: among several, those that were packed at once have none.
    """

    def __init__(self, partitions: int = 1) -> None:
        topics = Topics()
        self.topics: dict[str, int] = {t: partitions for t in (topics.requests, topics.served, topics.ledger)}
        self.reachable = True
        self.room = 10_000
        self.fate: Callable[[str], str | None] = lambda topic: ""  # None: not yet
        self.waiting: deque[tuple[str, int, bytes, Done]] = deque()
        self.acknowledged: list[tuple[str, int, bytes]] = []
        self.closed = False

    def partitions(self) -> dict[str, int]:
        if not self.reachable:
            raise BrokerError("Kafka can't be reached: nobody is there")
        return dict(self.topics)

    def send(self, topic: str, partition: int, value: bytes, done: Done) -> bool:
        if len(self.waiting) >= self.room:
            return False
        self.waiting.append((topic, partition, value, done))
        return True

    def poll(self, timeout_s: float) -> None:
        for _ in range(len(self.waiting)):
            topic, partition, value, done = self.waiting.popleft()
            fate = self.fate(topic)
            if fate is None:
                self.waiting.append((topic, partition, value, done))
            else:
                if fate == "":
                    self.acknowledged.append((topic, partition, value))
                done(fate)

    def close(self) -> None:
        self.closed = True
        while self.waiting:
            self.waiting.popleft()[3]("purged")


class Sent:
    """What a link, or Kafka, has."""

    def __init__(self, messages: list[tuple[str, int, bytes]]) -> None:
        topics = Topics()
        self.messages = messages
        self.requests: list[MirroredRequest] = []
        self.served: list[Response] = []
        cells: dict[tuple[Any, ...], int] = {}
        for topic, _, value in messages:
            for _, line in unpack(value):
                if topic == topics.requests:
                    self.requests.append(decode(MirroredRequest, line))
                elif topic == topics.served:
                    self.served.append(decode(Response, line))
                else:
                    cell = decode(LedgerCell, line)
                    key = (cell.instance, cell.minute, cell.service, cell.route, cell.row, cell.reason)
                    cells[key] = max(cells.get(key, 0), cell.count)
        self.cells = cells
        self.rows: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        for key, count in cells.items():
            self.rows[key[4]] += count
            if key[5]:
                self.reasons[key[5]] += count


def balanced(stats: dict[str, Any]) -> bool:
    """Whether the books add up."""
    accounted = stats["sampled_out"] + sum(stats["dropped"].values()) + stats["mirrored"] + stats["buffered"]
    return bool(stats["eligible"] == accounted)


class FakeMirror:
    """A mirror on a fake link; ``sent()`` flushes and says what came.

    The link is the mirror's own: its thread makes it whenever it comes to that, and may do so in the next test.
    """

    def __init__(self, **settings: Any) -> None:
        link = self.link = FakeLink()

        class Linked(Mirror):
            def _new_link(self) -> FakeLink:
                return link

        self.mirror: Mirror = Linked("shop", kafka="fake:9092", **settings)

    def sent(self) -> Sent:
        assert self.mirror.flush(20), self.mirror.stats()
        assert balanced(self.mirror.stats()), self.mirror.stats()
        assert "internal" not in self.mirror.stats()["problems"], self.mirror.stats()
        return Sent(list(self.link.acknowledged))

    def one(self) -> tuple[MirroredRequest, Response]:
        sent = self.sent()
        assert len(sent.requests) == len(sent.served) == 1
        assert sent.requests[0].request_id == sent.served[0].request_id
        return sent.requests[0], sent.served[0]


@contextlib.contextmanager
def topics_on(bootstrap: str, prefix: str, partitions: int = 4) -> Iterator[Topics]:
    """The mirror's topics under a prefix of their own."""
    topics = Topics(prefix)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics([NewTopic(t, partitions, 1) for t in topics.all])
    for future in made.values():
        future.result(30)
    yield topics


def read_all(bootstrap: str, topics: Topics, until: Callable[[Sent], bool]) -> Sent:
    """Everything in the mirror's topics, read until ``until`` holds and it is complete by its own ledger."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "reads", "auto.offset.reset": "earliest"}
    )
    names = {
        topics.requests: Topics().requests,
        topics.served: Topics().served,
        topics.ledger: Topics().ledger,
    }
    found = consumer.list_topics(timeout=10).topics
    consumer.assign([confluent_kafka.TopicPartition(t, p, 0) for t in names for p in found[t].partitions])
    messages: list[tuple[str, int, bytes]] = []
    try:
        for _ in range(300):  # of a tenth of a second; a test that waits in vain fails on what is missing
            sent = Sent(messages)
            if until(sent) and len(sent.requests) == len(sent.served) == sent.rows["mirrored"]:
                break
            for message in consumer.consume(1000, 0.1):
                if message.error() is None:
                    topic, partition, value = message.topic(), message.partition(), message.value()
                    assert topic is not None
                    assert partition is not None
                    assert value is not None
                    messages.append((names[topic], partition, value))
    finally:
        consumer.close()
    return Sent(messages)


def shouted(data: bytes) -> bytes:
    """A service's own redactor, to be named by the environment."""
    return data.upper()
