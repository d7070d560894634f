"""Texts and JSON, redacted by the rules and by a service's own lists. Pure."""

import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Any

import orjson

from shadowlane.producers.redaction.look import Look
from shadowlane.producers.redaction.marks import Marks
from shadowlane.producers.redaction.names import WITHIN_ADDRESS_STAY, goes, is_schema, kind_of
from shadowlane.producers.redaction.rule import Rule, found
from shadowlane.producers.redaction.rules import RULES, RULES_WITHOUT_DIGITS, may_hold_anything
from shadowlane.producers.redaction.unsuspicious import Unsuspicious

_PASSES = 8  # what a rule leaves behind can be news to an earlier one, once or twice
_SHORTEST = 6  # a@b.cd
_OFTEN = 40
_NAMES_MAX = 4096
_NESTED = 6  # JSON in a string in JSON …
_KINDS = {"opaque": "secret", "street": "address"}


@dataclass(frozen=True, slots=True)
class Lists:
    """What a service knows of its own data.

    ``allow``: values that stay though a rule finds them, as shell patterns without case (``*@example.com``), or whole
    kinds (``[ip]``). ``deny``: words and phrases that go wherever they stand, without case; ``*`` is any letters and
    digits. ``allow_keys`` and ``deny_keys``: names of JSON members, as shell patterns without case, whose value does
    not go for the name's sake, or goes whatever it is.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    allow_keys: tuple[str, ...] = ()
    deny_keys: tuple[str, ...] = ()


NO_LISTS = Lists()


class Rules:
    """The rules with a service's lists, and what makes them quick: what was seen and held nothing.

    Args:
        lists: the service's own.
        key: of the tokens; without one, what is found is replaced by its kind alone.
    """

    __slots__ = (
        *("_allow_keys", "_deny_keys", "_first_look", "_known_name", "_mark", "_plain_names", "_rules"),
        *("_rules_without_digits", "_short_text", "_shortest", "_unsuspicious"),
    )

    def __init__(self, lists: Lists = NO_LISTS, key: bytes = b"") -> None:
        self._mark = Marks(key, lists.allow)
        denied = _denied(lists.deny)
        self._rules, self._rules_without_digits = (*denied, *RULES), (*denied, *RULES_WITHOUT_DIGITS)
        self._first_look = _always if denied else may_hold_anything
        self._shortest = min([_SHORTEST, *map(len, lists.deny)])
        self._allow_keys, self._deny_keys = _names(lists.allow_keys), _names(lists.deny_keys)
        self._unsuspicious = Unsuspicious(1024 * 1024)
        # Roles, models, names of members and tools: a service sends the same ones with each request.
        self._short_text = lru_cache(4096)(self._applied)
        self._known_name = lru_cache(_NAMES_MAX)(self._name)
        # Names of members that stay as they are and say nothing of the value: nearly all that a service sends.
        self._plain_names: set[str] = set()

    # A call costs as much as the first look at a short text, so these call themselves for what is nested.
    def text(self, text: str, nested: int = _NESTED) -> str:
        """``text`` without what the rules find. Text that is a JSON object or array stays one.

        ``nested``: JSON in a string in JSON is read so deep.
        """
        if len(text) < self._shortest:
            return text
        if len(text) > _OFTEN:
            if not self._first_look(text):
                return text
        elif text[0] not in "{[":
            known = self._short_text(text)
            return text if known == text else known  # nothing found is the same object
        if nested and text[0] in "{[":
            try:
                value = orjson.loads(text)
            except ValueError:
                pass
            else:
                redacted = self.json(value, nested - 1)
                return text if redacted is value else orjson.dumps(redacted).decode()
        if text in self._unsuspicious:
            return text
        redacted = self._applied(text)
        if redacted is text:
            self._unsuspicious.add(text)
        return redacted

    def _applied(self, text: str) -> str:
        given, mark = text, self._mark
        for _ in range(_PASSES):
            before = text
            look = Look(text)
            for may_hold, apply in self._rules if look.digit else self._rules_without_digits:
                if may_hold(look) and (changed := apply(text, mark)) != text:
                    text = changed
                    look = Look(text)
            if text == before:
                break
        return given if text == given else text

    def json(self, value: Any, nested: int = _NESTED) -> Any:
        """A parsed JSON value, redacted; ``value`` itself, not a copy, where nothing was found."""
        # Strings are looked at where they are found: a call for each would cost as much again.
        if isinstance(value, dict):
            if not self._plain_names.issuperset(value):
                return self._object(value, nested)
            members: Any = value.items()
        elif isinstance(value, list):
            members = enumerate(value)
        else:
            return self.text(value, nested) if isinstance(value, str) else value
        out = None
        for place, member in members:
            if isinstance(member, str):
                new: Any = self.text(member, nested)
            elif isinstance(member, (dict, list)):
                new = self.json(member, nested)
            else:
                continue
            if new is not member:
                if out is None:
                    out = value.copy()
                out[place] = new
        return value if out is None else out

    def _object(self, value: dict[str, Any], nested: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        changed = False
        for name, member in value.items():
            new_name, kind = self._known_name(name) if len(name) <= _OFTEN else self._name(name)
            new = self._member(kind, member, nested) if kind else self.json(member, nested)
            changed = changed or new is not member or new_name != name
            while new_name in out:  # two addresses as names of members are two members
                new_name += "'"
            out[new_name] = new
        return out if changed else value

    def _name(self, name: str) -> tuple[str, str]:
        """(a member's name, redacted; what it says of the value, as :func:`kind_of`, or ``denied``)."""
        if self._deny_keys is not None and self._deny_keys.match(name):
            kind = "denied"
        elif self._allow_keys is not None and self._allow_keys.match(name):
            kind = ""
        else:
            kind = kind_of(name)
        known = self.text(name, 0), kind
        if known == (name, "") and len(name) <= _OFTEN:
            if len(self._plain_names) >= _NAMES_MAX:
                self._plain_names.clear()
                self._known_name.cache_clear()  # so that those that go on coming are found again
            self._plain_names.add(name)
        return known

    def _member(self, kind: str, value: Any, nested: int) -> Any:
        """The value of a member whose name says something of it."""
        if goes(kind, value):
            return self._mark(_KINDS.get(kind, kind), str(value))
        if kind == "denied" and isinstance(value, (dict, list)) and value:
            return self._mark(kind, orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode())
        if kind in ("address", "street", "phone") and isinstance(value, list):
            items = [self._member(kind, item, nested) for item in value]
            return value if all(map(operator.is_, items, value)) else items
        if kind in ("address", "street") and isinstance(value, dict) and not is_schema(value):
            return self._address(value, nested)
        return self.json(value, nested)

    def _address(self, value: dict[str, Any], nested: int) -> dict[str, Any]:
        """An address in its parts."""
        out = {
            name: member if name.lower() in WITHIN_ADDRESS_STAY else self._member("street", member, nested)
            for name, member in value.items()
        }
        out = self._object(out, nested)
        return value if all(out.get(name) is member for name, member in value.items()) else out


def _denied(words: Iterable[str]) -> tuple[Rule, ...]:
    if not words:
        return ()
    longest_first = sorted(words, key=len, reverse=True)
    said = "|".join(re.escape(word).replace(r"\*", r"\w*") for word in longest_first)
    return ((_always, found(re.compile(rf"(?<!\w)(?:{said})(?!\w)", re.I), "denied")),)


def _names(patterns: Iterable[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(translate, patterns)), re.I) if patterns else None


def _always(_: object) -> bool:
    return True


_BARE = Rules()
redact_text = _BARE.text
redact_json = _BARE.json
