"""Which arm served a request, as the worker and pairing both tell it. Pure."""

from shadowlane.errors import CodecError
from shadowlane.schemas.config import Rollout
from shadowlane.schemas.events import Arm, MirroredRequest, Response

# By names of their own: an Enum's attributes take Python five times as long.
STABLE, CANDIDATE = Arm

_KNOWN = frozenset({"", STABLE.value, CANDIDATE.value})


def check_arm(record: MirroredRequest | Response) -> None:
    """Refuses an arm that is none: to guess would be to compare a version with itself.

    Raises:
        CodecError: it is neither ``stable`` nor ``candidate`` nor empty.
    """
    if record.arm not in _KNOWN:
        raise CodecError(
            f"{type(record).__name__}.arm is {record.arm[:50]!r}; it may be stable, candidate, or empty"
        )


def served_arm(rollout: Rollout, said: str, model: str) -> Arm:
    """Who served: the router's word (``said``, checked); else whoever's the ``model`` is that was asked."""
    if said:
        return Arm(said)
    candidate = rollout.candidate.model
    if candidate and candidate != rollout.stable.model and candidate == model:
        return CANDIDATE
    return STABLE


def other(arm: Arm) -> Arm:
    return STABLE if arm is CANDIDATE else CANDIDATE
