"""What all workers have taken of the budgets' present windows, for people and for Prometheus."""

from collections.abc import Iterator, Sequence

from shadowlane.processors.budget.amounts import Amount, Limits
from shadowlane.processors.budget.book import Span, Window
from shadowlane.processors.budget.log import Lines
from shadowlane.processors.budget.purse import Exhausted
from shadowlane.processors.budget.told import used, used_up
from shadowlane.processors.worker.costs import limits_of
from shadowlane.schemas.config import Rollout


class Windows:
    """Of all rollouts. What is told may be asked for from any thread; ``now`` is in Unix seconds."""

    def __init__(self, rollouts: Sequence[Rollout], lines: Lines) -> None:
        self._rollouts, self._lines = rollouts, lines
        self._exhausted: dict[Window, str] = {}  # of windows that refused a call: why

    def refused(self, answer: Exhausted) -> None:
        """A window had not enough for a call."""
        self._exhausted[answer.window] = answer.why

    def told(self, now: float) -> Iterator[str]:
        """Those that refuse calls."""
        for rollout in self._rollouts:
            for _, limits, window, taken in self._of(rollout, now):
                if why := self._exhausted.get(window):
                    yield used_up(window, why, limits, taken, now)

    def budgets(self, now: float) -> Iterator[str]:
        """Of each rollout that has one, how much of it is taken, by all workers."""
        for rollout in self._rollouts:
            windows = self._of(rollout, now)
            if said := "; ".join(used(span, limits, taken) for span, limits, _, taken in windows):
                yield f"budget of rollout {rollout.name}: {said}"

    def shares(self, now: float) -> dict[tuple[str, str], float]:
        """(rollout, window) -> how much of it is taken, of 1, of the measure that is scarcest."""
        return {
            (rollout.name, str(span)): limits.share(taken)
            for rollout in self._rollouts
            for span, limits, _, taken in self._of(rollout, now)
        }

    def _of(self, rollout: Rollout, now: float) -> list[tuple[Span, Limits, Window, Amount]]:
        found = []
        with self._lines.lock:
            for span, limits in limits_of(rollout).items():
                window = Window.at(rollout.name, rollout.epoch, span, now)
                found.append((span, limits, window, self._lines.book.taken(window)))
        return found
