"""What can be replayed and where to, and the other half that the store gives back. No Kafka, no store."""

import dataclasses
from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.dead_letters.halves import half_of
from shadowlane.processors.dead_letters.letters import Letter
from shadowlane.processors.dead_letters.replay import partition_for, refusal
from shadowlane.processors.dead_letters.selection import Selection, State
from shadowlane.processors.pairing.join import Match
from shadowlane.processors.pairing.records import KEPT_TEXT, pair_of, shortened
from shadowlane.schemas.codec import decode, encode
from shadowlane.schemas.config import Rollout
from shadowlane.schemas.events import Arm, Response, Role
from shadowlane.schemas.topics import Topics, partition_of

ROLLOUT = Rollout.model_validate({"name": "r", "candidate": {"base_url": "http://c"}})
TOPICS = Topics("t")


def letter(payload: bytes | None = b"{}", **changes: Any) -> Letter:
    values: dict[str, Any] = {field.name: "" for field in dataclasses.fields(Letter)}
    values |= {"ts": datetime(2026, 3, 1), "source_topic": TOPICS.requests, "source_partition": 7}
    values |= {"source_offset": 1, "source_line": 0, "replayed_at": None, "purged_at": None}
    values |= {"payload": payload, "payload_bytes": len(payload or b""), "state": State.OPEN}
    return Letter(**values | changes)


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (letter(), ""),
        (letter(state=State.REPLAYED), ""),
        (letter(b""), ""),
        (letter(None, state=State.PURGED), "purged"),
        (letter(payload_bytes=200_000), "2 of its 200,000 bytes"),
        (letter(source_topic="elsewhere.requests"), "elsewhere.requests is not one of"),
    ],
)
def test_what_can_not_be_replayed_says_why(one: Letter, why: str) -> None:
    said = refusal(one, TOPICS.all)
    assert why in said
    assert bool(why) == bool(said)


@pytest.mark.parametrize(
    ("one", "partition"),
    [
        (letter(b'{"request_id": "a:b \xc3\xa9"}', request_id=""), partition_of("a:b é", 4)),
        (letter(b'{"body": {"request_id": "inner"}, "request_id": "outer"}'), partition_of("outer", 4)),
        (letter(b'{"request_id": "torn", ', request_id="torn"), partition_of("torn", 4)),
        (letter(b'{"request_id": 5}', request_id="x"), partition_of("x", 4)),
        (letter(b"[]"), 3),
        (letter(b"\xff"), 3),
    ],
)
def test_it_goes_to_the_partition_of_its_request(one: Letter, partition: int) -> None:
    assert partition_for(one, 4) == partition


texts = st.text(max_size=20)
values = st.fixed_dictionaries(
    {
        "request_id": st.text("abc", min_size=1),
        "ts": st.integers(0, 4_102_444_799_999),
        "completed_at": st.integers(0, 4_102_444_799_999),
        "service": texts,
        "route": texts,
        "model": texts,
        "served_model": texts,
        "output": texts,
        "tool_calls": st.none() | st.just([{"name": "f", "arguments": "{}"}]),
        "finish_reason": texts,
        "error": texts,
        "error_message": texts,
        "status": st.integers(0, 599),
        "latency_ms": st.floats(0, 1e6),
        "ttft_ms": st.none() | st.floats(0, 1e6),
        "input_tokens": st.none() | st.integers(0, 10**6),
        "output_tokens": st.none() | st.integers(0, 10**6),
        "output_bytes": st.integers(0, 10**6),
        "request_bytes": st.integers(0, 10**6),
        "key": texts,
        "stage": st.text("abc", min_size=1),
        "attributes": st.dictionaries(texts, texts, max_size=2),
        "traceparent": texts,
    }
)


@given(
    values,
    st.sampled_from([Role.SERVED, Role.SHADOW]),
    st.sampled_from(Arm),
    st.none() | st.just({"q": [1, "é"]}),
)
def test_the_half_that_went_out_alone_comes_back_as_it_was(
    fields: dict[str, Any], side: Role, arm: Arm, body: Any
) -> None:
    half = Response(**fields, role=side, arm=arm)
    if side is Role.SHADOW:
        half = dataclasses.replace(
            half, rollout="r", epoch="e", request=body, fingerprint="f", served_fingerprint="g"
        )
    served, shadow = (half, None) if side is Role.SERVED else (None, half)
    pair = pair_of(Match("id", ROLLOUT, "e", served, shadow, []), None)
    again = half_of(stored(pair))
    assert again is not None
    told = dataclasses.replace(
        half,
        output_bytes=half.output_bytes or len(half.output.encode()),
        request_bytes=half.request_bytes or (len(orjson.dumps(half.request)) if half.request else 0),
    )
    assert decode(Response, encode(again)) == told


def test_a_half_whose_text_was_cut_is_none() -> None:
    half = Response(
        request_id="a",
        ts=1,
        completed_at=2,
        service="s",
        route="/",
        role="served",
        output="x" * 2 * KEPT_TEXT,
    )
    pair = pair_of(Match("id", ROLLOUT, "e", half, None, []), None)
    assert half_of(stored(pair)) is not None
    assert half_of(stored(shortened(pair))) is None


def stored(pair: Any) -> dict[str, Any]:
    """The row as the store gives it: JSON values as their texts."""
    row = dataclasses.asdict(pair)
    for name in ("request", "stable_tool_calls", "candidate_tool_calls"):
        row[name] = "" if row[name] is None else orjson.dumps(row[name]).decode()
    for arm in Arm:
        row[f"{arm}_bytes"] = row[f"{arm}_output_bytes"] or len(row[f"{arm}_output"].encode()) or None
    row["request_bytes"] = row["request_bytes"] or len(row["request"].encode()) or None
    return row | {"at_ms": row["ts"], "completed_ms": row["completed_at"]}


def test_a_selection_binds_what_it_is_given_and_splices_nothing() -> None:
    nasty = "' OR 1 --"
    where, parameters = Selection(component=nasty, reason=nasty, since=1, states=(State.OPEN,)).where()
    assert nasty not in where
    assert parameters == {"component": nasty, "reason": nasty, "since": 1, "states": ["open"]}
    assert Selection().where() == ("1", {})
    assert Selection(states=(State.OPEN,)).takes_all
    assert not Selection(request_id="q").takes_all
