"""What a worker did since it started, and how Prometheus reads it."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from shadowlane import metrics
from shadowlane.processors.watch.figures import Family, Histogram, distribution, figure, figures
from shadowlane.schemas.events import Response


@dataclass(slots=True)
class Progress:
    """What this worker did since it started. ``failures`` counts responses by their ``error``.

    What the stable version answered again is in ``baselines`` and ``baseline_failures`` alone, but for its attempts.
    """

    records: int = 0
    not_shadowed: int = 0  # no rollout takes them
    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    baselines: int = 0
    baseline_failures: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    dead_letters: int = 0
    given_back: int = 0  # not finished at a stop, or no longer ours: the next owner reads them again
    in_flight: int = 0
    most_in_flight: int = 0
    latency: defaultdict[str, Histogram] = field(  # by rollout
        default_factory=lambda: defaultdict(Histogram), repr=False
    )

    def responded(self, response: Response) -> None:
        """A request has its response, be it a failure."""
        if response.error:
            self.failures[response.error] += 1
        else:
            self.answered += 1
        if response.attempts:  # else nobody was asked
            self.latency[response.rollout].add(response.latency_ms / 1000)

    def responded_again(self, response: Response) -> None:
        """The stable version answered a request that it served once more, or failed to."""
        if response.error:
            self.baseline_failures[response.error] += 1
        else:
            self.baselines += 1

    def figures(self) -> Iterator[Family]:
        """From any thread."""
        yield figure(metrics.WORKER_REQUESTS, self.records)
        yield figure(metrics.WORKER_NOT_SHADOWED, self.not_shadowed)
        yield figure(metrics.WORKER_ATTEMPTS, self.attempts)
        yield figure(metrics.WORKER_ANSWERS, self.answered)
        yield figures(metrics.WORKER_FAILURES, dict(self.failures))
        yield figure(metrics.WORKER_BASELINES, self.baselines)
        yield figures(metrics.WORKER_BASELINE_FAILURES, dict(self.baseline_failures))
        yield figure(metrics.WORKER_DEAD_LETTERS, self.dead_letters)
        yield figure(metrics.WORKER_GIVEN_BACK, self.given_back)
        yield figure(metrics.WORKER_IN_FLIGHT, self.in_flight)
        yield distribution(metrics.WORKER_LATENCY, dict(self.latency))
