"""A deployment as Kafka and the store hold it, written by hand: so that anything in it can be made wrong."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import TopicPartition
from confluent_kafka.cimpl import Consumer, KafkaError, Message, Producer

from shadowlane.processors.audit import Audit, Scope, audit
from shadowlane.processors.kafka import client_options, ensure_topics, producer_options
from shadowlane.processors.store import connect, insert_lines
from shadowlane.schemas.codec import dead_letter, encode, pack
from shadowlane.schemas.config import ClickHouse, Settings
from shadowlane.schemas.events import LedgerCell, MirroredRequest, Pair, Record, Response, pair_id
from shadowlane.schemas.topics import partition_of
from tests.services import KafkaAddress

PARTITIONS = 2
MINUTE = 1_772_323_200_000  # 2026-03-01 00:00 UTC


@dataclass
class World:
    """``ids`` are the requests, which are all of one minute of one service."""

    kafka: KafkaAddress
    clickhouse: ClickHouse
    """Migrated, and empty."""
    ids: list[str] = field(default_factory=list)
    text: str = "yes"
    at: Callable[[str], int] = lambda name: MINUTE  # when a request came

    def __post_init__(self) -> None:
        name = f"audit{uuid.uuid4().hex[:8]}"
        self.settings = Settings.model_validate(
            {
                "kafka": {
                    "bootstrap_servers": self.kafka.bootstrap_servers,
                    "topic_prefix": name,
                    "partitions": PARTITIONS,
                },
                "clickhouse": self.clickhouse,
                "rollouts": [
                    {"name": "r", "match": {"service": "shop"}, "candidate": {"base_url": "http://c"}}
                ],
            }
        )
        self.topics = self.settings.kafka.topics
        self.rollout = self.settings.rollouts[0]
        ensure_topics(self.settings.kafka)
        self.client = connect(self.settings.clickhouse)
        self.ends: dict[tuple[str, int], int] = defaultdict(int)
        self._producer = Producer(producer_options(self.settings.kafka, "test"))

    def close(self) -> None:
        self.client.close()

    # What travels

    def request(self, name: str, service: str = "shop") -> MirroredRequest:
        return MirroredRequest(
            request_id=name, ts=self.at(name), service=service, route="/", protocol="json", body=self.text
        )

    def response(self, name: str, role: str, service: str = "shop") -> Response:
        shadow = role == "shadow"
        return Response(
            request_id=name,
            ts=self.at(name),
            completed_at=self.at(name),
            service=service,
            route="/",
            role=role,
            rollout="r" if shadow else "",
            epoch=self.rollout.epoch if shadow else "",
            output=self.text,
        )

    def pair(self, name: str, outcome: str = "scored", reason: str = "") -> Pair:
        return Pair(
            pair_id=pair_id(name, "r", self.rollout.epoch),
            request_id=name,
            rollout="r",
            epoch=self.rollout.epoch,
            stage="shadow",
            service="shop",
            route="/",
            ts=self.at(name),
            completed_at=self.at(name),
            outcome=outcome,
            reason=reason,
            stable_output=self.text,
            candidate_output=self.text,
        )

    def cells(
        self, eligible: int, *, mirrored: int, sampled_out: int = 0, dropped: int = 0
    ) -> list[LedgerCell]:
        counts = {"eligible": eligible, "mirrored": mirrored, "sampled_out": sampled_out, "dropped": dropped}
        return [
            LedgerCell(instance="m", minute=MINUTE, service="shop", route="/", row=row, count=count)
            for row, count in counts.items()
            if count
        ]

    # Who writes it

    def write(self, topic: str, lines: Iterable[bytes], partition: int) -> int:
        """One message; gives its offset."""
        self._produce(topic, lines, partition)
        self.settle()
        return self.ends[topic, partition] - 1

    def _produce(self, topic: str, lines: Iterable[bytes], partition: int) -> None:
        def told(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            self.ends[topic, partition] = int(message.offset() or 0) + 1

        self._producer.produce(topic, pack(lines), partition=partition, on_delivery=told)

    def settle(self) -> None:
        """Kafka has all that was sent."""
        assert self._producer.flush(60) == 0

    def send(self, topic: str, records: Mapping[str, Record], *, wait: bool = True) -> None:
        """Records by their request's id: an envelope for each partition that has some."""
        by_partition: dict[int, list[bytes]] = defaultdict(list)
        for name, record in records.items():
            by_partition[partition_of(name, PARTITIONS)].append(encode(record))
        for partition, lines in by_partition.items():
            self._produce(topic, lines, partition)
        if wait:
            self.settle()
        self._producer.poll(0)

    def store(self, table: str, records: Iterable[Record]) -> None:
        lines = b"\n".join(encode(record) for record in records)
        if lines:
            insert_lines(self.client, self.settings.clickhouse, table, lines, uuid.uuid4().hex)

    def commit(self, component: str, *topics: str) -> None:
        """The component has committed all that was written to these topics."""
        group = f"{self.topics.prefix}-{component}"
        consumer = Consumer(client_options(self.settings.kafka, "test") | {"group.id": group})
        offsets = [TopicPartition(*place, end) for place, end in self.ends.items() if place[0] in topics]
        consumer.commit(offsets=offsets, asynchronous=False)
        consumer.close()

    # Whole steps

    def mirror(self, ids: Iterable[str]) -> None:
        """These requests, with their served responses, and the mirror's word on them."""
        ids = list(ids)
        self.ids += ids
        self.send(self.topics.requests, {name: self.request(name) for name in ids})
        self.send(self.topics.served, {name: self.response(name, "served") for name in ids})
        cells = self.cells(len(self.ids), mirrored=len(self.ids))
        self.write(self.topics.ledger, [encode(cell) for cell in cells], 0)
        self.store("ledger_log", cells)
        self.commit("sink", self.topics.ledger)

    def work(self, ids: Iterable[str]) -> None:
        self.send(self.topics.shadow, {name: self.response(name, "shadow") for name in ids})
        self.commit("worker", self.topics.requests)

    def match(self, ids: Iterable[str]) -> None:
        self.send(self.topics.pairs, {name: self.pair(name) for name in ids})
        self.commit("pairing", self.topics.served, self.topics.shadow)

    def sink(self, ids: Iterable[str]) -> None:
        self.store("pair_log", [self.pair(name) for name in ids])
        self.commit("sink", self.topics.pairs)

    def bury(self, topic: str, partition: int, offset: int, line: bytes, component: str) -> None:
        """A dead letter of one line, in Kafka alone."""
        letter = dead_letter(
            line,
            "why",
            component=component,
            topic=topic,
            partition=partition,
            offset=offset,
            number=0,
            ts=MINUTE,
        )
        self.write(self.topics.dead_letters, [encode(letter)], 0)

    def audit(self, scope: Scope | None = None) -> Audit:
        return audit(self.settings, scope or Scope(), settle_s=0.1)
