"""Reading the members of a request's JSON object, so that none is overlooked. Pure."""

from collections.abc import Mapping
from typing import Any

from shadowlane.schemas.requests.conversation import UntranslatableError


class Members:
    """An object's members, each taken once. A member that is null is none; one of another kind than its API has
    can't be translated."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise UntranslatableError(f"{where} is no object")
        self._where = where
        self._left = {name: member for name, member in value.items() if member is not None}

    def text(self, name: str) -> str:
        return str(self._take(name, str, "a text") or "")

    def integer(self, name: str) -> int | None:
        value = self._take(name, (int, float), "a number")
        if value is None:
            return None
        if value != int(value):
            raise UntranslatableError(f"{self._at(name)} is no whole number")
        return int(value)

    def number(self, name: str) -> float | None:
        value: float | None = self._take(name, (int, float), "a number")
        return value

    def boolean(self, name: str) -> bool | None:
        value: bool | None = self._left.pop(name, None)
        if value is not None and not isinstance(value, bool):
            raise UntranslatableError(f"{self._at(name)} is neither true nor false")
        return value

    def items(self, name: str) -> list[Any]:
        value: list[Any] = self._take(name, list, "a list") or []
        return value

    def texts(self, name: str) -> list[str]:
        """A text alone, or a list of them."""
        value = self._left.pop(name, None)
        found = [value] if isinstance(value, str) else value or []
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise UntranslatableError(f"{self._at(name)} is neither a text nor a list of texts")
        return found

    def object(self, name: str) -> dict[str, Any] | None:
        value: dict[str, Any] | None = self._take(name, dict, "an object")
        return value

    def members(self, name: str) -> "Members":
        """Of an object that may be absent: then it has none."""
        return Members(self.object(name) or {}, self._at(name))

    def any(self, name: str) -> Any:
        return self._left.pop(name, None)

    def skip(self, names: frozenset[str]) -> None:
        """Members that say nothing to the model."""
        for name in names:
            self._left.pop(name, None)

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Members with which the request can't be asked elsewhere, and why; empty ones, false and 0 are none."""
        for name, reason in reasons.items():
            if self._left.pop(name, None):
                raise UntranslatableError(f"{self._at(name)}: {reason}")

    def rest(self, within: str | None = None) -> list[str]:
        """The names of those that nobody took, with what they are within: by default the place itself."""
        if within is None:
            return [self._at(name) for name in self._left]
        return [f"{within}.{name}" for name in self._left]

    def _take(self, name: str, kind: type | tuple[type, ...], called: str) -> Any:
        value = self._left.pop(name, None)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise UntranslatableError(f"{self._at(name)} is not {called}")
        return value

    def _at(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name
