"""How pairing stands: what waits, how far each partition is; for the metrics and the watchdog."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shadowlane.processors.lag import Place
from shadowlane.processors.pairing.envelopes import Source
from shadowlane.processors.watch import Reading
from shadowlane.schemas.events import Role


@dataclass(frozen=True, slots=True)
class Standing:
    """One moment.

    ``taken`` is the last offset that was taken of each partition of each side, ``heads`` the first that is not
    acknowledged. Of the half that waits longest: when it is due (on the clock of the join), how long it has waited, and
    how long it is overdue (below 0: not yet), in seconds. ``waiting`` halves take ``waiting_bytes``, estimated.
    ``made`` counts pairs, paired or not.
    """

    taken: Mapping[Source, int]
    heads: Mapping[Source, int]
    due: float | None
    oldest_s: float | None
    overdue_s: float | None
    waiting: int
    waiting_bytes: int
    made: int


def readings(
    standing: Standing, topics: Mapping[Role, str], partitions: Iterable[int], paused: set[Source]
) -> dict[Place, Reading]:
    """What the watchdog goes by, of each partition that is this process's.

    All before the first envelope that is not acknowledged is done; where there is none, all that was taken is.
    """
    found = {}
    for partition in partitions:
        for side, topic in topics.items():
            source = (side, partition)
            taken = standing.taken.get(source)
            following = None if taken is None else taken + 1
            found[topic, partition] = Reading(
                following, standing.heads.get(source, following), source in paused
            )
    return found
