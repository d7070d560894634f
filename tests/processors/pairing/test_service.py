"""The loop without Kafka: what is acknowledged when, and what happens to what goes wrong."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from shadowlane.errors import BrokerError, PoisonError
from shadowlane.processors.pairing.records import KEPT_TEXT
from shadowlane.processors.pairing.service import Pairing
from shadowlane.processors.produce import Done, RecordTooLargeError
from shadowlane.schemas.codec import decode, encode, pack
from shadowlane.schemas.config import DeadLetters, Settings
from shadowlane.schemas.events import DeadLetter, Pair, Response, Role

SETTINGS = Settings.model_validate(
    {
        "pairing": {"wait_s": 10, "max_waiting_bytes": 2**20},
        "rollouts": [
            {
                "name": "r",
                "match": {"service": "shop"},
                "candidate": {"base_url": "http://c", "model": "new"},
            },
            {
                "name": "gold",
                "match": {"service": "bank", "attributes": {"tier": "gold"}},
                "candidate": {"base_url": "http://c"},
            },
        ],
    }
)
EPOCH = SETTINGS.rollouts[0].epoch
TOPICS = SETTINGS.kafka.topics


@dataclass
class Said:
    """What a fake scorer set says."""

    stable: dict[str, float] = field(default_factory=lambda: {"answered": 1.0})
    candidate: dict[str, float] = field(default_factory=lambda: {"answered": 0.0, "exact": 0.0})
    stable_quality: float | None = 1.0
    candidate_quality: float | None = 0.0
    quality_difference: float | None = -1.0
    failed: dict[str, str] = field(default_factory=dict)


class FakeScorers:
    def __init__(self) -> None:
        self.says = Said()
        self.asked: list[tuple[Any, str, str]] = []

    def score(self, request_body: Any, stable: Response, candidate: Response) -> Said:
        self.asked.append((request_body, stable.output, candidate.output))
        return self.says


class Harness:
    """Pairing on a producer that keeps what it gets, and a clock that is set by hand."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.sent: list[tuple[str, int, bytes, Done]] = []
        self.acknowledged: list[tuple[str, int]] = []
        self.offsets = {Role.SERVED: 0, Role.SHADOW: 0}
        self.now = 0.0
        self.woken = 0
        self.scorers = FakeScorers()
        self.pairing = Pairing(
            settings,
            {"r": self.scorers},
            self,
            dict.fromkeys(TOPICS.all, 4),
            monotonic=lambda: self.now,
            wall=lambda: 77,
            wake=self.wake,
        )

    def wake(self) -> None:
        self.woken += 1

    def send_many(self, topic: str, records: Iterable[tuple[int, bytes, Done]]) -> None:
        self.sent += [(topic, *record) for record in records]

    def read(self, side: Role, *lines: bytes, value: bytes | None = b"") -> None:
        offset = self.offsets[side]
        self.offsets[side] += 1
        acknowledge: Callable[[], object] = lambda: self.acknowledged.append((side, offset))  # noqa: E731
        self.pairing.take(side, 0, offset, pack(lines) if lines else value, acknowledge)

    def answer(self, error: Exception | None = None) -> None:
        """What was sent is acknowledged by Kafka, or is not."""
        sent, self.sent = self.sent, []
        self.pairing.told([done for *_, done in sent], error)
        self.pairing.settle()

    def pairs(self) -> list[Pair]:
        return [decode(Pair, line) for topic, _, line, _ in self.sent if topic == TOPICS.pairs]


@pytest.fixture
def harness() -> Harness:
    return Harness()


def served(request_id: str, **changes: Any) -> bytes:
    values: dict[str, Any] = {"service": "shop", "route": "/", "role": "served", "output": "stable"}
    values |= {"request_id": request_id, "ts": 1, "completed_at": 5}
    return encode(Response(**values | changes))


