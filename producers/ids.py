"""Request ids: UUID version 7 (RFC 9562), 32 lower-case hex digits, so that they sort by the request's time."""

import hashlib
import os
import re

_ALLOWED = re.compile(r"[0-9A-Za-z_.-]{1,200}")
_AT_ONCE = 32
_48_BITS = (1 << 48) - 1
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def new_request_id(now_ms: int) -> str:
    """A fresh id of the millisecond ``now_ms``.

    The random part comes from the operating system and from no generator that a service may have seeded,
    or that a forked child would share with its parent.
    """
    return _id(now_ms, os.urandom(10).hex())


def _id(now_ms: int, random: str) -> str:
    return f"{now_ms & _48_BITS:012x}7{random[:3]}{_VARIANT[random[3]]}{random[4:19]}"


def request_id_of(ts: int, seed: bytes) -> str:
    """The id of what came at ``ts`` and is told apart by ``seed``: the same one each time."""
    return _id(ts, hashlib.blake2b(seed, digest_size=10).hexdigest())


class RequestIds:
    """Fresh ids as :func:`new_request_id` makes them, with one question to the operating system for many.

    For one thread of one process: a forked child needs its own.
    """

    def __init__(self) -> None:
        self._random: list[str] = []

    def new(self, now_ms: int) -> str:
        if not self._random:
            digits = os.urandom(10 * _AT_ONCE).hex()
            self._random = [digits[at : at + 20] for at in range(0, len(digits), 20)]
        return _id(now_ms, self._random.pop())


def valid_request_id(text: str) -> bool:
    """Whether a service's own id can stand in a record, a log line and a URL as it is."""
    return _ALLOWED.fullmatch(text) is not None


def valid_traceparent(text: str) -> str:
    """``text`` if it is a W3C traceparent, else ``""``."""
    return text if _TRACEPARENT.fullmatch(text) else ""
