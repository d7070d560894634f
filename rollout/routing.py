"""Who serves a key: pure, and the same in every process.

A key's place among 2^64 is its BLAKE2b hash, keyed by the rollout's name. The candidate serves the keys whose place
is below the traffic's share, so a larger share only moves keys in. The salt is not the sampling's
(:mod:`shadowlane.producers.sampling`): who is mirrored says nothing of who is moved.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from shadowlane.errors import CodecError
from shadowlane.schemas.events import Arm, RolloutState

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Reason(StrEnum):
    """Why this arm serves."""

    SHARE = "share"  # the key's place, below the share or above it
    EVERYONE = "everyone"  # the share is 0 or 100
    EXCLUDED = "excluded"  # the request is of a slice that the stable version serves
    NO_KEY = "no_key"  # nothing to stick to: the stable version, until the share is 100
    UNKNOWN = "unknown"  # no state of this rollout is known (yet)


@dataclass(frozen=True, slots=True)
class Choice:
    """Who serves a request.

    ``model`` is ``""`` where the rollout names none or is not known: then the service's own is meant.
    ``overrides`` are the parameters that belong to the arm; null takes one out. ``prompt`` is what it makes of the
    system prompt (:class:`Wording`), None where that stays as it is.
    """

    rollout: str
    arm: Arm
    reason: Reason
    model: str = ""
    overrides: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    stage: str = ""
    epoch: str = ""
    traffic_pct: float = 0.0
    prompt: "Wording | None" = None

    def applied_to(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a request with this arm's model, overrides and prompt: what the shadow worker would send
        it. The prompt needs the conversation to be among them (``messages``, or ``input``), and is left out without.
        """
        asked = dict(parameters)
        if self.model:
            asked["model"] = self.model
        for name, value in self.overrides.items():
            if value is None:
                asked.pop(name, None)
            else:
                asked[name] = copy.deepcopy(value)  # the choice is shared by all requests
        return asked if self.prompt is None else self.prompt.put_into(asked)


@dataclass(frozen=True, slots=True)
class Wording:
    """A version's own system prompt: instead of the request's (``replace``; ``""`` takes it out), or added to it.

    ``api`` is the :class:`~shadowlane.schemas.events.Protocol` of the requests.
    """

    api: str
    replace: str | None = None
    prepend: str = ""
    append: str = ""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Wording | None":
        """As a state tells it; None where it says nothing, or nothing that this version understands: who serves
        counts for more, and pairs of requests with another prompt are not compared."""
        known = {one.name for one in fields(cls)}
        if "api" not in told or not all(name in known and isinstance(told[name], str) for name in told):
            return None
        from shadowlane.schemas.requests import (
            APIS,
        )  # few services need it: now, and not with the first request

        return cls(**told) if told["api"] in APIS else None

    @property
    def told(self) -> dict[str, str]:
        """The contrary of :meth:`of`."""
        return {
            name: text
            for name, text in asdict(self).items()
            if text or (name == "replace" and text is not None)
        }

    def put_into(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """A request's parameters with this prompt; as they are where they hold no conversation."""
        from shadowlane.schemas.requests.prompt import prompted

        for name in ("messages", "input"):
            said = parameters.get(name)
            if isinstance(said, (list, tuple)) or (name == "input" and isinstance(said, str)):
                given = parameters | ({name: list(said)} if isinstance(said, tuple) else {})
                return prompted(given, self.api, self)
        return parameters


def candidate_serves(rollout: str, key: str, pct: float) -> bool:
    """Whether the candidate serves ``key`` at ``pct`` percent of the keys, 0 to 100."""
    return _place(_salt(rollout), key) < _limit(pct)


@lru_cache(4096)
def unknown(rollout: str) -> Choice:
    """The choice while nothing is known of a rollout: the stable version."""
    return Choice(rollout, Arm.STABLE, Reason.UNKNOWN)


class Route:
    """One state of one rollout, ready to be asked.

    Raises:
        CodecError: the state makes no sense: no name, or a share that is none.
    """

    __slots__ = ("_candidate", "_everyone", "_excluded", "_limit", "_salt", "_stable", "state")

    def __init__(self, state: RolloutState) -> None:
        if not state.rollout:
            raise CodecError("RolloutState.rollout is empty")
        if not 0 <= state.traffic_pct <= 100:
            raise CodecError(f"RolloutState.traffic_pct is {state.traffic_pct}: it must be from 0 to 100")
        self.state = state
        self._salt = _salt(state.rollout)
        self._limit = _limit(state.traffic_pct)
        self._excluded = frozenset(map(str, state.excluded))
        self._stable = {reason: _choice(state, Arm.STABLE, reason) for reason in Reason}
        self._candidate = _choice(state, Arm.CANDIDATE, Reason.SHARE)
        self._everyone: Choice | None = None
        if state.traffic_pct in (0, 100):
            arm = Arm.CANDIDATE if state.traffic_pct else Arm.STABLE
            self._everyone = _choice(state, arm, Reason.EVERYONE)

    def choose(self, key: str, attributes: Mapping[Any, Any] | None = None) -> Choice:
        """Who serves a request. ``attributes`` are the mirror's: slices are made of them."""
        if self._excluded and attributes and self._in_excluded(attributes):
            return self._stable[Reason.EXCLUDED]
        if self._everyone is not None:
            return self._everyone
        if not key:
            return self._stable[Reason.NO_KEY]
        return self._candidate if _place(self._salt, key) < self._limit else self._stable[Reason.SHARE]

    def _in_excluded(self, attributes: Mapping[Any, Any]) -> bool:
        return any(f"{name}={value}" in self._excluded for name, value in attributes.items())


def choose(state: RolloutState, key: str, attributes: Mapping[Any, Any] | None = None) -> Choice:
    """Who serves one request in ``state``. For many requests make the :class:`Route` once."""
    return Route(state).choose(key, attributes)


def _choice(state: RolloutState, arm: Arm, reason: Reason) -> Choice:
    stable = arm == Arm.STABLE
    return Choice(
        rollout=state.rollout,
        arm=arm,
        reason=reason,
        model=state.stable_model if stable else state.candidate_model,
        overrides=MappingProxyType(state.stable_overrides if stable else state.candidate_overrides),
        stage=state.stage,
        epoch=state.epoch,
        traffic_pct=state.traffic_pct,
        prompt=Wording.of(state.stable_prompt if stable else state.candidate_prompt),
    )


@lru_cache(4096)
def _salt(rollout: str) -> bytes:
    name = f"shadowlane.routing:{rollout}".encode("utf-8", "surrogatepass")
    return blake2b(name, digest_size=16).digest()


def _place(salt: bytes, key: str) -> int:
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=salt).digest()
    return int.from_bytes(digest, "big")


def _limit(pct: float) -> int:
    return int(pct / 100 * 2**64)
