"""Records as they were written before they said who served: they are in Kafka for days after an upgrade."""

from typing import Any

import orjson

from shadowlane.processors.arms import served_arm
from shadowlane.processors.pairing.envelopes import Envelope
from shadowlane.processors.pairing.join import Join
from shadowlane.processors.pairing.matching import Matching
from shadowlane.processors.pairing.records import pair_of, read, to_score
from shadowlane.schemas.codec import decode
from shadowlane.schemas.config import Rollout
from shadowlane.schemas.events import DeadLetter, LedgerCell, MirroredRequest, Pair, Role

ROLLOUT = Rollout.model_validate({"name": "r", "candidate": {"base_url": "http://c", "model": "new"}})
COMMON: dict[str, Any] = {"request_id": "a", "ts": 5, "service": "s", "route": "/r", "schema_version": 1}
REQUEST = COMMON | {
    "protocol": "openai.chat",
    "key": "k",
    "model": "old",
    "body": {"model": "old"},
    "attributes": {"tenant": "t"},
    "traceparent": "",
}
RESPONSE = COMMON | {
    "completed_at": 6,
    "role": "served",
    "arm": "",
    "rollout": "",
    "epoch": "",
    "model": "old",
    "output": "text",
    "tool_calls": None,
    "finish_reason": "stop",
    "error": "",
    "error_message": "",
    "status": 200,
    "latency_ms": 1.5,
    "ttft_ms": None,
    "input_tokens": 1,
    "output_tokens": 2,
    "attempts": 1,
    "request": None,
    "attributes": {"tenant": "t"},
    "traceparent": "",
}
SHADOW = RESPONSE | {
    "role": "shadow",
    "arm": "candidate",
    "rollout": "r",
    "epoch": ROLLOUT.epoch,
    "model": "new",
    "request": {"model": "new"},
}


def test_an_older_request_is_one_that_the_stable_version_served() -> None:
    request = decode(MirroredRequest, orjson.dumps(REQUEST))
    assert (request.key, request.arm, request.stage) == ("k", "", "")
    assert served_arm(ROLLOUT, request.arm, request.model) == "stable"


def test_older_halves_make_the_pair_that_they_made() -> None:
    join = Join(Matching([ROLLOUT]), 10.0)
    served, shadow = read(Role.SERVED, orjson.dumps(RESPONSE)), read(Role.SHADOW, orjson.dumps(SHADOW))
    join.take(Envelope(Role.SERVED, 0, 0, lambda: None), served, 1, 0.0)
    match = join.take(Envelope(Role.SHADOW, 0, 0, lambda: None), shadow, 1, 0.0)
    assert match is not None
    assert to_score(match) == ({"model": "new"}, served, shadow)
    pair = pair_of(match, None)
    assert (pair.outcome, pair.served_arm, pair.stable_model, pair.candidate_model) == (
        "scored",
        "stable",
        "old",
        "new",
    )
    assert (pair.stage, pair.key, pair.stable_fingerprint, pair.candidate_fingerprint) == (
        "shadow",
        "",
        "",
        "",
    )


def test_other_older_records_are_read() -> None:
    pair = COMMON | {"pair_id": "a:r:e", "rollout": "r", "epoch": "e", "stage": "shadow", "completed_at": 6}
    older = decode(Pair, orjson.dumps(pair | {"outcome": "scored", "stable_model": "old"}))
    assert (older.served_arm, older.key, older.stable_fingerprint) == ("", "", "")
    letter = {"dead_letter_id": "x", "ts": 1, "component": "worker", "reason": "r", "source_topic": "t"}
    letter |= {"source_partition": 0, "source_offset": 1, "source_line": 0}
    assert decode(DeadLetter, orjson.dumps(letter)).payload == ""
    cell = {"instance": "i", "minute": 0, "service": "s", "route": "/", "row": "eligible", "count": 3}
    assert decode(LedgerCell, orjson.dumps(cell)).count == 3
