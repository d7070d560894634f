import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.evaluators.scorers.structure import JsonFields, json_valid, tool_calls
from tests.evaluators.scorers.answers import ANY_TEXT, answer

LEAF = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5)
DOCUMENT = st.recursive(
    st.dictionaries(st.text(max_size=3), LEAF, max_size=4) | st.lists(LEAF, max_size=4),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=12,
)
ASKED = {"response_format": {"type": "json_object"}}
FENCED = '```json\n{"a": 1}\n```'


json_fields = JsonFields()


@pytest.mark.parametrize(
    ("request_body", "stable", "candidate", "expected"),
    [
        ({}, "Paris.", "Paris.", (None, None)),
        ({}, "Paris.", '{"a": 1}', (None, None)),
        ({}, "42", "42", (None, None)),
        ({}, '{"a": 1}', '{"a": 2}', (1, 1)),
        ({}, "[1]", "[1", (1, 0)),
        ({}, '{"a": 1}', "Here you are: {}", (1, 0)),
        ({}, '{"a": 1}', FENCED, (1, 0)),  # what reads bare JSON chokes on a fence
        ({}, FENCED, FENCED, (1, 1)),
        ({}, FENCED, '{"a": 1}', (1, 1)),
        ({}, '{"a": 1}', '{"a": NaN}', (1, 0)),
        (ASKED, "Paris.", '{"a": 1}', (0, 1)),
        (ASKED, "Paris.", FENCED, (0, 0)),
        ({"response_format": {"type": "json_schema"}}, "no", "no", (0, 0)),
        ({"response_format": {"type": "text"}}, "no", "no", (None, None)),
        ({"response_format": "nonsense"}, "no", "no", (None, None)),
        (None, "no", "no", (None, None)),
    ],
)
def test_json_valid(request_body: Any, stable: str, candidate: str, expected: tuple[Any, Any]) -> None:
    assert json_valid(request_body, answer(stable), answer(candidate)) == expected


def test_a_tool_call_is_no_invalid_json() -> None:
    called = answer(tool_calls=[{"name": "f", "arguments": "{}"}])
    assert json_valid(ASKED, answer("{}"), called) == (1, None)


@pytest.mark.parametrize(
    ("stable", "candidate", "expected"),
    [
        ("Paris", "{}", None),
        ('"text"', '"text"', None),
        ('{"a": 1}', "Paris", 0),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', 1),
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 3}', 1 / 2),
        ('{"a": 1}', '{"a": 1, "b": 3}', 1 / 2),
        ('{"a": 1}', '{"a": 1.0}', 1),
        ('{"a": 1}', '{"a": true}', 0),
        ('{"a": {"b": [1, 2]}}', '{"a": {"b": [1, 3]}}', 1 / 2),
        ('{"0": 1}', "[1]", 0),
        ('{"a": []}', '{"a": {}}', 0),
        ('{"a": [1, 2]}', '{"a": [1, 2, 3, {"b": 4}]}', 2 / 4),
        ('{"a": {"b": 1, "c": 2}}', '{"a": 3}', 0),
        ('{"a": {}, "d": 1}', '{"a": {"b": 1}, "d": 1}', 1 / 2),
        ("{}", "{}", 1),
        ('{"a": 1}', FENCED, 1),
    ],
)
def test_json_fields(stable: str, candidate: str, expected: float | None) -> None:
    assert json_fields(None, answer(stable), answer(candidate)) == expected


@given(DOCUMENT, DOCUMENT)
def test_json_fields_is_symmetric_and_1_for_equal_documents(one: Any, other: Any) -> None:
    ours, theirs = answer(json.dumps(one)), answer(json.dumps(other, indent=2))
    value = json_fields(None, ours, theirs)
    assert value is not None
    assert 0 <= value <= 1
    assert value == json_fields(None, theirs, ours)
    assert json_fields(None, ours, answer(json.dumps(one, indent=1))) == 1


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_is_graded(one: str, other: str) -> None:
    for text in (one, "{" + one, f"```json\n{one}\n```"):
        json_valid(None, answer(text), answer(other))
        json_fields(None, answer(text), answer(other))


def test_depth_and_size_are_no_trouble() -> None:
    deep = "[" * 1000 + "]" * 1000
    assert json_fields(None, answer(deep), answer(deep)) == 1
    endless = "[" * 200_000
    assert json_fields(None, answer(endless), answer(endless)) is None
    deep_and_wide = '{"a":[' * 500 + ",".join("1" * 50_000) + "]}" * 500
    assert json_fields(None, answer(deep_and_wide), answer(deep_and_wide)) == 1
    wide = json.dumps({str(n): n for n in range(50_000)})
    assert json_fields(None, answer(wide), answer(wide)) == 1
    assert json_valid(None, answer("```\n" * 50_000), answer(wide)) == (None, None)


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


@pytest.mark.parametrize(
    ("stable", "candidate", "expected"),
    [
        (None, None, None),
        ([], None, None),
        ([call("f", "{}")], None, 0),
        (None, [call("f", "{}")], 0),
        ([call("f", "{}")], [call("f", "")], 1),
        ([call("f", '{"a": 1, "b": 2}')], [call("f", '{"b":2,"a":1}')], 1),
        ([call("f", '{"city": "Paris"}')], [call("f", '{"city": "Rome"}')], 1 / 2),
        ([call("f", '{"id": 1}')], [call("g", '{"id": 1}')], 0),
        ([call("f", "{}"), call("g", "{}")], [call("g", "{}"), call("f", "{}")], 1),
        ([call("f", '{"a":1}'), call("f", '{"a":2}')], [call("f", '{"a":2}'), call("f", '{"a":1}')], 1),
        ([call("f", "{}"), call("f", "{}")], [call("f", "{}")], 1 / 2),
        ([call("f", "{broken")], [call("f", "{broken")], 1),
        ([call("f", "{broken")], [call("f", "{}")], 1 / 2),
    ],
)
def test_tool_calls(stable: Any, candidate: Any, expected: float | None) -> None:
    assert tool_calls(None, answer(tool_calls=stable), answer(tool_calls=candidate)) == expected


NONSENSE = st.recursive(
    LEAF | st.text(st.characters(exclude_categories=()), max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "arguments"]), inner)
    ),
    max_leaves=8,
)


@given(NONSENSE, NONSENSE)
def test_tool_calls_of_any_form_are_graded(one: Any, other: Any) -> None:
    value = tool_calls(None, answer(tool_calls=one), answer(tool_calls=other))
    assert value is None or 0 <= value <= 1
    assert value == tool_calls(None, answer(tool_calls=other), answer(tool_calls=one))


def test_json_fields_can_leave_out_what_is_free_text() -> None:
    ours = answer('{"category": "refund", "reply": "Hello", "meta": {"note": "a", "order": 7}}')
    theirs = answer('{"category": "refund", "reply": "Good day", "meta": {"note": "b", "order": 7}}')
    assert json_fields(None, ours, theirs) == 0.5
    assert JsonFields(ignore=["reply"])(None, ours, theirs) == 2 / 3
    assert JsonFields(ignore=["reply", "meta.note"])(None, ours, theirs) == 1
    assert JsonFields(ignore=["category.x", "none", "meta.order.y"])(None, ours, theirs) == 0.5