def shadow(request_id: str, **changes: Any) -> bytes:
    values: dict[str, Any] = {
        "role": "shadow",
        "arm": "candidate",
        "output": "candidate",
        "request": {"q": 1},
    }
    return served(request_id, **{"rollout": "r", "epoch": EPOCH, "completed_at": 9} | values | changes)


def test_envelopes_are_acknowledged_in_order_once_all_their_pairs_are_written(harness: Harness) -> None:
    harness.read(Role.SERVED, served("a"), served("b"))
    harness.read(Role.SERVED, served("c"))
    harness.read(Role.SHADOW, shadow("c"))
    harness.read(Role.SHADOW, shadow("a"))
    harness.answer()
    assert harness.acknowledged == [("shadow", 0), ("shadow", 1)]  # served 1 is done, and behind served 0
    harness.read(Role.SHADOW, shadow("b"))
    assert len(harness.acknowledged) == 2  # the pair is sent, and Kafka has not answered
    harness.answer()
    assert sorted(harness.acknowledged[2:]) == [("served", 0), ("served", 1), ("shadow", 2)]
    assert [offset for side, offset in harness.acknowledged if side == "served"] == [0, 1]


def test_a_services_clock_has_no_say_in_when_a_pair_was_complete(harness: Harness) -> None:
    harness.read(Role.SERVED, served("a", completed_at=5 + 86_400_000))
    harness.read(Role.SHADOW, shadow("a", completed_at=9))
    (pair,) = harness.pairs()
    assert pair.completed_at == 9


def test_a_pair_has_both_sides_and_their_scores(harness: Harness) -> None:
    harness.read(Role.SHADOW, shadow("a", latency_ms=2.0, attempts=3, error_message=""))
    harness.read(Role.SERVED, served("a", latency_ms=1.0, attributes={"tenant": "t"}, traceparent="00-1"))
    (pair,) = harness.pairs()
    assert (pair.pair_id, pair.outcome, pair.stage) == (f"a:r:{EPOCH}", "scored", "shadow")
    assert (pair.ts, pair.completed_at) == (1, 9)  # of the request; when the shadow half was complete
    assert (pair.stable_output, pair.candidate_output) == ("stable", "candidate")
    assert (pair.stable_latency_ms, pair.candidate_latency_ms, pair.candidate_attempts) == (1.0, 2.0, 3)
    assert (pair.request, pair.attributes, pair.traceparent) == ({"q": 1}, {"tenant": "t"}, "00-1")
    assert (pair.stable_scores, pair.candidate_scores) == ({"answered": 1.0}, {"answered": 0.0, "exact": 0.0})
    assert (pair.stable_quality, pair.candidate_quality, pair.quality_difference) == (1.0, 0.0, -1.0)
    assert harness.scorers.asked == [({"q": 1}, "stable", "candidate")]


def test_where_the_candidate_serves_the_arms_are_the_other_way_round(harness: Harness) -> None:
    said = {"arm": "candidate", "model": "new", "key": "k", "latency_ms": 3.0}
    harness.read(Role.SERVED, served("a", output="of the candidate", **said))
    asked = {"arm": "stable", "model": "old", "stage": "canary", "fingerprint": "f-old", "latency_ms": 4.0}
    asked |= {"served_fingerprint": "f-new"}
    harness.read(Role.SHADOW, shadow("a", output="of the stable version", **asked))
    (pair,) = harness.pairs()
    assert (pair.stable_output, pair.candidate_output) == ("of the stable version", "of the candidate")
    assert (pair.stable_model, pair.candidate_model) == ("old", "new")
    assert (pair.stable_fingerprint, pair.candidate_fingerprint) == ("f-old", "f-new")
    assert (pair.stable_latency_ms, pair.candidate_latency_ms) == (4.0, 3.0)
    assert (pair.served_arm, pair.stage, pair.key, pair.completed_at) == ("candidate", "canary", "k", 9)
    assert harness.scorers.asked == [({"q": 1}, "of the stable version", "of the candidate")]


