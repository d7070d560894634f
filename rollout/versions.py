"""Which version was in charge, and when: read from the log of decisions. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from shadowlane.rollout.state import Entry, Phase, VersionRef


@dataclass(frozen=True, slots=True)
class InCharge:
    """One version's time as the stable one, in Unix milliseconds; ``until`` is None for the present one.

    ``kept_until`` is how long it stays what a roll back returns to, after its time.
    """

    version: VersionRef
    since: int
    until: int | None
    rollout: str
    event: str
    actor: str
    kept_until: int | None = None


def versions(history: Iterable[Entry]) -> list[InCharge]:
    """The versions in charge of what one rollout matches, oldest first, from its entries in order."""
    found: list[InCharge] = []
    for entry in history:
        state = entry.state
        version = state.in_charge
        if found and found[-1].version.fingerprint == version.fingerprint:
            if state.phase is Phase.SETTLED and len(found) > 1:
                found[-2] = _with(found[-2], kept_until=state.at)
            continue
        if found:
            found[-1] = _with(found[-1], until=state.at, kept_until=state.previous_until)
        found.append(InCharge(version, state.at, None, state.rollout, entry.event, entry.actor))
    return found


def _with(one: InCharge, *, kept_until: int | None, until: int | None = None) -> InCharge:
    return InCharge(one.version, one.since, until or one.until, one.rollout, one.event, one.actor, kept_until)
