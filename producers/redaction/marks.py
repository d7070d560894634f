"""What stands in the place of what was found. Pure."""

import hmac
import ipaddress
import re
from collections.abc import Callable, Iterable
from fnmatch import translate

KINDS = (
    *("private key", "token", "login", "secret", "email", "card", "iban", "ssn", "phone", "ip", "address"),
    *("denied", "text", "number", "key"),
)
"""``denied`` is what a service's own list names; ``text`` and ``number`` are of content that goes out hashed, ``key``
of sampling keys."""

LETTERS = 10
"""Of a token: 47 bits, so that among a million different values two are alike in one of 280 cases."""

MARKED = re.compile(r"\[[a-z ]{2,11}(?:#[a-z]{10})?\]")
"""What stands there already."""

Mark = Callable[[str, str], str]
"""(kind, value) -> what stands in its place."""


class Marks:
    """Args:
    key: with it, equal values have equal tokens; without, all values of a kind look alike.
    allow: values that stay, as shell patterns without case; or a whole kind, as ``[ip]``.
    """

    def __init__(self, key: bytes = b"", allow: Iterable[str] = ()) -> None:
        self._key = key
        patterns = [pattern for pattern in allow if pattern[1:-1] not in KINDS]
        self._kinds = frozenset(pattern[1:-1] for pattern in allow if pattern[1:-1] in KINDS)
        self._allowed = re.compile("|".join(map(translate, patterns)), re.I) if patterns else None

    def __call__(self, kind: str, value: str) -> str:
        if kind in self._kinds or (self._allowed is not None and self._allowed.match(value)):
            return value
        return f"[{kind}#{self.token(kind, value)}]" if self._key else f"[{kind}]"

    def token(self, kind: str, value: str) -> str:
        """Ten letters: no digit, since those are what other rules look for."""
        said = f"{kind}\0{_same_form(kind, value)}".encode("utf-8", "surrogatepass")
        number = int.from_bytes(hmac.digest(self._key, said, "sha256")[:8])
        letters = []
        for _ in range(LETTERS):
            number, letter = divmod(number, 26)
            letters.append(chr(97 + letter))
        return "".join(letters)


def _same_form(kind: str, value: str) -> str:
    """A datum in one form, however it was written."""
    if kind == "email":
        return value.lower()
    if kind in ("card", "ssn", "phone"):
        digits = "".join(str(int(c)) for c in value if c.isdecimal())
        return digits.removeprefix("00") if kind == "phone" else digits
    if kind == "iban":
        return value.replace(" ", "").upper()
    if kind == "ip":
        return str(ipaddress.ip_address(value))
    return value
