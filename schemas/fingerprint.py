"""What an arm was asked with: a fingerprint of the model and the parameters, and not of the question."""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from shadowlane.schemas.events import Protocol

_APIS = (Protocol.OPENAI_CHAT.value, Protocol.OPENAI_RESPONSES.value, Protocol.ANTHROPIC_MESSAGES.value)

# The question itself, how the answer is delivered, and what says who asks.
_NOT_PARAMETERS = frozenset(
    {
        "messages",
        "input",
        "instructions",
        "system",
        "prediction",
        "stream",
        "stream_options",
        "user",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
        "store",
    }
)
_EXACT = 2**53  # from here on not every integer has a float of its own
_WHOLE_FLOAT = re.compile(rb"\.0(?:[,\]}]|$)")


def fingerprint(body: Any, protocol: str = _APIS[0]) -> str:
    """Twelve hex digits of the model and parameters of the body of a model's request; ``""`` of anything else.

    Two requests have the same one if and only if an arm would be asked both in the same way: the order of the keys
    is nothing, a parameter that is null is one that is absent, and 1.0 is 1.
    """
    if not isinstance(
        body, (dict, Mapping)
    ):  # a dict first: to ask an abstract class takes longer than the rest
        return ""
    if protocol not in _APIS:
        return ""
    parameters = _parameters(body)
    if protocol != _APIS[0]:
        parameters[""] = protocol  # no parameter is called that
    return _digest(_json(parameters))


def differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Parameter -> (its value in ``one``, in ``two``), None where it is absent. Empty if the fingerprints agree."""
    ours, theirs = _parameters(one), _parameters(two)
    return {
        name: (ours.get(name), theirs.get(name))
        for name in sorted(ours.keys() | theirs.keys())
        if _json(ours.get(name)) != _json(theirs.get(name))
    }


@lru_cache(256)  # a service asks in few ways
def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:12]


def _parameters(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in _NOT_PARAMETERS and value is not None}


def _json(value: Any) -> bytes:
    """JSON in one form: keys in order, and one kind of number, as a service writes 1.0 where a file says 1."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    if _WHOLE_FLOAT.search(
        text
    ):  # or a text that looks like one; seldom, and going through all of it takes time
        text = orjson.dumps(_whole(value), option=orjson.OPT_SORT_KEYS)
    return text


def _whole(value: Any) -> Any:
    if type(value) is float and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items()}
    return value
