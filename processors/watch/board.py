"""What a component tells of itself: whether its loops turn, whether it is ready, and its figures."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field

from shadowlane.processors.watch.behind import Pace
from shadowlane.processors.watch.figures import Family
from shadowlane.processors.watch.waits import Wait, Waiting, Waits

TURN_S = 0.5
ON_LOOP_S = 10.0
"""How long an asyncio loop may not turn before it counts as hung."""


@dataclass(slots=True)
class Loop:
    """One loop of a component, which turns now and then however little there is to do.

    ``within_s`` is how long one turn may take. Where it takes longer, ``/healthz`` says so; the watchdog ends the
    process where ``ends`` and it takes longer still (``monitoring.stalled_after_s``).
    """

    name: str
    within_s: float
    ends: bool = True
    turns: int = 0
    at: float = field(default_factory=time.monotonic)

    def turn(self) -> None:
        """To be called in the loop, at each turn."""
        self.turns += 1
        self.at = time.monotonic()

    def turn_with(self, loop: asyncio.AbstractEventLoop) -> None:
        """Turns with an asyncio loop from now on. In the loop's thread."""
        self.turn()
        if not loop.is_closed():
            loop.call_later(TURN_S, self.turn_with, loop)

    @property
    def age(self) -> float:
        """Seconds since it last turned."""
        return time.monotonic() - self.at


class Board:
    """Where a component says how it is. Written by its own threads, read by those that serve and watch.

    ``unready``, ``figures``, ``doing``, ``notes`` and ``waiting`` may be called from any thread at any time, also
    before the component runs. What they give is for everybody to see: sentences and numbers of ours, no text from
    traffic, Kafka or the store; of a stop, what the person who made it wrote.

    Args:
        component: as in ``shadowlane run COMPONENT``.
        unready: why it can't do its work now; empty where it can.
        figures: its metrics.
        doing: what is going on, in a few words.
        notes: what is not as usual, a sentence each.
        waiting: what it waits for now, and why.
    """

    def __init__(
        self,
        component: str,
        *,
        unready: Callable[[], list[str]],
        figures: Callable[[], Iterable[Family]],
        doing: Callable[[], str] = str,
        notes: Callable[[], list[str]] = list,
        waiting: Callable[[], Waiting] = dict,
    ) -> None:
        self.component = component
        self.loops: list[Loop] = []
        self.started = time.time()
        self.unready = unready
        self.figures = figures
        self.doing = doing
        self.notes = notes
        self.waiting = waiting
        self.waits = Waits()
        self.pace: Callable[[], Pace | None] = lambda: None
        """Of the group that the component reads in, where it does."""
        self.deployment = ""

    def loop(self, name: str, within_s: float = ON_LOOP_S, *, ends: bool = True) -> Loop:
        """A loop that is to turn from now on."""
        loop = Loop(name, within_s, ends)
        self.loops.append(loop)
        return loop

    def lasting(self) -> list[Wait]:
        """What it waits for, as last looked."""
        return self.waits.now(time.monotonic())

    def health(self) -> dict[str, object]:
        """What ``/healthz`` answers; ``alive`` is false where a loop hangs."""
        ages = {loop.name: round(loop.age, 1) for loop in self.loops}
        hung = [loop.name for loop in self.loops if loop.age > loop.within_s]
        pace = self.pace()
        return {
            "component": self.component,
            "deployment": self.deployment,
            "pid": os.getpid(),
            "alive": not hung,
            "hung": hung,
            "doing": self.doing(),
            "notes": self.notes(),
            "waits": [asdict(wait) for wait in self.lasting()],
            "pace": asdict(pace) if pace else None,
            "seconds_since_turn": ages,
            "threads": threading.active_count(),
            "up_seconds": round(time.time() - self.started),
        }

    def readiness(self) -> dict[str, object]:
        """What ``/readyz`` answers; ``ready`` is false where there is a reason."""
        reasons = self.unready()
        reasons += [f"its {loop.name} hangs" for loop in self.loops if loop.age > loop.within_s]
        return {"component": self.component, "ready": not reasons, "reasons": reasons}
