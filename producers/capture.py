"""What goes out of a process, and how: the same settings for the mirror, ingest and replay.

A service gives them to :class:`~shadowlane.producers.mirror.Mirror`, by these names, or as ``SHADOWLANE_CAPTURE__…``;
ingest and replay have them as the section ``capture`` of the configuration, which the same variables set.
"""

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from shadowlane.errors import ConfigError
from shadowlane.producers.sampling import DEFAULT_SALT

FULL, REDACTED, HASHED, METADATA = CONTENT = ("full", "redacted", "hashed", "metadata")
TOKEN_KEY = "SHADOWLANE_TOKEN_KEY"  # noqa: S105  the name of the variable
TOKEN_KEY_MIN = 16  # characters

Own = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRule:
    """What is different for some routes; None is as everywhere."""

    sample: float | None = None
    per_second: float | None = None
    content: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """:class:`~shadowlane.producers.mirror.Mirror` explains each."""

    sample: float = 1.0
    per_second: float | None = None
    salt: str = DEFAULT_SALT
    content: str = REDACTED
    redact: Own | None = None
    redact_timeout: float = 2.0
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    allow_keys: tuple[str, ...] = ()
    deny_keys: tuple[str, ...] = ()
    routes: Mapping[str, RouteRule] = field(default_factory=dict)

    def without_caps(self) -> "Capture":
        """With sampling by key alone."""
        rules = {route: replace(rule, per_second=None) for route, rule in self.routes.items()}
        return replace(self, per_second=None, routes=rules)

    def modes(self) -> set[str]:
        """Every content mode that some route may have."""
        return {self.content, *(rule.content for rule in self.routes.values() if rule.content)}


def token_key(environ: Mapping[str, str], modes: set[str]) -> bytes:
    """The key of the tokens, from the environment; none is ``b""``.

    Raises:
        ConfigError: it is too short to be one, or it is missing and ``hashed`` needs it.
    """
    key = environ.get(TOKEN_KEY, "")
    if HASHED in modes and not key:
        raise ConfigError(
            f"content is {HASHED!r}, and {TOKEN_KEY} is not set: hashes without a key can be guessed; set it to "
            f"{TOKEN_KEY_MIN} random characters or more, the same wherever values are to be compared"
        )
    if key and len(key) < TOKEN_KEY_MIN:
        raise ConfigError(
            f"{TOKEN_KEY} has {len(key)} characters: it must have {TOKEN_KEY_MIN} or more, at random"
        )
    return key.encode("utf-8", "surrogatepass")


def checked(name: str, value: Any, where: str) -> Any:
    """A setting, as :class:`Capture` has it.

    Raises:
        ConfigError: it is none; the text says what it must be.
    """
    match name:
        case "sample":
            good, wanted = _is_number(value) and 0 <= value <= 1, "a number from 0 to 1"
        case "per_second":
            good, wanted = _is_number(value) and 0 < value < 1e6, "a number of requests, above 0"
        case "content":
            good, wanted = value in CONTENT, f"one of {', '.join(CONTENT)}"
        case "redact":
            return _own(value, where)
        case "redact_timeout":
            good, wanted = _is_number(value) and 0 < value <= 60, "a number of seconds, at most 60"
        case "routes":
            return _routes(value, where)
        case "salt":
            good, wanted = isinstance(value, str) and value != "", "a text that is not empty"
        case _:
            good, wanted = _is_texts(value), "a list of texts that are not empty"
            value = tuple(value) if good else value
    if not good:
        raise ConfigError(f"{where} is {value!r}: it must be {wanted}")
    return value


def _routes(value: Any, where: str) -> dict[str, RouteRule]:
    names = tuple(RouteRule.__dataclass_fields__)
    if not isinstance(value, Mapping) or not all(isinstance(key, str) and key for key in value):
        raise ConfigError(
            f"{where} is {value!r}: it must be rules by route, such as {{'/chat*': {{'sample': 0.1}}}}"
        )
    rules = {}
    for route, said in value.items():
        if isinstance(said, RouteRule):
            said = {name: getattr(said, name) for name in names}
        if not isinstance(said, Mapping) or not set(said) <= set(names):
            raise ConfigError(f"{where}, route {route!r}, is {said!r}: it may have {', '.join(names)}")
        rules[route] = RouteRule(
            **{
                name: checked(name, given, f"{where}, route {route!r}: {name}")
                for name, given in said.items()
                if given is not None
            }
        )
    return rules


def _own(value: Any, where: str) -> Own:
    wanted = "a function bytes -> bytes, or where one is: package.module:name"
    if isinstance(value, str):
        module, _, name = value.partition(":")
        if not re.fullmatch(r"\w+(\.\w+)*:\w+", value):
            raise ConfigError(f"{where} is {value!r}: it must be {wanted}")
        try:
            value = getattr(importlib.import_module(module), name)
        except Exception as exc:
            raise ConfigError(
                f"{where}: {module}:{name} can't be imported: {type(exc).__name__}: {exc}"
            ) from exc
    if not callable(value):
        raise ConfigError(f"{where} is {value!r}: it must be {wanted}")
    return cast(Own, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(v, str) and v for v in value)
