"""What an arm was asked with: a fingerprint of the model and the parameters, and not of the question."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

# The question itself, how the answer is delivered, and what says who asks.
_NOT_PARAMETERS = frozenset(
    {"messages", "stream", "stream_options", "user", "metadata", "safety_identifier", "store"}
)


def fingerprint(body: Any) -> str:
    """Twelve hex digits of the model and parameters of a chat completion's body; ``""`` of anything else.

    Two requests have the same one if and only if an arm would be asked both in the same way: the order of the keys
    is nothing, a parameter that is null is one that is absent.
    """
    if not isinstance(body, Mapping):
        return ""
    kept = {key: value for key, value in body.items() if key not in _NOT_PARAMETERS and value is not None}
    return hashlib.sha256(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
