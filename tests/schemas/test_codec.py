"""Records survive the way to bytes and back; what can't be read is refused with its reason, line by line."""

import dataclasses
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.errors import CodecError
from shadowlane.schemas import codec
from shadowlane.schemas.events import (
    SCHEMA_VERSION,
    BudgetEntry,
    DeadLetter,
    LedgerCell,
    MirroredRequest,
    Pair,
    Response,
    Stop,
    pair_id,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
integers = st.integers(-(2**63), 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | integers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)


def records(kind: Any) -> st.SearchStrategy[Any]:
    by_type: dict[Any, st.SearchStrategy[Any]] = {
        str: text.filter(bool),
        int: integers,
        float: st.floats(allow_nan=False, allow_infinity=False),
        int | None: st.none() | integers,
        float | None: st.none() | st.floats(allow_nan=False, allow_infinity=False),
        dict[str, str]: st.dictionaries(text, text, max_size=3),
        dict[str, int]: st.dictionaries(text, integers, max_size=3),
        dict[str, int] | None: st.none() | st.dictionaries(text, integers, max_size=3),
        dict[str, float]: st.dictionaries(text, st.floats(0, 1), max_size=3),
        list[str]: st.lists(text, max_size=3),
        bool: st.booleans(),
    }
    times = dict.fromkeys(("ts", "completed_at", "minute"), st.integers(0, codec.TIME_END - 1))
    fields = {
        f.name: times.get(f.name, by_type.get(f.type, json_values))
        for f in dataclasses.fields(kind)
        if f.name != "schema_version"
    }
    return st.builds(kind, **fields)


@given(
    st.one_of(
        records(MirroredRequest),
        records(Response),
        records(Pair),
        records(DeadLetter),
        records(LedgerCell),
        records(BudgetEntry),
        records(Stop),
    )
)
def test_a_record_comes_back_as_it_went(record: codec.T) -> None:
    assert codec.decode(type(record), codec.encode(record)) == record


@given(st.lists(records(MirroredRequest), max_size=5))
def test_an_envelope_holds_its_records_in_order(sent: list[MirroredRequest]) -> None:
    envelope = codec.pack(codec.encode(record) for record in sent)
    lines = list(codec.unpack(envelope))
    assert [codec.decode(MirroredRequest, line) for _, line in lines] == sent
    assert [number for number, _ in lines] == list(range(len(sent)))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(noise: bytes) -> None:
    for _, line in codec.unpack(noise):
        with pytest.raises(CodecError):
            codec.decode(MirroredRequest, line)


MINIMAL = {"request_id": "r1", "ts": 1, "service": "s", "route": "/r", "protocol": "json"}


def line(**changes: object) -> bytes:
    return orjson.dumps({k: v for k, v in (MINIMAL | changes).items() if v is not ...})


def test_what_is_not_known_yet_is_left_out_and_defaults_fill_in() -> None:
    record = codec.decode(MirroredRequest, line(colour="blue"))
    assert record == MirroredRequest(request_id="r1", ts=1, service="s", route="/r", protocol="json")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"request_id": "r1", "ts"', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"ts": NaN}', "not JSON"),
        (b'{"request_id": "\\ud800"}', "not JSON"),
        (b"[" * 2000 + b"]" * 2000, "not JSON"),
        (b"null", "this is null"),
        (b"[1]", "this is an array"),
        (line(ts=...), "MirroredRequest.ts is missing"),
        (line(ts="1"), "MirroredRequest.ts can't be a string"),
        (line(ts=True), "MirroredRequest.ts can't be a boolean"),
        (line(request_id=""), "MirroredRequest.request_id is empty"),
        (line(attributes={"a": 1}), "MirroredRequest.attributes may hold strings alone"),
        (line(schema_version=SCHEMA_VERSION + 1), "is newer than"),
        (line(schema_version="x"), "is no version"),
        (line(schema_version=[]), "is no version"),
        (line(ts=-1), "MirroredRequest.ts is -1: no time"),
        (line(ts=1_700_000_000_000_000), "no time in Unix milliseconds"),
        (line(request_id="r" * 1001), "request_id is longer than 1000"),
    ],
)
def test_a_line_that_cant_be_read_says_why(bad: bytes, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        codec.decode(MirroredRequest, bad)


def test_an_older_version_is_brought_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "SCHEMA_VERSION", 3)
    monkeypatch.setitem(codec.UPGRADES, (MirroredRequest, 1), lambda raw: raw | {"route": raw["path"]})
    monkeypatch.setitem(codec.UPGRADES, (MirroredRequest, 2), lambda raw: raw | {"protocol": "json"})
    old = line(route=..., protocol=..., path="/old", schema_version=1)
    record = codec.decode(MirroredRequest, old)
    assert (record.route, record.protocol, record.schema_version) == ("/old", "json", 3)


@pytest.mark.parametrize("value", [2**70, "\ud800"])
def test_what_json_has_no_form_for_is_refused_in_writing(value: object) -> None:
    with pytest.raises(CodecError, match="can't encode MirroredRequest"):
        codec.encode(MirroredRequest(**MINIMAL, body={"x": value}))  # type: ignore[arg-type]


def test_a_dead_letter_keeps_the_record_as_it_came() -> None:
    cut = b'{"request_id":"r-77","ts":'
    kept = codec.dead_letter(
        cut, "not JSON", component="worker", topic="t", partition=2, offset=9, number=3, ts=5
    )
    assert (kept.payload, kept.payload_encoding, kept.request_id) == (cut.decode(), "utf-8", "r-77")
    assert kept.dead_letter_id.startswith("t:2:9:3:")
    again = codec.dead_letter(
        b"\xff\xfe", "not JSON", component="worker", topic="t", partition=2, offset=9, number=3, ts=5
    )
    assert (again.payload, again.payload_encoding, again.request_id) == ("//4=", "base64", "")
    assert again.dead_letter_id != kept.dead_letter_id, "the same place in a broker that began again"


