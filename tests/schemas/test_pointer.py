"""JSON Pointers, and templates filled by them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.schemas.pointer import MISSING, as_text, check, fill, parse, resolve

DOCUMENT: Any = {  # RFC 6901, section 5
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "m~n": 8,
    " ": 7,
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/foo/-1", "baz"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/m~0n", 8),
        ("/ ", 7),
        ("/foo/2", MISSING),
        ("/foo/-3", MISSING),
        ("/foo/x", MISSING),
        ("/foo/0/1", MISSING),
        ("/bar", MISSING),
    ],
)
def test_what_a_pointer_names(pointer: str, value: Any) -> None:
    assert resolve(DOCUMENT, parse(pointer)) == value


REQUEST = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Where"}, {"type": "text", "text": "is it?"}]},
    ],
}


def test_a_template_is_filled() -> None:
    template = {
        "prompt": {"$text": "/messages/-1/content"},
        "system": {"$from": "/messages/0/content"},
        "limit": {"$from": "/max_tokens", "$default": 256},
        "seed": {"$from": "/seed"},
        "options": [{"$from": "/seed"}, {"deep": {"$from": "/model"}}, 1, None, "text"],
    }
    check(template)
    assert fill(template, REQUEST) == {
        "prompt": "Where\nis it?",
        "system": "Be short.",
        "limit": 256,
        "options": [{"deep": "m"}, 1, None, "text"],
    }
    assert fill({"$from": "/nowhere"}, REQUEST) is None


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ({"a": {"$from": "messages"}}, "begins with a slash"),
        ({"a": [{"$from": 1}]}, r"a\[0\]: 1 is no JSON Pointer"),
        ({"a": {"$from": "/x", "b": 1}}, "a: a reference has"),
        ({"$default": 1}, "the template: a reference has"),
        ({"$from": "/a", "$text": "/a"}, "the template: a reference has"),
        ({"$form": "/a"}, "the template: a reference has"),
    ],
)
def test_a_reference_that_is_none_says_where(template: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check(template)


_NAMES = st.sampled_from(["a", "b", "messages", "0", "~", "/"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=10,
)


@given(_JSON, _JSON)
def test_a_template_without_references_is_itself(template: Any, source: Any) -> None:
    check(template)
    assert fill(template, source) == template


@given(_JSON, st.lists(_NAMES, max_size=4))
def test_a_pointer_finds_what_walking_finds(document: Any, path: list[str]) -> None:
    pointer = "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in path)
    value = document
    for token in path:
        try:
            value = (
                value[token]
                if isinstance(value, dict)
                else value[int(token)]
                if isinstance(value, list)
                else 1 / 0
            )
        except (LookupError, ValueError, ZeroDivisionError):
            value = MISSING
            break
    assert resolve(document, parse(pointer)) == value
    assert isinstance(as_text(resolve(document, ())), str)
