"""What routers know of the rollouts.

Of the states of one rollout the one with the largest ``seq`` holds, so it does no harm to read a record twice, late, or
from the beginning again.
"""

from collections import Counter

from shadowlane.errors import CodecError
from shadowlane.rollout.routing import Route
from shadowlane.schemas.codec import decode, unpack
from shadowlane.schemas.events import RolloutState


class Known:
    """The routes by rollout. Written by one thread, read by any."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.counts: Counter[str] = Counter()

    def take(self, envelope: bytes | None, key: bytes | None = None) -> list[str]:
        """Takes the states of one message; gives what is wrong with the lines that are none.

        A state that is not newer than the known one is left out: ``counts`` has ``repeated`` (the same ``seq``
        again), ``older``, ``bad`` and ``taken``.
        """
        wrong = []
        for _, line in unpack(envelope):
            try:
                route = Route(decode(RolloutState, line))
            except CodecError as exc:
                self.counts["bad"] += 1
                wrong.append(str(exc))
                continue
            name, seq = route.state.rollout, route.state.seq
            known = self.routes.get(name)
            if known is not None and seq <= known.state.seq:
                self.counts["repeated" if seq == known.state.seq else "older"] += 1
                continue
            self.routes[name] = route
            self.counts["taken"] += 1
        return wrong
