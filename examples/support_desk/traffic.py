"""The example's customers: they send the tickets of tickets.jsonl to the desks given, and count who answered.

A few customers write at once to each desk, each waiting for the answer before the next one writes.

    python traffic.py http://127.0.0.1:8000 --passes 4

The exit code is 1 where a desk did not answer every ticket.
"""

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

TICKETS = Path(__file__).with_name("tickets.jsonl")
CUSTOMERS_AT_ONCE = 6  # per desk
SECONDS_TO_ANSWER = 30


@dataclass
class Desk:
    """Where a desk is, and what its customers got: answers by (stage, customer, model), failures by kind."""

    url: str
    answers: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    closed: bool = False  # no customer writes any more

    def by_model(self, stage: str | None = None) -> Counter[str]:
        """Answers by model, in one stage or in all."""
        found: Counter[str] = Counter()
        for (in_stage, _, model), count in self.answers.items():
            if stage in (None, in_stage):
                found[model] += count
        return found


def load_tickets() -> list[dict[str, Any]]:
    """What a customer sends: the tickets without the desk's right answers."""
    lines = TICKETS.read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "answer"} for line in lines]


def in_order(tickets: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every ticket once in each pass, each pass in another order, always the same ones, without end."""
    shuffled = random.Random(5)  # noqa: S311 - the order of a demo, no secret
    while True:
        yield from shuffled.sample(tickets, len(tickets))


async def write(session: aiohttp.ClientSession, desk: Desk, tickets: Iterator[dict[str, Any]]) -> None:
    """Sends ``tickets`` to one desk until there are no more, or the desk is closed."""

    async def customer() -> None:
        for ticket in tickets:
            try:
                async with session.post(f"{desk.url}/triage", json=ticket) as answer:
                    await answer.read()
                    if answer.status == 200:
                        stage, model = answer.headers["x-stage"], answer.headers["x-model"]
                        desk.answers[stage, ticket["customer"], model] += 1
                    else:
                        desk.failures[f"HTTP {answer.status}"] += 1
            except (aiohttp.ClientError, TimeoutError) as exc:
                desk.failures[type(exc).__name__] += 1
            if desk.closed:
                return

    await asyncio.gather(*(customer() for _ in range(CUSTOMERS_AT_ONCE)))


def new_session() -> aiohttp.ClientSession:
    """To be made within a running loop."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS_TO_ANSWER))


async def run(desks: list[Desk], passes: int) -> None:
    """So many passes to all desks, at the same time."""
    tickets = load_tickets()
    async with new_session() as session:
        await asyncio.gather(
            *(write(session, desk, islice(in_order(tickets), passes * len(tickets))) for desk in desks)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Customers who write to support desks.")
    parser.add_argument("desk", nargs="+", help="where a desk is, such as http://127.0.0.1:8000")
    parser.add_argument("--passes", type=int, default=1, help="how often each ticket is sent")
    arguments = parser.parse_args()
    desks = [Desk(url) for url in arguments.desk]
    try:
        with Console(stderr=True).status("customers write"):
            asyncio.run(run(desks, arguments.passes))
    except KeyboardInterrupt:
        sys.exit(130)
    for desk in desks:
        for model, count in desk.by_model().items():
            print(f"{desk.url}: {count} answers by {model}")
        for failure, count in desk.failures.items():
            print(f"{desk.url}: {count} tickets ended with {failure}", file=sys.stderr)
    sys.exit(1 if any(desk.failures for desk in desks) else 0)


if __name__ == "__main__":
    main()
