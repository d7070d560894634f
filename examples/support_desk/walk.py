"""The traffic, and both rollouts seen from the outside as they go: who answers the customers, stage by stage."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from rich.live import Live
from rich.text import Text

from examples.support_desk.processes import DemoError, Processes, console
from examples.support_desk.traffic import Desk, in_order, load_tickets, new_session, write

LONGEST_SECONDS = 240.0
TICK_SECONDS = 0.5
AFTERWARDS = 150  # answers more, once a rollout is decided: who serves then is to be seen
ENDS = {"completed": "completed", "rolled_back": "rolled back"}
BAR = 20
HEAD = f"  {'time':>5}  {'rollout':<12} {'stage':<8} {'traffic':>7}  {'answers':>7}  from the candidate"


@dataclass
class Progress:
    """Where one rollout stands, as its desk's router knows it."""

    rollout: str
    desk: Desk
    state: dict[str, Any] = field(default_factory=dict)
    left: list[tuple[dict[str, Any], str]] = field(default_factory=list)  # states, and what came after each
    decided_at: int | None = None  # answers until then

    def heard(self, state: dict[str, Any]) -> None:
        """Takes a new state in; what it ends goes to ``left``, to be told once its last answers are there."""
        if self.state and state["seq"] != self.state["seq"]:
            out = state["phase"] == "rolled_back"
            self.left.append((self.state, ENDS["rolled_back"] if out else f"→ {state['stage']}"))
        self.state = state
        if state["phase"] in ENDS and self.decided_at is None:
            self.decided_at = self.desk.answers.total()

    @property
    def is_shown(self) -> bool:
        """Whether it is decided, and the customers have seen enough of what was decided."""
        return self.decided_at is not None and self.desk.answers.total() >= self.decided_at + AFTERWARDS

    def now(self, seconds: float) -> Text:
        return self.line(self.state, seconds, ENDS.get(self.state["phase"], ""))

    def line(self, state: dict[str, Any], seconds: float, after: str = "") -> Text:
        by_model = self.desk.by_model(state["stage"])
        answers, candidate = by_model.total(), by_model[self.rollout]  # a rollout is called as its candidate
        share = candidate / answers if answers else 0.0
        full = round(BAR * share)
        clock = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
        return Text.assemble(
            f"  {clock:>5}  {self.rollout:<12} {state['stage']:<8} {state['traffic_pct']:>6g}%  {answers:>7,}  ",
            ("█" * full, "magenta"),
            ("░" * (BAR - full), "dim"),
            f" {share:>6.1%}  ",
            (after, "green" if after.startswith("→") or after == ENDS["completed"] else "red"),
        )


async def walk(desks: dict[str, Desk], processes: Processes, page: Callable[[], str | None]) -> None:
    """Customers write to every desk (by rollout) until each rollout is decided, or it takes too long.

    ``page`` says what on-call was paged with, once somebody was.

    Raises:
        DemoError: a process has ended.
    """
    rollouts = [Progress(rollout, desk) for rollout, desk in desks.items()]
    tickets = load_tickets()
    console.print(HEAD, style="dim")
    async with new_session() as session:
        writing = [write(session, desk, in_order(tickets)) for desk in desks.values()]
        await asyncio.gather(_watch(session, rollouts, processes, page), *writing)


async def _watch(
    session: aiohttp.ClientSession,
    rollouts: list[Progress],
    processes: Processes,
    page: Callable[[], str | None],
) -> None:
    started = time.monotonic()
    paged = False
    live = Live(console=console, transient=True) if console.is_terminal else None
    with live or nullcontext():
        while not all(rollout.desk.closed for rollout in rollouts):
            await asyncio.sleep(TICK_SECONDS)
            processes.check()
            seconds = time.monotonic() - started
            for rollout in rollouts:
                _tell(rollout, seconds)
                state = await router_state(session, rollout.desk.url, rollout.rollout)
                if state is not None:
                    rollout.heard(state)
                if not rollout.desk.closed and (rollout.is_shown or seconds > LONGEST_SECONDS):
                    rollout.desk.closed = True
                    if rollout.state and rollout.state["phase"] != "rolled_back":  # that one was told of
                        after = ENDS["completed"] if rollout.is_shown else "undecided: out of time"
                        rollout.left.append((rollout.state, after))
            if not paged and (said := page()) is not None:
                paged = True
                console.print(Text(f"  on-call is paged: {said}", "red"))
            if live:
                live.update(
                    Text("\n").join(r.now(seconds) for r in rollouts if r.state and not r.desk.closed)
                )
        await asyncio.sleep(TICK_SECONDS)
    for rollout in rollouts:
        _tell(rollout, time.monotonic() - started)


def _tell(rollout: Progress, seconds: float) -> None:
    for state, after in rollout.left:
        console.print(rollout.line(state, seconds, after))
    rollout.left.clear()


async def router_state(session: aiohttp.ClientSession, url: str, rollout: str) -> dict[str, Any] | None:
    """What a desk's router knows of a rollout; None where it knows nothing, or the desk does not say."""
    try:
        async with session.get(f"{url}/health") as answer:
            health = await answer.json()
    except (aiohttp.ClientError, TimeoutError):
        return None
    state: dict[str, Any] | None = health["router"]["states"].get(rollout)
    return state


def pages_in(path: Path) -> list[dict[str, Any]]:
    """What the pager took. A page that is being written is there the next time."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError as exc:
        raise DemoError(f"{path.name} is not what the pager writes: {exc}") from exc
