"""A call that is mirrored twice is noticed: a library's callback tells of it, and a wrapped client within makes it.

The callback's side leaves a mark in the context, which the client's side finds there. Nothing is looked at in a mirror
that no callback was made of, nor once a doubled call was found.
"""

import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import orjson

from shadowlane.producers.exchange import Exchange

if TYPE_CHECKING:
    from shadowlane.producers.mirror import Mirror

_TOLD: ContextVar[weakref.ref[Exchange] | None] = ContextVar("shadowlane_told", default=None)


def mark_told(mirror: "Mirror", exchange: Exchange) -> None:
    """A callback told of a call that begins in this context."""
    if mirror.looks_for_twice is None:
        mirror.looks_for_twice = True
    if mirror.looks_for_twice:
        _TOLD.set(weakref.ref(exchange))


def notice(mirror: "Mirror", exchange: Exchange) -> None:
    """A wrapped client makes a call. Where a callback of this mirror told of the same one in this context, and it is
    not over, that is said, once."""
    mark = _TOLD.get()
    told = mark() if mark is not None else None
    if told is None or told.finished or told.source is not exchange.source:
        return
    asked = _asked(exchange.body)
    if asked is None or asked != _asked(told.body):
        return
    mirror.looks_for_twice = False
    mirror.log.problem(
        "mirrored_twice",
        f"a call is mirrored twice, as {told.told_route} by a callback (mirror.litellm, mirror.langchain) and as "
        f"{exchange.told_route} by a wrapped client: attach one of them to each call",
    )


def _asked(body: bytes) -> Any:
    """What tells a request from another in the same context: the last message, however the rest is put."""
    try:
        return orjson.loads(body)["messages"][-1]["content"]
    except (ValueError, LookupError, TypeError):
        return None
