"""Which requests the audit is about, and what the configuration owes each. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from shadowlane.processors.audit.account import Kind, Owed
from shadowlane.processors.audit.lines import Line, attributes_of
from shadowlane.processors.pairing.matching import Matching
from shadowlane.schemas.config import Rollout, Settings

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Scope:
    """``rollout``: requests of the services and routes that it takes alone. Times are Unix milliseconds.

    ``since`` and ``until`` are brought to whole minutes, as the ledger has them: down and up.
    """

    rollout: str | None = None
    since: int | None = None
    until: int | None = None

    def whole(self) -> "Scope":
        since = None if self.since is None else self.since - self.since % MINUTE_MS
        until = None if self.until is None else self.until + -self.until % MINUTE_MS
        return Scope(self.rollout, since, until)


class Places:
    """The configuration's rollouts, as the audit asks them."""

    def __init__(self, settings: Settings, scope: Scope) -> None:
        """Raises ConfigError where the scope's rollout is not in the configuration."""
        self._rollouts = settings.rollouts
        self._one: Rollout | None = settings.rollout(scope.rollout) if scope.rollout else None
        self._scope = scope
        self._matching = Matching(settings.rollouts)

    def takes(self, service: str, route: str) -> bool:
        """Whether requests of this service and route get a row, and the scope is about them."""
        if self._one is not None and not self._one.match.takes_place(service, route):
            return False
        return self._matching.takes_place(service, route)

    def wants(self, kind: Kind, line: Line) -> bool:
        """Whether the scope is about this record. One that names no service may be of any."""
        if line.ts < (self._scope.since or 0):
            return False
        if kind is not Kind.LETTER and line.ts >= (
            self._scope.until or 2**63
        ):  # a letter is later than its request
            return False
        if self._one is None or not line.service or kind in (Kind.LETTER, Kind.CELL):
            return True
        return self._one.match.takes_place(line.service, line.route)

    def owed(self, line: Line) -> Owed:
        """What the request of this line is owed. A line whose service can't be read is owed all there is."""
        if not line.service:
            return Owed("", answer=True, row=True)
        found = self._matching.rollout_of(line.service, line.route, attributes_of(line))
        row = self._matching.takes_place(line.service, line.route)
        return Owed(found[0].name if found else "", answer=found is not None, row=row)

    def is_current(self, line: Line) -> bool:
        """Whether a shadow response is of the rollout and epoch that its request would have now.

        One that is not pairs with nothing: its row comes of the served half.
        """
        found = self._matching.rollout_of(line.service, line.route, attributes_of(line))
        return found is not None and (found[0].name, found[1]) == (
            line.fields.get("rollout"),
            line.fields.get("epoch"),
        )

    def began(self, began: Mapping[str, int], traced: Mapping[str, int]) -> dict[str, int]:
        """Since when each rollout is known to be there: the controller's first word or the first row, if any.

        Without the controller's word nothing says when it was not there, and so all of time counts.
        """
        return {name: min(at, traced.get(name, at)) for name, at in began.items()}

    def began_at(self, service: str, route: str, began: Mapping[str, int]) -> int:
        """Since when a rollout takes this service and route."""
        return min(
            (began.get(r.name, 0) for r in self._rollouts if r.match.takes_place(service, route)), default=0
        )
