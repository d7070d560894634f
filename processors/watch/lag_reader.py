"""Asks Kafka how far behind the component's group is, every few seconds, in a thread of its own."""

import logging
import threading
import time
from collections.abc import Iterator

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import Consumer, TopicPartition

from shadowlane import metrics
from shadowlane.processors.kafka import client_options, consumer_options
from shadowlane.processors.lag import Lag, Place, group_of, read_lag, reads
from shadowlane.processors.watch.behind import Courses, Pace
from shadowlane.processors.watch.figures import Family, figure, figures
from shadowlane.processors.watch.waits import Waiting
from shadowlane.schemas.config import Kafka

log = logging.getLogger("shadowlane.watch")

ASK_S = 5.0  # how long one question waits
STALE_AFTER = 3  # intervals, after which an answer says nothing any more


class LagReader:
    """``lags`` is what Kafka last said, empty where that is too long ago."""

    def __init__(self, component: str, kafka: Kafka, every_s: float) -> None:
        self._kafka, self._component, self._every_s = kafka, component, every_s
        self._courses = Courses()
        self._read_at = self._told_at = 0.0  # monotonic, and Unix time
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lag", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Does not wait for a question that is open."""
        self._stop.set()

    @property
    def lags(self) -> dict[Place, Lag]:
        return dict(self._courses.lags) if self._fresh else {}

    def pace(self) -> Pace | None:
        """How the group goes on; None where that is not known."""
        return self._courses.pace() if self._fresh else None

    def waiting(self) -> Waiting:
        """For Kafka, where it does not answer any more."""
        if self._fresh or not self._read_at:
            return {}
        return {
            "Kafka": f"it has not said for {time.monotonic() - self._read_at:.0f} s what is there to read"
        }

    @property
    def _fresh(self) -> bool:
        age = time.monotonic() - self._read_at
        return self._read_at > 0 and age <= STALE_AFTER * self._every_s + ASK_S

    def figures(self) -> Iterator[Family]:
        lags = self.lags
        courses = {place: self._courses.courses[place] for place in lags}
        labels = {place: (place[0], str(place[1])) for place in lags}
        yield figures(metrics.CONSUMER_LAG, {labels[at]: lag.messages for at, lag in lags.items()})
        yield figures(
            metrics.CONSUMER_COMMITTED,
            {labels[at]: lag.committed for at, lag in lags.items() if lag.committed is not None},
        )
        yield figures(metrics.CONSUMER_STALLED, {labels[at]: c.stalled for at, c in courses.items()})
        yield figures(metrics.CONSUMER_AGE, {labels[at]: c.age for at, c in courses.items()})
        yield figure(metrics.CONSUMER_READ_AT, self._told_at)

    def has_message(self, place: Place, offset: int) -> bool:
        """Whether there is a message to read at this offset or after it. Blocks for a few seconds at most."""
        options = consumer_options(self._kafka, "shadowlane-watch", group_of(self._component, self._kafka))
        consumer = Consumer(options | {"log_level": 0})
        try:
            consumer.assign([TopicPartition(*place, offset)])  # no member of the group, and commits nothing
            message = consumer.poll(2 * ASK_S)
            return message is not None and message.error() is None
        finally:
            consumer.close()

    def is_owned(self) -> bool:
        """Whether members of the group have every partition in which messages wait. Blocks for a few seconds at most.

        False too where that is not known: the embedded broker names no members.
        """
        group = group_of(self._component, self._kafka)
        admin = AdminClient(client_options(self._kafka, "shadowlane-watch") | {"log_level": 0})
        try:
            described = admin.describe_consumer_groups([group], request_timeout=ASK_S)[group].result()
        except KafkaException:
            return False
        had = {
            (tp.topic, tp.partition)
            for member in described.members
            for tp in member.assignment.topic_partitions
        }
        return {place for place, lag in self.lags.items() if lag.messages} <= had

    def _run(self) -> None:
        silent = logging.getLogger(
            "shadowlane.watch.librdkafka"
        )  # the component itself tells of an absent broker
        silent.addHandler(logging.NullHandler())
        silent.propagate = False
        admin = AdminClient(client_options(self._kafka, "shadowlane-watch"), logger=silent)
        group, places = group_of(self._component, self._kafka), list[Place]()
        while not self._stop.is_set():
            try:
                listed = admin.list_topics(timeout=ASK_S).topics
                topics = reads(self._component, self._kafka)
                places = [(t, p) for t in topics if t in listed for p in listed[t].partitions]
                lags = read_lag(admin, self._kafka, group, places, ASK_S)
            except KafkaException as exc:
                log.debug("the lag is not known: %s", exc.args[0].str())
            except Exception:
                log.exception("the lag is not known")
            else:
                self._courses.read(lags, time.monotonic())
                self._read_at, self._told_at = time.monotonic(), time.time()
            self._stop.wait(self._every_s)
