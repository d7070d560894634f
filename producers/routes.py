"""Routes as they may stand in the ledger: they may be paths, with an address in them, and so are redacted."""

from collections import deque
from collections.abc import Callable

from shadowlane.producers.ledger import OTHER_ROUTES
from shadowlane.producers.outflow import UNREDACTABLE

REMEMBERED = 4096
_MAX = 500  # characters


class Routes:
    """Route -> route, redacted, remembered.

    Args:
        redact: text -> text.
        safe: whether ``redact`` may run in the service's path: a service's own function may hang.
        failed: called where ``redact`` raised; the route is ``(unredactable)`` then.
    """

    def __init__(self, redact: Callable[[str], str], *, safe: bool, failed: Callable[[], None]) -> None:
        self._redact = redact
        self._safe = safe
        self._failed = failed
        self._known: dict[str, str] = {}
        self._asked: deque[str] = deque(maxlen=100)

    def redacted(self, route: str) -> str:
        """For the mirror's thread."""
        found = self._known.get(route)
        if found is None:
            try:
                found = self._redact(route)[:_MAX]
            except Exception:
                self._failed()
                return UNREDACTABLE  # this time: it may have been late, or have lacked something
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[route] = found
        return found

    def at_once(self, route: str) -> str:
        """For the service's path: ``(other)`` where it would take a function of the service's to say, until
        the thread has asked that."""
        if self._safe:
            return self.redacted(route)
        found = self._known.get(route)
        if found is None:
            self._asked.append(route)
            return OTHER_ROUTES
        return found

    def learn(self) -> None:
        """For the mirror's thread: what :meth:`at_once` did not know."""
        for _ in range(len(self._asked)):  # more may come meanwhile
            self.redacted(self._asked.popleft())
