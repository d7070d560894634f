"""What the service says about the requests that are mirrored while it says so."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})
SHADOW = "a shadow request"
"""Said as the request's id, which it can't be: a shadow request is being answered, and nothing of it is mirrored."""


class Said:
    """Immutable but for ``request_id``, which the first request takes, unless it is ``SHADOW``."""

    __slots__ = ("arm", "attributes", "key", "request_id", "route", "stage", "traceparent")

    def __init__(
        self,
        key: str = "",
        route: str = "",
        attributes: Mapping[str, str] = NO_ATTRIBUTES,
        request_id: str = "",
        traceparent: str = "",
        arm: str = "",
        stage: str = "",
    ) -> None:
        self.key = key
        self.route = route
        self.attributes = attributes
        self.request_id = request_id
        self.traceparent = traceparent
        self.arm = arm
        self.stage = stage

    def take_request_id(self) -> str:
        taken = self.request_id
        if taken is not SHADOW:
            self.request_id = ""
        return taken


NOTHING_SAID = Said()
_SAID: ContextVar[Said] = ContextVar("shadowlane_said", default=NOTHING_SAID)

said = _SAID.get


@contextmanager
def saying(
    key: object = None,
    route: object = None,
    attributes: Mapping[Any, Any] | None = None,
    request_id: object = None,
    traceparent: object = None,
    arm: object = None,
    stage: object = None,
) -> Iterator[None]:
    """Add to what is said already; the inner wins. Threads started within do not inherit it, tasks do.

    ``stage`` belongs to ``arm``: who says the arm says the stage too, or that there is none.
    """
    outer = _SAID.get()
    token = _SAID.set(
        Said(
            str(key) if key else outer.key,
            str(route) if route else outer.route,
            {**outer.attributes, **{str(k): str(v) for k, v in (attributes or {}).items()}},
            str(request_id) if request_id and outer.request_id is not SHADOW else outer.request_id,
            str(traceparent) if traceparent else outer.traceparent,
            str(arm) if arm else outer.arm,
            str(stage or "") if arm else outer.stage,
        )
    )
    try:
        yield
    finally:
        _SAID.reset(token)


@contextmanager
def shadowing() -> Iterator[None]:
    """A shadow request is answered within: what is asked meanwhile is no traffic of production's."""
    token = _SAID.set(Said(request_id=SHADOW))
    try:
        yield
    finally:
        _SAID.reset(token)
