"""Lets others see how a component is, and ends one that stands still. docs/observability.md.

::

    component ──▶ Board ──▶ /metrics, /healthz, /readyz    a thread; one for each who asks
                    │
    Kafka ──▶ LagReader ──▶ Watchdog ──▶ exit code 8       a thread each
"""

from shadowlane.processors.watch.board import Board, Loop
from shadowlane.processors.watch.figures import Family, Histogram, distribution, figure, figures
from shadowlane.processors.watch.stall import Reading, Seen
from shadowlane.processors.watch.waits import Waiting
from shadowlane.processors.watch.watchdog import EXIT_STALLED
from shadowlane.processors.watch.watching import STALLED_STARTS, watching

__all__ = [
    "EXIT_STALLED",
    "STALLED_STARTS",
    "Board",
    "Family",
    "Histogram",
    "Loop",
    "Reading",
    "Seen",
    "Waiting",
    "distribution",
    "figure",
    "figures",
    "watching",
]
