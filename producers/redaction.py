"""Secrets and personal data out of what is mirrored, before it is queued for Kafka. Pure.

What is found is replaced by its kind in square brackets: ``[email]``, ``[token]``, ``[card]``. JSON is
redacted as JSON: its strings one by one, the values of members such as ``password`` whole, and text that is
itself JSON (the arguments of a tool call, a JSON answer) likewise; so it stays JSON. Redacting twice changes
nothing more. What is found and what is missed is measured in docs/redaction.md.
"""

import operator
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import orjson

from shadowlane.producers.bounded import Bounded
from shadowlane.producers.redaction_rules import (
    OPAQUE_KEYS,
    OPAQUE_VALUE,
    RULES,
    RULES_WITHOUT_DIGITS,
    SECRET_KEYS,
    Look,
    may_hold_anything,
)
from shadowlane.producers.unsuspicious import Unsuspicious

_PASSES = 8  # what a rule leaves behind can be news to an earlier one, once or twice
_SHORTEST = 6  # a@b.cd
_OFTEN = 40
_NAMES_MAX = 4096
_NESTED = 6  # JSON in a string in JSON …


def redact_text(text: str) -> str:
    """``text`` without what the rules find. Text that is a JSON object or array stays one."""
    return _text(text, _NESTED)


def redact_json(value: Any) -> Any:
    """A parsed JSON value, redacted; ``value`` itself, not a copy, where nothing was found."""
    return _json(value, _NESTED)


def _text(text: str, nested: int) -> str:
    if len(text) < _SHORTEST:
        return text
    if len(text) > _OFTEN:
        if not may_hold_anything(text):
            return text
    elif text[0] not in "{[":
        known = _short_text(text)
        return text if known == text else known  # nothing found is the same object
    if nested and text[0] in "{[":
        try:
            value = orjson.loads(text)
        except ValueError:
            pass
        else:
            redacted = _json(value, nested - 1)
            return text if redacted is value else orjson.dumps(redacted).decode()
    if text in _UNSUSPICIOUS:
        return text
    redacted = _applied(text)
    if redacted is text:
        _UNSUSPICIOUS.add(text)
    return redacted


def _applied(text: str) -> str:
    given = text
    for _ in range(_PASSES):
        before = text
        look = Look(text)
        for may_hold, apply in RULES if look.digit else RULES_WITHOUT_DIGITS:
            if may_hold(look) and (changed := apply(text)) != text:
                text = changed
                look = Look(text)
        if text == before:
            break
    return given if text == given else text


_UNSUSPICIOUS = Unsuspicious(1024 * 1024)

_short_text = lru_cache(4096)(_applied)
"""Roles, models, names of members and tools: a service sends the same ones with each request."""


def _json(value: Any, nested: int) -> Any:
    if isinstance(value, str):
        return _text(value, nested)
    if isinstance(value, list):
        items = [_json(item, nested) for item in value]
        return value if all(map(operator.is_, items, value)) else items
    if isinstance(value, dict):
        if not _PLAIN_NAMES.issuperset(value):
            return _object(value, nested)
        members = [_json(member, nested) for member in value.values()]
        return (
            value
            if all(map(operator.is_, members, value.values()))
            else dict(zip(value, members, strict=True))
        )
    return value


_PLAIN_NAMES: set[str] = set()
"""Names of members that stay as they are and say nothing of the value: nearly all that a service sends."""


def _object(value: dict[str, Any], nested: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    changed = False
    for name, member in value.items():
        new_name, secret, opaque = _known_name(name) if len(name) <= _OFTEN else _name(name)
        new = "[secret]" if (secret or opaque) and _is_secret(secret, member) else _json(member, nested)
        changed = changed or new is not member or new_name != name
        while new_name in out:  # two addresses as names of members are two members
            new_name += "'"
        out[new_name] = new
    return out if changed else value


def _name(name: str) -> tuple[str, bool, bool]:
    """(a member's name, redacted; whether its value is a secret, and whether it may be one)."""
    known = (
        _text(name, 0),
        SECRET_KEYS.fullmatch(name) is not None,
        OPAQUE_KEYS.fullmatch(name) is not None,
    )
    if known == (name, False, False) and len(name) <= _OFTEN:
        if len(_PLAIN_NAMES) >= _NAMES_MAX:
            _PLAIN_NAMES.clear()
            _known_name.cache_clear()  # so that those that go on coming are found again
        _PLAIN_NAMES.add(name)
    return known


_known_name = lru_cache(_NAMES_MAX)(_name)


def _is_secret(always: bool, value: Any) -> bool:
    """Whether the value of a member whose name says so, ``always`` or where it looks like one, is a secret."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value in ("", "[secret]"):
        return False
    return always or (isinstance(value, str) and OPAQUE_VALUE.fullmatch(value) is not None)


class Redactor:
    """What the mirror applies: the rules, a service's own function, or nothing.

    A service's function gets bytes and gives bytes: the JSON of a request, which must stay JSON, or a text.
    It replaces the rules; it can call :func:`redact_text` itself.
    """

    def __init__(self, redact: bool | Callable[[bytes], bytes] = True) -> None:
        self.text: Callable[[str], str]
        self.json: Callable[[Any], Any]
        if callable(redact):
            function = Bounded(redact)
            self.text = lambda text: function(text.encode()).decode()
            self.json = lambda value: orjson.loads(function(orjson.dumps(value)))
        elif redact:
            self.text, self.json = redact_text, redact_json
        else:
            self.text, self.json = _same, _same

    def key(self, key: str) -> str:
        """A sampling key: as it is, or its hash where it is a personal datum itself (an e-mail address)."""
        if not key or self.text(key) == key:
            return key
        return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _same(value: Any) -> Any:
    return value