def test_where_the_stable_version_serves_the_pair_says_so(harness: Harness) -> None:
    harness.read(Role.SERVED, served("a", model="old"))
    prints = {"fingerprint": "f-new", "served_fingerprint": "f-old"}
    harness.read(Role.SHADOW, shadow("a", key="k", **prints))
    (pair,) = harness.pairs()
    assert (pair.served_arm, pair.stage, pair.key) == ("stable", "shadow", "k")
    assert (pair.stable_fingerprint, pair.candidate_fingerprint) == ("f-old", "f-new")


@pytest.mark.parametrize(
    ("said", "model", "arm"), [("", "old", "stable"), ("", "new", "candidate"), ("stable", "new", "stable")]
)
def test_a_served_half_alone_says_who_served_as_the_worker_would(
    harness: Harness, said: str, model: str, arm: str
) -> None:
    harness.read(Role.SERVED, served("a", arm=said, model=model, output="text"))
    harness.now = 10.0
    harness.pairing.expire()
    (pair,) = harness.pairs()
    assert (pair.served_arm, getattr(pair, f"{arm}_output")) == (arm, "text")


@pytest.mark.parametrize("arm", ["stable", "candidate"])
def test_a_version_is_not_compared_with_itself(harness: Harness, arm: str) -> None:
    harness.read(Role.SERVED, served("a", arm=arm))
    harness.read(Role.SHADOW, shadow("a", arm=arm))
    (pair,) = harness.pairs()
    assert (pair.outcome, pair.reason) == ("abstained", "arms_disagree")
    assert not harness.scorers.asked


def test_a_served_half_whose_attributes_no_rollout_takes_is_in_the_ledger(harness: Harness) -> None:
    harness.read(Role.SERVED, served("a", service="bank", attributes={"tier": "silver"}, key="k", model="m"))
    (pair,) = harness.pairs()
    assert (pair.pair_id, pair.rollout, pair.epoch, pair.stage) == ("a::", "", "", "")
    assert (pair.outcome, pair.reason, pair.key) == ("unpaired", "no_rollout", "k")
    assert (pair.served_arm, pair.stable_output, pair.stable_model) == ("stable", "", "m")
    assert not harness.acknowledged
    harness.answer()
    assert harness.acknowledged == [(Role.SERVED, 0)]


@pytest.mark.parametrize(
    ("of_served", "of_shadow", "reason"),
    [("", "throttled", "throttled"), ("abandoned", "", "abandoned"), ("abandoned", "throttled", "throttled")],
)
def test_what_says_nothing_of_the_candidate_abstains(
    harness: Harness, of_served: str, of_shadow: str, reason: str
) -> None:
    harness.read(Role.SERVED, served("a", error=of_served))
    harness.read(Role.SHADOW, shadow("a", error=of_shadow))
    (pair,) = harness.pairs()
    assert (pair.outcome, pair.reason, pair.candidate_scores, pair.candidate_quality) == (
        "abstained",
        reason,
        {},
        None,
    )
    assert not harness.scorers.asked


def test_a_candidate_that_failed_is_scored(harness: Harness) -> None:
    harness.read(Role.SERVED, served("a"))
    harness.read(Role.SHADOW, shadow("a", error="timeout", output=""))
    assert [p.outcome for p in harness.pairs()] == ["scored"]


@pytest.mark.parametrize(
    ("side", "line", "reason", "filled", "empty"),
    [
        (Role.SERVED, served("a"), "no_shadow_response", "stable_output", "candidate_output"),
        (Role.SHADOW, shadow("a"), "no_served_response", "candidate_output", "stable_output"),
    ],
)
def test_a_half_alone_goes_out_when_its_time_is_over(
    harness: Harness, side: Role, line: bytes, reason: str, filled: str, empty: str
) -> None:
    harness.read(side, line)
    harness.now = 9.9
    harness.pairing.expire()
    assert not harness.sent
    harness.now = 10.0
    harness.pairing.expire()
    (pair,) = harness.pairs()
    assert (pair.outcome, pair.reason, getattr(pair, empty)) == ("unpaired", reason, "")
    assert getattr(pair, filled)
    assert not harness.acknowledged
    harness.answer()
    assert harness.acknowledged == [(side, 0)]