def test_a_dead_letter_of_a_huge_record_is_cut_and_says_how_long_it_was() -> None:
    huge = codec.dead_letter(
        b"x" * 20_000_000, "too long", component="worker", topic="t", partition=0, offset=0, number=0, ts=0
    )
    assert len(huge.payload) == codec.DEAD_LETTER_MAX_BYTES
    assert huge.payload_bytes == 20_000_000


@pytest.mark.parametrize("field", ["schema_version", "request_id"])
def test_a_dead_letter_is_small_whatever_was_wrong(field: str) -> None:
    huge = line(**{field: "x" * 5_000_000})
    with pytest.raises(CodecError) as refused:
        codec.decode(MirroredRequest, huge)
    for reason in (str(refused.value), "x" * 5_000_000):
        letter = codec.dead_letter(
            huge, reason, component="worker", topic="t", partition=0, offset=0, number=0, ts=0
        )
        assert len(codec.encode(letter)) < codec.DEAD_LETTER_MAX_BYTES + 3000


def test_pair_ids_are_made_of_request_rollout_and_epoch_alone() -> None:
    assert pair_id("r1", "to-b", "e1") == pair_id("r1", "to-b", "e1")
    assert len({pair_id("r1", "to-b", "e1"), pair_id("r1", "to-b", "e2"), pair_id("r2", "to-b", "e1")}) == 3


def field_by_field(kind: Any, line: bytes) -> Any:
    """What decode is to do, written without its short cut for the shapes that it has seen."""
    raw = orjson.loads(line)
    if not isinstance(raw, dict):
        raise CodecError("not an object")
    if type(raw.get("schema_version", 1)) is not int or raw.get("schema_version", 1) != SCHEMA_VERSION:
        raise CodecError("another version")
    names = {f.name: f for f in dataclasses.fields(kind)}
    may_be = {
        str: (str,),
        int: (int,),
        float: (int, float),
        int | None: (int, type(None)),
        float | None: (int, float, type(None)),
        dict[str, str]: (dict,),
        dict[str, float]: (dict,),
        list[str]: (list,),
        Any: (str, int, float, bool, list, dict, type(None)),
    }
    values = {name: value for name, value in raw.items() if name in names}
    if any(type(value) not in may_be[names[name].type] for name, value in values.items()):  # type: ignore[index]
        raise CodecError("wrong type")
    try:
        record = kind(**values)
    except TypeError as exc:
        raise CodecError("missing") from exc
    if not all(type(value) is str for value in record.attributes.values()):
        raise CodecError("attributes")
    if not all(type(value) is str for value in getattr(record, "left_out", [])):
        raise CodecError("left_out")
    times = [record.ts, getattr(record, "completed_at", 0)]
    if not 0 < len(record.request_id) <= 1000 or not all(0 <= time < codec.TIME_END for time in times):
        raise CodecError("id or time")
    return record


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Any, bytes]:
    """A line of a whole record, with up to two of its fields out of their place, their type, or left out."""
    kind = draw(st.sampled_from([MirroredRequest, Response, Pair]))
    raw = orjson.loads(codec.encode(draw(records(kind))))
    for name in draw(st.lists(st.sampled_from([*raw, "unknown"]), max_size=2, unique=True)):
        raw.pop(name, None)
        if draw(st.integers(0, 3)):  # back at the end, as anything
            odd: st.SearchStrategy[Any] = st.sampled_from(
                [True, 0, 1, 1.0, "", "1", None, [], {}, {"a": "b"}, {"a": 1}, -1, 2**62]
            )
            raw[name] = draw(odd)
    return kind, orjson.dumps(raw)


@given(damaged())
def test_a_shape_that_was_seen_is_checked_no_less(case: tuple[Any, bytes]) -> None:
    kind, line = case
    for _ in range(2):  # the second time, its shape may be known
        try:
            expected = field_by_field(kind, line)
        except CodecError:
            with pytest.raises(CodecError):
                codec.decode(kind, line)
        else:
            got = codec.decode(kind, line)
            assert got == expected
            assert codec.encode(got) == codec.encode(expected)  # 1 == True, and they are not the same


def test_no_more_shapes_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "SHAPES_MAX", 3)
    monkeypatch.setattr(codec._FIELDS[MirroredRequest], "shapes", {})
    whole = orjson.loads(codec.encode(MirroredRequest(**MINIMAL)))  # type: ignore[arg-type]
    for place in range(8):
        names = [*whole][place:] + [*whole][:place]
        assert codec.decode(MirroredRequest, orjson.dumps({name: whole[name] for name in names})).ts == 1
    assert len(codec._FIELDS[MirroredRequest].shapes) == 3


def test_an_upgrade_does_not_vouch_for_the_shape_that_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "SCHEMA_VERSION", 2)
    monkeypatch.setitem(codec.UPGRADES, (MirroredRequest, 1), lambda raw: raw | {"ts": int(raw["ts"])})
    whole = orjson.loads(codec.encode(MirroredRequest(**MINIMAL))) | {"ts": "7"}  # type: ignore[arg-type]
    assert codec.decode(MirroredRequest, orjson.dumps(whole | {"schema_version": 1})).ts == 7
    with pytest.raises(CodecError, match="can't be a string"):
        codec.decode(MirroredRequest, orjson.dumps(whole | {"schema_version": 2}))
