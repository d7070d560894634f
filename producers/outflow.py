"""What of a request and its answer goes out, by its route: all of it, redacted, hashed, or metadata alone.

The one place where the mirror, ingest and replay ask: is this request in the sample, and what may its records hold?
"""

import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import Any, TypeVar

import orjson

from shadowlane.producers.bounded import Bounded
from shadowlane.producers.capture import FULL, HASHED, METADATA, REDACTED, Capture
from shadowlane.producers.redaction import Lists, Marks, Rules, redact_json, redact_text
from shadowlane.producers.sampling import PerSecond, Sampler
from shadowlane.schemas.events import Failure, MirroredRequest, Response

OVER_CAP = "per_second"
FAILED, TOO_SLOW = "redactor_failed", "redactor_timeout"
UNREDACTABLE = "(unredactable)"
"""A route of which the redactor could not say what may stay."""
ANSWER_KEPT = frozenset({"", Failure.ABANDONED, Failure.BAD_RESPONSE})
"""Failures that say less than that there is no content."""

_REMEMBERED = 4096

T = TypeVar("T")


class Redactor:
    """A service's own function, and then the rules; with ``full``, neither.

    A service's function gets bytes and gives bytes: the JSON of a request, which must stay JSON, or a text.
    """

    def __init__(self, capture: Capture, key: bytes = b"") -> None:
        lists = Lists(capture.allow, capture.deny, capture.allow_keys, capture.deny_keys)
        self.text: Callable[[str], str] = redact_text
        self.json: Callable[[Any], Any] = redact_json
        self.name: Callable[[str], str] = redact_text
        """The name of a member, by the rules alone."""
        self._key = key
        self._marks = Marks(key)
        if key or lists != Lists():
            rules = Rules(lists, key)
            self.text, self.json, self.name = rules.text, rules.json, rules.text
        if capture.redact is not None:
            own = Bounded(capture.redact, capture.redact_timeout)
            text, json = self.text, self.json
            self.text = lambda given: text(own(given.encode()).decode())
            self.json = lambda given: json(orjson.loads(own(orjson.dumps(given))))
        if capture.modes() == {FULL}:
            self.text, self.json = _same, _same

    def key(self, key: str) -> str:
        """A sampling key: as it is, or its hash where it is a personal datum itself (an e-mail address)."""
        if not key or self.text(key) == key:
            return key
        if self._key:
            return self._marks.token("key", key)
        return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Way:
    """How content goes out in one mode: ``text`` and ``json`` are applied to what was asked and answered. ``why``
    says why nobody can be asked from what is left, "" where they can."""

    __slots__ = ("json", "text", "why")

    def __init__(self, why: str, text: Callable[[str], str], json: Callable[[Any], Any]) -> None:
        self.why = why
        self.text = text
        self.json = json


class Outflow:
    """Args:
    key: of the tokens; ``hashed`` needs one.
    """

    def __init__(self, capture: Capture, key: bytes = b"") -> None:
        self.capture = capture
        self.redactor = redactor = Redactor(capture, key)
        """For what is no content: attributes, keys, routes."""
        hashed = _Hashed(Marks(key), redactor.name)
        self._ways = {
            FULL: Way("", _same, _same),
            REDACTED: Way("", redactor.text, redactor.json),
            HASHED: Way(HASHED, hashed, hashed),
            METADATA: Way(METADATA, lambda text: "", lambda value: None),
        }
        self._routes = [(_pattern(route), rule) for route, rule in capture.routes.items()]
        self._by_route: dict[str, Way] = {}
        self.only = self._ways[capture.content] if capture.modes() == {capture.content} else None
        """Of all routes, where they have the same."""

    @property
    def in_path(self) -> bool:
        """Whether routes may be redacted in the service's path: its own function may hang."""
        return self.capture.redact is None

    def route(self, route: str) -> str:
        """As it may stand in the books."""
        try:
            return self.redactor.text(route)
        except Exception:
            return UNREDACTABLE

    def way(self, route: str) -> Way:
        """For a route as the service named it."""
        if self.only is not None:
            return self.only
        known = self._by_route.get(route)
        if known is None:
            if len(self._by_route) >= _REMEMBERED:
                self._by_route.clear()
            rule = _first(self._routes, route)
            known = self._by_route[route] = self._ways[(rule and rule.content) or self.capture.content]
        return known

    def let_out(self, request: MirroredRequest, response: Response) -> tuple[MirroredRequest, Response, str]:
        """Copies as they may go out, and why nobody can be asked from them, or "". Where the redactor fails, or does
        not come back in time, that is why, and nothing is left that it would have had to look at."""
        way = self.way(request.route)
        out, answer = replace(request), replace(response)
        try:
            size = len(orjson.dumps(request.body)) if way.why and request.body is not None else 0
            out.body = way.json(request.body)
            out.route = answer.route = self.redactor.text(request.route)
            self.rest(way, out, answer, size)
        except Exception as exc:
            why = why_failed(exc)
            out = replace(request, body=None, route=UNREDACTABLE, key="", attributes={}, without_content=why)
            answer = replace(response, route=UNREDACTABLE, key="", attributes={})
            bare(answer, why)
            return out, answer, why
        return out, answer, way.why

    def rest(self, way: Way, request: MirroredRequest, response: Response, size: int) -> None:
        """All but the request's body, in place: whatever may hold what a user or a model wrote. ``size``: the body's,
        in bytes.

        Raises whatever the redactor raises.
        """
        redactor = self.redactor
        if request.key:
            request.key = response.key = redactor.key(request.key)
        if request.attributes:
            request.attributes = redactor.json(request.attributes)
        if response.attributes:
            response.attributes = redactor.json(response.attributes)
        if way.why:
            request.without_content = request.without_content or way.why
            request.body_bytes = response.request_bytes = size
            response.output_bytes = len(response.output.encode("utf-8", "replace"))
        response.output = way.text(response.output)
        if response.error_message:
            response.error_message = way.text(response.error_message)
        if response.tool_calls is not None:
            response.tool_calls = way.json(response.tool_calls)
        if way.why == METADATA:
            bare(response, request.without_content)