@pytest.mark.parametrize("value", [None, b"", b"\n \n"])
def test_a_message_without_records_is_acknowledged_at_once(harness: Harness, value: bytes | None) -> None:
    harness.read(Role.SERVED, value=value)
    assert harness.acknowledged == [("served", 0)]


DEEP = b'{"q":' * 300 + b"1" + b"}" * 300


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "an array"),
        (b'{"request_id": "x"}', "is missing"),
        (shadow("x"), "role is 'shadow'"),
        (served("x", arm="blue"), "arm is 'blue'"),
        (orjson.dumps({"schema_version": 99}), "newer"),
        (served("x", request="DEEP").replace(b'"DEEP"', DEEP), "can't encode"),
    ],
)
def test_a_line_that_cannot_be_read_is_put_aside_and_the_others_go_on(
    harness: Harness, poison: bytes, reason: str
) -> None:
    harness.read(Role.SERVED, served("a"), poison, served("b"))
    harness.read(Role.SHADOW, shadow("b"), shadow("a"))
    letters = [decode(DeadLetter, line) for topic, _, line, _ in harness.sent if topic == TOPICS.dead_letters]
    assert [(x.source_topic, x.source_offset, x.source_line) for x in letters] == [(TOPICS.served, 0, 1)]
    assert (letters[0].component, letters[0].ts) == ("pairing", 77)
    assert reason in letters[0].reason
    assert {p.request_id for p in harness.pairs()} == {"a", "b"}
    assert not harness.acknowledged  # the dead letter counts: it is not written yet
    harness.answer()
    assert sorted(harness.acknowledged) == [("served", 0), ("shadow", 0)]


def test_what_cannot_be_written_stops_pairing(harness: Harness) -> None:
    harness.read(Role.SERVED, served("a"))
    harness.read(Role.SHADOW, shadow("a"))
    with pytest.raises(BrokerError, match="pairing stops: broken"):
        harness.answer(BrokerError("broken"))
    assert not harness.acknowledged


def test_a_dead_letter_that_cannot_be_written_stops_pairing(harness: Harness) -> None:
    harness.read(Role.SERVED, b"poison")
    with pytest.raises(BrokerError, match="dead letter"):
        harness.answer(BrokerError("broken"))
    assert not harness.acknowledged


def test_a_pair_too_large_for_kafka_loses_its_texts_and_keeps_its_numbers(harness: Harness) -> None:
    harness.read(Role.SERVED, served("a", output="s" * 10**6))
    harness.read(Role.SHADOW, shadow("a", output="c" * 10**6))
    harness.answer(RecordTooLargeError("too large"))
    (pair,) = harness.pairs()
    assert (len(pair.stable_output), len(pair.candidate_output), pair.request) == (KEPT_TEXT, KEPT_TEXT, None)
    assert (pair.stable_output_bytes, pair.candidate_output_bytes) == (10**6, 10**6)
    assert pair.request_bytes > 0
    assert (pair.candidate_quality, pair.candidate_scores["exact"]) == (0.0, 0.0)
    assert not harness.acknowledged
    harness.answer()
    assert len(harness.acknowledged) == 2
    assert harness.pairing.progress()["shortened"] == 1


def test_a_pair_of_which_everything_is_too_large_fits_into_a_message(harness: Harness) -> None:
    huge = "\x00" * 300_000  # six bytes each
    texts = ("model", "output", "finish_reason", "error", "error_message", "traceparent", "key", "stage")
    names = dict.fromkeys((*texts, "fingerprint", "served_fingerprint"), huge)
    harness.read(Role.SERVED, served("a", **names, attributes={"tenant": huge}))
    harness.read(Role.SHADOW, shadow("a", **names, attributes={"tenant": huge}, tool_calls=[{"name": huge}]))
    harness.answer(RecordTooLargeError("too large"))
    (pair,) = harness.pairs()
    assert len(encode(pair)) < 1_000_000
    harness.answer()
    assert len(harness.acknowledged) == 2


