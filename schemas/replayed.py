"""How a message says that it was written by `shadowlane dlq replay`."""

from collections.abc import Sequence
from typing import Any

REPLAYED = "shadowlane-replayed"
"""The header. Pairing gives a half of such a message its time again, although its pair has gone out as unpaired."""


def is_replayed(headers: Sequence[tuple[str, Any]] | None) -> bool:
    """Whether a message's headers, as Kafka's clients give them, have it."""
    return bool(headers) and any(name == REPLAYED for name, _ in headers or ())
