"""Which requests a rollout takes, and of which the stable version is asked again. Pure.

The worker and pairing ask alike: the one asks, and the other knows that there is an answer to wait for.
"""

from shadowlane.processors.arms import STABLE, served_arm
from shadowlane.producers.sampling import Sampler
from shadowlane.schemas.config import Rollout


def shadowed(rollout: Rollout) -> Sampler:
    """The rollout's own sample, by key.

    Salted apart from the mirror's sampling: of what that took, this takes its share again.
    """
    return Sampler(rollout.sampling.rate, salt=f"shadowlane.rollout:{rollout.name}")


class NoiseSample:
    """Of the requests that are shadowed and that the stable version served, those that it is asked once more.

    By the request's id and not by its key, so that they are of many sessions; salted apart from every other sampling.
    So a record that is read again is treated as it was the first time.
    """

    __slots__ = ("_again", "_order", "_rollout", "_shadowed")

    def __init__(self, rollout: Rollout) -> None:
        self._rollout = rollout
        self._shadowed = shadowed(rollout)
        self._again = Sampler(rollout.noise.rate, salt=f"shadowlane.noise:{rollout.name}")
        self._order = Sampler(0.5, salt=f"shadowlane.noise.order:{rollout.name}")

    @classmethod
    def of(cls, rollout: Rollout) -> "NoiseSample | None":
        """None where it is switched off."""
        return cls(rollout) if rollout.noise.rate else None

    def takes(self, request_id: str, key: str, arm: str, model: str) -> bool:
        """``arm`` and ``model`` as the record has them: who served, if that is said, and who was asked."""
        return (
            self._again.takes(request_id)
            and self._shadowed.takes(key or request_id)
            and served_arm(self._rollout, arm, model) is STABLE
        )

    def baseline_first(self, request_id: str) -> bool:
        """Whether the stable version is asked before the candidate: in half of them, so that neither gains by it."""
        return self._order.takes(request_id)