def test_a_scorer_that_fails_is_said_once_and_counted(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.scorers.says = Said(failed={"mine": "ZeroDivisionError in scorer.py:3"})
    with caplog.at_level(logging.ERROR):
        for name in "abc":
            harness.read(Role.SERVED, served(name))
            harness.read(Role.SHADOW, shadow(name))
    assert len(harness.pairs()) == 3
    assert [r.getMessage() for r in caplog.records] == [
        "scorer mine of rollout r failed, so it abstains: ZeroDivisionError in scorer.py:3"
    ]
    assert harness.pairing.progress()["scorer_failures"] == 3


def test_the_same_halves_give_the_same_bytes_in_either_order() -> None:
    one, two = Harness(), Harness()
    one.read(Role.SERVED, served("a", completed_at=9))
    one.read(Role.SHADOW, shadow("a", completed_at=5))
    two.read(Role.SHADOW, shadow("a", completed_at=5))
    two.read(Role.SERVED, served("a", completed_at=9))
    assert [x[:3] for x in one.sent] == [x[:3] for x in two.sent]


def test_a_partition_is_full_at_its_share_and_has_room_once_halves_pair_or_expire(harness: Harness) -> None:
    harness.pairing.assign({0, 1})
    for number in range(10):
        harness.read(Role.SERVED, served(f"r{number}", output="x" * 60_000))
    assert harness.pairing.full((Role.SERVED, 0))  # 600 KB, of 1 MiB for two partitions
    assert not harness.pairing.full((Role.SHADOW, 0))
    harness.read(Role.SHADOW, *[shadow(f"r{number}") for number in range(5)])
    assert not harness.pairing.full((Role.SERVED, 0))
    harness.pairing.assign({0, 1, 2, 3})
    assert harness.pairing.full((Role.SERVED, 0))
    harness.now = 10.0
    harness.pairing.expire()
    assert not harness.pairing.full((Role.SERVED, 0))


def test_resolved_envelopes_behind_one_that_waits_count_too(harness: Harness) -> None:
    harness.read(Role.SERVED, served("waits"))
    for _ in range(1024):
        harness.read(Role.SERVED, served("x", service="other"))
    assert harness.pairing.full((Role.SERVED, 0))


def test_partitions_taken_away_are_never_acknowledged(harness: Harness) -> None:
    harness.read(Role.SERVED, served("a"))
    harness.read(Role.SHADOW, shadow("a"))
    harness.read(Role.SERVED, served("b"))
    harness.pairing.drop({0})
    harness.answer()
    harness.now = 99.0
    harness.pairing.expire()
    assert (harness.acknowledged, harness.sent) == ([], [])
    assert harness.pairing.progress()["unacknowledged"] == 0


def test_deliveries_are_taken_in_on_the_owners_thread_alone(harness: Harness) -> None:
    harness.read(Role.SERVED, served("a"))
    harness.read(Role.SHADOW, shadow("a"))
    (*_, done) = harness.sent[0]
    harness.pairing.told([done], None)
    assert (harness.woken, harness.acknowledged) == (1, [])
    harness.pairing.settle()
    assert len(harness.acknowledged) == 2


@pytest.mark.parametrize("side", [Role.SERVED, Role.SHADOW])
def test_too_many_that_can_not_be_read_stop_it_and_are_not_acknowledged(side: Role) -> None:
    limited = SETTINGS.model_copy(update={"dead_letters": DeadLetters(limit=2)})
    harness = Harness(limited)
    harness.read(side, b"[1]")
    harness.read(side, b"[2]")
    with pytest.raises(PoisonError, match="pairing stops: 2 records"):
        harness.read(side, b"[3]")
    harness.answer()
    assert harness.acknowledged == [(side, 0), (side, 1)]
