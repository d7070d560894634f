"""Which rollout a response belongs to, looked up once for each place and each value that a rollout asks for."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from shadowlane.schemas.config import Rollout

REMEMBERED = 4096
"""Answers that are kept: places, by values of the attributes that rollouts match by."""


class Matching:
    """The rollouts of a configuration, in order: a response belongs to the first one that takes it."""

    def __init__(self, rollouts: Sequence[Rollout]) -> None:
        # The epoch is a hash: once, not per record.
        self._rollouts = [(rollout, rollout.epoch) for rollout in rollouts]
        self._names = sorted({name for rollout in rollouts for name in rollout.match.attributes})
        self._find = lru_cache(REMEMBERED)(self._first)
        self.takes_place = lru_cache(REMEMBERED)(self._any)

    def rollout_of(
        self, service: str, route: str, attributes: Mapping[str, str]
    ) -> tuple[Rollout, str] | None:
        """The rollout that takes it, and its epoch; None where none does."""
        if not self._names:
            return self._find(service, route)
        return self._find(service, route, *(attributes.get(name) for name in self._names))

    def _first(self, service: str, route: str, *values: str | None) -> tuple[Rollout, str] | None:
        there = {name: v for name, v in zip(self._names, values, strict=True) if v is not None}
        return next((one for one in self._rollouts if one[0].match.takes(service, route, there)), None)

    def _any(self, service: str, route: str) -> bool:
        """Whether some rollout takes some request of this service and route."""
        return any(rollout.match.takes_place(service, route) for rollout, _ in self._rollouts)
