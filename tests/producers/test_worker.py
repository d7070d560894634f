"""The worker and the books, under every order of coming, refusing, failing and closing."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.producers.buffer import Buffer
from shadowlane.producers.ledger import Drop, Ledger, Row
from shadowlane.producers.pipeline import ROUND_MAX_S, ROUND_S, wait_s
from shadowlane.producers.worker import RECORD_MAX_BYTES, Worker
from shadowlane.schemas.codec import ENVELOPE_MAX_BYTES, unpack
from shadowlane.schemas.topics import Topics, partition_of
from tests.producers.support import FakeLink, Sent

TOPICS = Topics()


class Thing:
    def __init__(self, number: int, size: int, now: float) -> None:
        self.request_id = f"r{number}"
        self.ts = 1_700_000_000_000 + number * 7_000
        self.service = "shop"
        self.route = f"/route/{number % 3}"
        self.cost = size
        self.queued_at = now

    def charge(self) -> int:
        return 0


def encode(thing: Thing, route: str) -> tuple[bytes, bytes]:
    if thing.cost == 13:
        raise ValueError("has no form")
    line = json.dumps({"request_id": thing.request_id, "ts": thing.ts, "x": "y" * thing.cost}).encode()
    return line, line


class Bench:
    def __init__(self, limit: int = 100_000, partitions: int = 4) -> None:
        self.buffer: Buffer[Thing] = Buffer(Ledger("m1"), limit)
        self.link = FakeLink(partitions)
        self.reports: Counter[str] = Counter()
        self.worker = Worker(
            self.buffer,
            encode,
            self.link,
            TOPICS,
            hold_s=60.0,
            report=lambda kind, text: self.reports.update([kind]),
        )
        self.made = 0
        self.now = 0.0

    def come(self, size: int = 100) -> None:
        thing = Thing(self.made, size, self.now)
        self.made += 1
        if self.buffer.reserve(size):
            self.buffer.put(thing)
        else:
            self.buffer.refuse(thing.ts, thing.service, thing.route, Drop.BUFFER_FULL)

    def step(self, seconds: float = 0.06, *, urgent: bool = False) -> None:
        self.now += seconds
        self.worker.step(self.now, urgent=urgent)

    def check(self) -> None:
        ledger = self.buffer.ledger
        settled = sum(ledger.total(row) for row in (Row.SAMPLED_OUT, Row.DROPPED, Row.MIRRORED))
        assert self.buffer.eligible() == settled + self.buffer.pending == self.made
        assert self.buffer.pending >= 0
        assert self.buffer.reserved >= 0

    def ids(self, topic: str) -> Counter[str]:
        return Counter(
            json.loads(line)["request_id"]
            for name, _, value in self.link.acknowledged
            if name == topic
            for _, line in unpack(value)
        )


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.sampled_from([13, 50, 400, 30_000])),
        st.tuples(st.just("sample"), st.just(0)),
        st.tuples(st.just("step"), st.integers(0, 70_000)),  # milliseconds
        st.tuples(st.just("room"), st.sampled_from([0, 1, 3, 10_000])),
        st.tuples(st.just("reachable"), st.booleans()),
        st.tuples(st.just("fate"), st.sampled_from(["", "no", "requests no", "served no", "wait"])),
        st.tuples(st.just("partitions"), st.sampled_from([0, 1, 4, 5])),
    ),
    max_size=60,
)
FATES = {
    "": lambda topic: "",
    "no": lambda topic: "timed out",
    "requests no": lambda topic: "timed out" if topic == TOPICS.requests else "",
    "served no": lambda topic: "timed out" if topic == TOPICS.served else "",
    "wait": lambda topic: None,
}


@given(ACTIONS, st.booleans())
def test_the_books_add_up_at_every_moment(actions: list[tuple[str, int]], heals: bool) -> None:
    bench = Bench()
    for action, value in actions:
        if action == "come":
            bench.come(value)
        elif action == "sample":
            bench.made += 1
            bench.buffer.sample_out(1_700_000_000_000, "shop", "/")
        elif action == "step":
            bench.step(value / 1000)
        elif action == "room":
            bench.link.room = value
        elif action == "reachable":
            bench.link.reachable = bool(value)
        elif action == "fate":
            bench.link.fate = FATES[str(value)]
        else:
            bench.link.topics[TOPICS.requests] = bench.link.topics[TOPICS.served] = value
        bench.check()
    if heals:
        bench.link.room, bench.link.reachable, bench.link.fate = 10_000, True, lambda topic: ""
        bench.link.topics = {t: 4 for t in (TOPICS.requests, TOPICS.served, TOPICS.ledger)}
        for _ in range(5):
            bench.step(61, urgent=True)
        assert bench.worker.settled()
        assert bench.worker.idle()
    else:
        bench.worker.abandon(Drop.SHUTDOWN)
    bench.check()
    assert bench.buffer.pending == bench.buffer.reserved == 0
    # Mirrored is what Kafka has at least one half of; nothing is there twice.
    requests, served = bench.ids(TOPICS.requests), bench.ids(TOPICS.served)
    assert all(count == 1 for count in [*requests.values(), *served.values()])
    assert bench.buffer.ledger.total(Row.MIRRORED) == len({*requests, *served})
    if heals:  # and the ledger in Kafka says the same
        rows = Sent([m for m in bench.link.acknowledged if m[0] == TOPICS.ledger]).rows
        assert rows["eligible"] == bench.made
        assert rows["mirrored"] == len({*requests, *served})
        assert rows["sampled_out"] + rows["dropped"] + rows["mirrored"] == bench.made


@given(st.lists(st.integers(0, 200_000), max_size=40), st.integers(1, 7))
def test_envelopes_hold_one_partition_twice_and_stay_small(sizes: list[int], partitions: int) -> None:
    bench = Bench(limit=10**9, partitions=partitions)
    for size in sizes:
        bench.come(size if size != 13 else 14)
    bench.step(urgent=True)
    bench.step(urgent=True)
    twins: dict[str, list[tuple[int, list[str]]]] = {TOPICS.requests: [], TOPICS.served: []}
    for topic, partition, value in bench.link.acknowledged:
        if topic != TOPICS.ledger:
            lines = [line for _, line in unpack(value)]
            ids = [json.loads(line)["request_id"] for line in lines]
            assert {partition_of(i, partitions) for i in ids} == {partition}
            assert len(value) <= ENVELOPE_MAX_BYTES or len(lines) == 1
            twins[topic].append((partition, ids))
    assert twins[TOPICS.requests] == twins[TOPICS.served]
    assert sum(len(ids) for _, ids in twins[TOPICS.requests]) == len(sizes)


def test_it_waits_for_company_but_not_longer_than_50_ms() -> None:
    bench = Bench(partitions=1)
    bench.step(0.001)
    bench.come()
    bench.step(0.001)
    bench.come()
    bench.step(0.03)
    assert not bench.ids(TOPICS.requests)
    bench.step(0.03)
    assert len([m for m in bench.link.acknowledged if m[0] == TOPICS.requests]) == 1
    assert bench.ids(TOPICS.requests) == {"r0": 1, "r1": 1}


def test_what_waits_too_long_for_kafka_is_dropped_oldest_first() -> None:
    bench = Bench()
    bench.link.reachable = False
    bench.come()
    bench.step(50)
    bench.come()
    bench.step(11)
    assert bench.buffer.ledger.dropped() == {"unreachable": 1}
    bench.link.reachable = True
    bench.step(2, urgent=True)
    assert bench.ids(TOPICS.requests) == {"r1": 1}


def test_topics_that_differ_in_partitions_are_told_and_not_written() -> None:
    bench = Bench()
    bench.link.topics[TOPICS.served] = 5
    bench.come()
    bench.step()
    assert bench.reports["topics"] == 1
    assert not bench.link.acknowledged
    assert not bench.worker.connected


def test_a_record_over_kafkas_limit_is_dropped_as_too_large() -> None:
    bench = Bench(limit=10**8)
    bench.come(RECORD_MAX_BYTES + 1)
    bench.come(10)
    bench.step(urgent=True)
    assert bench.buffer.ledger.dropped() == {"too_large": 1}
    assert bench.ids(TOPICS.requests) == {"r1": 1}


def test_a_service_at_rest_asks_kafka_nothing() -> None:
    bench = Bench()
    bench.link.reachable = False
    bench.step()
    bench.link.partitions = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    for _ in range(5):
        bench.step(10)


def test_while_kafkas_client_is_full_requests_stay_in_the_buffer_unencoded() -> None:
    bench = Bench()
    bench.link.room = 0
    bench.come()
    bench.step(urgent=True)
    bench.come()
    bench.step(urgent=True)
    assert bench.buffer.queued() == 1
    bench.link.room = 10
    bench.step(urgent=True)
    bench.step(urgent=True)
    assert sum(bench.ids(TOPICS.requests).values()) == 2


@given(st.lists(st.integers(0, 100_000), max_size=30))
def test_rounds_are_as_long_as_fifty_requests_take_to_come(came: list[int]) -> None:
    waited = ROUND_S
    for count in came:
        waited = wait_s(waited, count)
        assert ROUND_S <= waited <= ROUND_MAX_S
    for rate, seconds in ((100, ROUND_MAX_S), (2_000, 0.025), (100_000, ROUND_S)):
        for _ in range(3):
            waited = wait_s(waited, round(rate * waited))
        assert waited == pytest.approx(seconds, rel=0.02)
