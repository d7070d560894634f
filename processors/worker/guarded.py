"""What a worker knows of an arm of a rollout before it asks it: its limits, and who waits for them."""

from collections.abc import Iterator, Mapping

from shadowlane import metrics
from shadowlane.processors.budget.amounts import NOTHING, Amount
from shadowlane.processors.budget.purse import Reservation
from shadowlane.processors.pressure import span as lasting
from shadowlane.processors.watch.figures import Family, figures
from shadowlane.processors.worker.breaker import Breaker, BreakerSettings
from shadowlane.processors.worker.costs import limits_of
from shadowlane.processors.worker.line import Line
from shadowlane.processors.worker.pace import Pace
from shadowlane.processors.worker.question import Attempt
from shadowlane.processors.worker.target import Target
from shadowlane.schemas.config import Price, Rollout

SEEN_EVERY = 50  # calls


class Guarded:
    """One target: an arm of a rollout."""

    def __init__(self, rollout: Rollout, arm: str, model: str, prices: Mapping[str, Price]) -> None:
        self.rollout = rollout
        self.arm = arm
        self.epoch = rollout.epoch
        self.price = prices.get(model)
        self.limits = limits_of(rollout)
        self.pace = Pace()
        self.breaker = Breaker(BreakerSettings())
        self.line = Line()
        self.waits_for = ""
        """What the first in the line waits for."""
        self.pausing = 0
        """Requests without a place that wait for their next attempt."""
        self.calm = not self.limits
        """Whether there is nothing to be looked at before a call: nearly always, and it costs nothing then."""
        self._unseen = 0

    def __str__(self) -> str:
        return f"the {self.arm} version of rollout {self.rollout.name}"

    def waits(self) -> int:
        """How many requests wait for it, without a place. From any thread."""
        return len(self.line) + self.pausing

    def waiting(self) -> str:
        """The same for people; ``""`` where none does."""
        if self.line:
            return f"requests that wait for {self}: {self.waits():,} ({self.waits_for})"
        return f"requests that wait to ask {self} again: {self.pausing:,}" if self.pausing else ""

    def looks(self, attempt: Attempt) -> bool:
        """Whether what became of a call is looked at: of calls that go well, while all is calm, one in so many, for
        the headers that its provider may send."""
        self._unseen -= 1
        if self.calm and attempt.failure is None and self._unseen > 0:
            return False
        self._unseen = SEEN_EVERY
        return True

    def settle(self, now: float) -> None:
        """What was looked at has changed."""
        self.calm = (
            not self.limits
            and self.pace.calm(now)
            and self.breaker.calm
            and not self.pausing
            and not self.line
        )


class Targets:
    """All that were asked for since the start."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = prices
        self._known: dict[int, Guarded] = {}  # by id() of the target, which lives as long as the worker

    def of(self, rollout: Rollout, target: Target) -> Guarded:
        found = self._known.get(id(target))
        if found is None:
            # The stable version, asked again for noise, is the one that is asked where the candidate serves.
            known = (each for each in self if (each.rollout.name, each.arm) == (rollout.name, target.arm))
            found = next(known, None) or Guarded(
                rollout, target.arm.value, target.version.model, self._prices
            )
            self._known[id(target)] = found
        return found

    def __iter__(self) -> Iterator[Guarded]:
        """From any thread."""
        return iter(dict.fromkeys(self._known.copy().values()))

    def told(self, now: float) -> Iterator[str]:
        """What is not as usual, for people. From any thread."""
        for each in self:
            if not each.breaker.closed():
                since = lasting(each.breaker.open_for(now))
                yield (
                    f"{each} has not answered for {since}: it is tried now and then, and what comes meanwhile is "
                    "not compared"
                )
            if (wait := each.pace.wait(now)) > 0:
                yield f"{each} takes no calls for {lasting(wait)}: its rate limit is reached, and requests wait"
            if waiting := each.waiting():
                yield waiting

    def figures(self, now: float) -> Iterator[Family]:
        """From any thread."""
        known = {(each.rollout.name, each.arm): each for each in self}
        circuits = {key: float(not each.breaker.closed()) for key, each in known.items()}
        yield figures(metrics.WORKER_CIRCUIT, circuits)
        yield figures(metrics.WORKER_PACED, {key: each.pace.wait(now) for key, each in known.items()})
        yield figures(metrics.WORKER_WAITING, {key: float(each.waits()) for key, each in known.items()})


class Admission:
    """A call that may be made, and what was reserved for it."""

    __slots__ = ("most", "reservation", "tries")

    def __init__(self, reservation: Reservation | None, most: Amount, *, tries: bool = False) -> None:
        self.reservation = reservation
        self.most = most
        self.tries = tries  # whether its target, which does not answer, does again


FREE = Admission(None, NOTHING)