class Samples:
    """Which requests are in: by key, by route, and so many a second. One per process."""

    def __init__(self, capture: Capture) -> None:
        cap = None if capture.per_second is None else PerSecond(capture.per_second)
        self._default = _Share(capture.sample, capture.salt, cap)
        self._routes = [
            (
                _pattern(route),
                _Share(
                    capture.sample if rule.sample is None else rule.sample,
                    capture.salt,
                    cap if rule.per_second is None else PerSecond(rule.per_second),
                ),
            )
            for route, rule in capture.routes.items()
        ]
        shares = (self._default, *[share for _, share in self._routes])
        self.takes_all = all(share.rate >= 1 and share.cap is None for share in shares)
        """Whether there is nothing to decide."""

    def left_out(self, route: str, key: str, now: float) -> str | None:
        """Why the request is not mirrored: "" by its key, or :data:`OVER_CAP`; None where it is. ``now``: monotonic
        seconds. From any thread."""
        share = _first(self._routes, route) or self._default
        if not share.sampler.takes(key):
            return ""
        return OVER_CAP if share.cap is not None and not share.cap.takes(now) else None


class _Share:
    """Of the traffic of some routes; a cap may be of several of them together."""

    __slots__ = ("cap", "rate", "sampler")

    def __init__(self, rate: float, salt: str, cap: PerSecond | None) -> None:
        self.rate = rate
        self.sampler = Sampler(rate, salt)
        self.cap = cap


def why_failed(exc: Exception) -> str:
    """The reason that is counted where the redactor raised."""
    return TOO_SLOW if isinstance(exc, TimeoutError) else FAILED


def bare(response: Response, why: str) -> None:
    """No answer, in place; an error that says more than that stays."""
    response.output = ""
    response.tool_calls = None
    if response.error in ANSWER_KEPT:
        response.error = Failure.NO_CONTENT
    response.error_message = why


def _pattern(route: str) -> re.Pattern[str]:
    """``*`` is any text, ``{…}`` one part of a path: so a pattern takes both a framework's template and the paths."""
    return re.compile(_PLACE.sub(_place, re.escape(route)))


_PLACE = re.compile(r"\\\*|\\\{[^{}]*\\\}")


def _place(match: re.Match[str]) -> str:
    return ".*" if match.group() == r"\*" else "[^/]+"


def _first(routes: list[tuple[re.Pattern[str], T]], route: str) -> T | None:
    return next((found for pattern, found in routes if pattern.fullmatch(route)), None)


class _Hashed:
    """Each text and each number replaced by its token. Names of members are redacted; true, false and null stay."""

    __slots__ = ("_marks", "_name")

    def __init__(self, marks: Marks, name: Callable[[str], str]) -> None:
        self._marks = marks
        self._name = name

    def __call__(self, value: Any) -> Any:
        if value is None or isinstance(value, bool) or value == "":
            return value
        if isinstance(value, str):
            return self._marks("text", value)
        if isinstance(value, dict):
            return {self._name(name): self(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self(item) for item in value]
        return self._marks("number", repr(value))


def _same(value: Any) -> Any:
    return value
