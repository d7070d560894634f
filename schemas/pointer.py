"""JSON Pointers (RFC 6901), and bodies that are made of others by a template. Pure.

A template is JSON in which an object ``{"$from": pointer}`` stands for what the pointer names in the source. With
``"$default"`` beside it that is taken where the pointer names nothing; without, the member that it would be of is
left out. ``{"$text": …}`` is the same, written out as text. So a service with a form of its own can be asked what a
chat completion asks::

    {"prompt": {"$from": "/messages/-1/content"}, "limit": {"$from": "/max_tokens", "$default": 256}}

Beyond the RFC, a negative index counts from a list's end, as the last message is what most services want.
"""

from collections.abc import Mapping
from typing import Any

import orjson

_FROM, _TEXT, _DEFAULT = "$from", "$text", "$default"


class Missing:
    """What a pointer names where there is nothing."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


def parse(pointer: str) -> tuple[str, ...]:
    """The reference tokens of a pointer; ``""`` is the whole document, and has none.

    Raises:
        ValueError: it does not begin with a slash.
    """
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise ValueError(f"{pointer!r} is no JSON Pointer: it begins with a slash, as in /messages/0/content")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))


def resolve(document: Any, tokens: tuple[str, ...]) -> Any:
    """What the pointer names, or :data:`MISSING`."""
    for token in tokens:
        if isinstance(document, Mapping):
            document = document.get(token, MISSING)
        elif isinstance(document, list) and token.removeprefix("-").isdecimal():
            at = int(token)
            document = document[at] if -len(document) <= at < len(document) else MISSING
        else:
            return MISSING
        if document is MISSING:
            return MISSING
    return document


def fill(template: Any, source: Any) -> Any:
    """The template with what its pointers name in ``source``. A template that is a single reference to nothing
    gives None."""
    filled = _filled(template, source)
    return None if filled is MISSING else filled


def check(template: Any) -> None:
    """
    Raises:
        ValueError: a reference is not as it has to be; the text says where.
    """
    _check(template, "")


def as_text(value: Any) -> str:
    """A text as it is; of anything else its JSON; the texts of a message's parts, one after the other."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, Mapping) and "text" in part for part in value):
        return "\n".join(str(part["text"]) for part in value)
    return "" if value is None else orjson.dumps(value).decode()


def _filled(template: Any, source: Any) -> Any:
    if isinstance(template, list):
        return [made for each in template if (made := _filled(each, source)) is not MISSING]
    if not isinstance(template, Mapping):
        return template
    kind = _FROM if _FROM in template else _TEXT if _TEXT in template else ""
    if kind:
        found = resolve(source, parse(template[kind]))
        if found is MISSING:
            return template.get(_DEFAULT, MISSING)
        return found if kind == _FROM else as_text(found)
    made = {name: _filled(each, source) for name, each in template.items()}
    return {name: each for name, each in made.items() if each is not MISSING}


def _check(template: Any, where: str) -> None:
    if isinstance(template, list):
        for number, each in enumerate(template):
            _check(each, f"{where}[{number}]")
    if not isinstance(template, Mapping):
        return
    special = {name for name in template if isinstance(name, str) and name.startswith("$")}
    if not special:
        for name, each in template.items():
            _check(each, f"{where}.{name}" if where else str(name))
        return
    if set(template) - {_FROM, _TEXT, _DEFAULT} or len(special & {_FROM, _TEXT}) != 1:
        raise ValueError(
            f"{where or 'the template'}: a reference has {_FROM} or {_TEXT}, perhaps {_DEFAULT}, and nothing else"
        )
    pointer = template[_FROM if _FROM in template else _TEXT]
    if not isinstance(pointer, str):
        raise ValueError(f"{where or 'the template'}: {pointer!r} is no JSON Pointer")
    parse(pointer)
