"""What a component waits for, and since when: of looks, one each second or so. Pure; time is handed in."""

from collections.abc import Mapping
from dataclasses import dataclass

GRACE_S = 5.0
"""How long a wait may be out of sight and be the same wait: between two slow inserts, say."""

Waiting = Mapping[str, str]
"""What a component waits for -> why, in sentences and numbers of ours. Empty where it does not wait."""


@dataclass(frozen=True, slots=True)
class Wait:
    """For ``what``, since ``seconds``; ``why`` says how that shows."""

    what: str
    why: str
    seconds: float


class Waits:
    """Remembers since when each wait has lasted. ``seconds`` never go back."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}
        self._seen: dict[str, tuple[float, str]] = {}

    def look(self, waiting: Waiting, now: float) -> None:
        """Takes in what is waited for now."""
        for what, why in waiting.items():
            self._begun.setdefault(what, now)
            self._seen[what] = (now, why)
        for what in [what for what, (at, _) in self._seen.items() if now - at > GRACE_S]:
            del self._begun[what], self._seen[what]

    def now(self, now: float) -> list[Wait]:
        """The waits that last, the longest first. From any thread."""
        begun = self._begun.copy()
        found = [
            Wait(what, why, now - begun[what])
            for what, (at, why) in self._seen.copy().items()
            if what in begun and now - at <= GRACE_S
        ]
        return sorted(found, key=lambda wait: -wait.seconds)
