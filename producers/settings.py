"""The mirror's settings: from arguments, else from ``SHADOWLANE_*``, else the defaults.

An argument that is wrong is the developer's, is seen at the first start, and raises. What comes from the
environment may be wrong in one deployment only: there the service must go on, so it is told, not raised.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shadowlane.errors import ConfigError
from shadowlane.producers.capture import Capture, checked, token_key

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorSettings:
    """Sizes in bytes, times in seconds; :class:`~shadowlane.producers.mirror.Mirror` explains each."""

    service: str = "unnamed"
    kafka: str = ""
    topic_prefix: str = "shadowlane"
    enabled: bool = True
    capture: Capture = field(default_factory=Capture)
    token_key: bytes = field(default=b"", repr=False)
    buffer_bytes: int = 64 * MIB
    max_body_bytes: int = MIB // 4
    delivery_timeout: float = 60.0
    exit_timeout: float = 2.0
    client: Mapping[str, Any] = field(default_factory=dict)


VARIABLES = {
    "service": "SHADOWLANE_SERVICE",
    "kafka": "SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS",
    "topic_prefix": "SHADOWLANE_KAFKA__TOPIC_PREFIX",
    "client": "SHADOWLANE_KAFKA__CLIENT",
    "enabled": "SHADOWLANE_MIRROR__ENABLED",
    "buffer_bytes": "SHADOWLANE_MIRROR__BUFFER_BYTES",
    "max_body_bytes": "SHADOWLANE_MIRROR__MAX_BODY_BYTES",
    "delivery_timeout": "SHADOWLANE_MIRROR__DELIVERY_TIMEOUT",
    "exit_timeout": "SHADOWLANE_MIRROR__EXIT_TIMEOUT",
}
_OURS = ("SHADOWLANE_MIRROR__", "SHADOWLANE_CAPTURE__")
CAPTURE = {name: f"SHADOWLANE_CAPTURE__{name.upper()}" for name in Capture.__dataclass_fields__}


def resolve(
    arguments: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> tuple[MirrorSettings, str]:
    """(settings, what is wrong in the environment or ""). An argument of None is one not given.

    Raises:
        ConfigError: an argument is wrong.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    wrong = []
    for name, variable in (VARIABLES | CAPTURE).items():
        check = checked if name in CAPTURE else _checked
        if arguments.get(name) is not None:
            values[name] = check(name, arguments[name], f"Mirror({name}=…)")
        elif environ.get(variable):
            try:
                values[name] = check(name, _parsed(name, environ[variable]), variable)
            except ConfigError as exc:
                wrong.append(str(exc))
    known = {*VARIABLES.values(), *CAPTURE.values()}
    # A name that is misspelt, or was another one's once, may be what keeps content in: it is not passed over.
    unknown = sorted(name for name in environ if name.startswith(_OURS) and name not in known)
    wrong += [f"{name} is set, and is no setting of the mirror" for name in unknown]
    capture = Capture(**{name: values.pop(name) for name in CAPTURE if name in values})
    try:
        values["token_key"] = token_key(environ, capture.modes())
    except ConfigError as exc:
        wrong.append(str(exc))
    return MirrorSettings(capture=capture, **values), "; ".join(wrong)


def _parsed(name: str, text: str) -> Any:
    """The environment's text as the type of the setting, or as the text where it is no such thing."""
    kind = _KINDS[name]
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False,
                    "off": False}[text.strip().lower()]  # fmt: skip
        if kind in (dict, list):
            return json.loads(text)
        return kind(text)
    except (ValueError, KeyError):
        return text


_KINDS: dict[str, Callable[..., Any]] = {
    "enabled": bool,
    "content": str,
    "redact": str,
    "redact_timeout": float,
    "sample": float,
    "per_second": float,
    "allow": list,
    "deny": list,
    "allow_keys": list,
    "deny_keys": list,
    "routes": dict,
    "delivery_timeout": float,
    "exit_timeout": float,
    "buffer_bytes": int,
    "max_body_bytes": int,
    "client": dict,
    "service": str,
    "kafka": str,
    "topic_prefix": str,
    "salt": str,
}


def _checked(name: str, value: Any, where: str) -> Any:
    kind, is_number = _KINDS[name], isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is bool:
        good, wanted = isinstance(value, bool), "true or false"
    elif kind is dict:
        good = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
        wanted = "an object of librdkafka options by name"
    elif kind is int:
        good, wanted = isinstance(value, int) and is_number and value > 0, "a positive number of bytes"
    elif kind is float:
        good, wanted = is_number and 0 <= value <= 86_400, "a number of seconds, at most a day"
    else:
        good, wanted = isinstance(value, str) and value != "", "a text that is not empty"
    if not good:
        raise ConfigError(f"{where} is {value!r}: it must be {wanted}")
    return value
