"""The example's customers: they send every ticket of tickets.jsonl to the desks given, several times over.

A few customers write at once to each desk, each waiting for the answer before the next one writes.

    python traffic.py http://127.0.0.1:8000/triage --passes 4

The exit code is 1 where a desk did not answer every ticket.
"""

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

TICKETS = Path(__file__).with_name("tickets.jsonl")
CUSTOMERS_AT_ONCE = 6  # per desk
SECONDS_TO_ANSWER = 30


def load_tickets() -> list[dict[str, Any]]:
    """What a customer sends: the tickets without the desk's right answers."""
    lines = TICKETS.read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "answer"} for line in lines]


def in_order(tickets: list[dict[str, Any]], passes: int) -> list[dict[str, Any]]:
    """Every ticket once in each pass, each pass in another order, and always the same ones."""
    shuffled = random.Random(5)  # noqa: S311 - the order of a demo, no secret
    return [ticket for _ in range(passes) for ticket in shuffled.sample(tickets, len(tickets))]


async def write(
    session: aiohttp.ClientSession, desk: str, tickets: list[dict[str, Any]], progress: Progress, bar: TaskID
) -> Counter[str]:
    """All ``tickets`` to one desk; what came of them, by kind."""
    waiting = iter(tickets)
    outcomes: Counter[str] = Counter()

    async def customer() -> None:
        for ticket in waiting:
            try:
                async with session.post(desk, json=ticket) as answer:
                    await answer.read()
                    outcomes["answered" if answer.status == 200 else f"HTTP {answer.status}"] += 1
            except (aiohttp.ClientError, TimeoutError) as exc:
                outcomes[type(exc).__name__] += 1
            progress.advance(bar)

    await asyncio.gather(*(customer() for _ in range(CUSTOMERS_AT_ONCE)))
    return outcomes


async def run(desks: list[str], passes: int) -> list[Counter[str]]:
    """The whole traffic, to all desks at the same time."""
    tickets = in_order(load_tickets(), passes)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    timeout = aiohttp.ClientTimeout(total=SECONDS_TO_ANSWER)
    with Progress(*columns, console=Console()) as progress:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            return await asyncio.gather(
                *(
                    write(session, desk, tickets, progress, progress.add_task(desk, total=len(tickets)))
                    for desk in desks
                )
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Customers who write to support desks.")
    parser.add_argument(
        "desk", nargs="+", help="where a desk takes tickets, such as http://127.0.0.1:8000/triage"
    )
    parser.add_argument("--passes", type=int, default=1, help="how often each ticket is sent")
    arguments = parser.parse_args()
    try:
        outcomes_by_desk = asyncio.run(run(arguments.desk, arguments.passes))
    except KeyboardInterrupt:
        sys.exit(130)
    failed = False
    for desk, outcomes in zip(arguments.desk, outcomes_by_desk, strict=True):
        for outcome, count in outcomes.items():
            if outcome != "answered":
                print(f"{desk}: {count} tickets ended with {outcome}", file=sys.stderr)
                failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
