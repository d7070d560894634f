"""What a worker asks of a budget while the budgets' topic is read again, as after an hour in which Kafka was away."""

import asyncio
import time
from typing import Any

import pytest

from shadowlane.processors.budget.amounts import Amount
from shadowlane.processors.budget.book import Entry, Window
from shadowlane.processors.budget.log import record_of
from shadowlane.processors.worker.costs import limits_of
from shadowlane.processors.worker.gate import Gate
from shadowlane.processors.worker.guarded import Admission
from shadowlane.processors.worker.places import Places, Seat
from shadowlane.processors.worker.progress import Progress
from shadowlane.processors.worker.question import Question
from shadowlane.processors.worker.room import Room, Share
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import Settings
from tests.processors.worker.serving import asked

SETTINGS = Settings.model_validate(
    {
        "kafka": {"bootstrap_servers": "127.0.0.1:1", "client": {"log_level": 0}},
        "rollouts": [
            {
                "name": "r",
                "stable": {"model": "old"},
                "candidate": {"model": "new", "base_url": "http://127.0.0.1:1/v1"},
                "budget": {"rollout": {"calls": 64}},
            }
        ],
    }
)


def test_nothing_is_asked_for_before_all_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the worker has taken is not in the book then: it would take as much once more, and the others had less."""
    (rollout,) = SETTINGS.rollouts
    plan = Plan.of(rollout, SETTINGS.worker)
    question = Question.of(asked({"model": "old", "messages": []}), plan)
    written: list[Entry] = []

    async def run() -> None:
        gate = Gate(SETTINGS, "me", lambda: None)
        gate._ready = True
        lines: Any = gate._lines
        monkeypatch.setattr(gate._writer, "budgets", lambda entries, now: written.extend(entries))
        seat = Seat(Places(1, Progress()), Room(2**20), Share(0))
        window = Window.at("r", rollout.epoch, "rollout", time.time())
        took = encode(record_of(Entry(window, "me", 1, Amount(calls=9), limits_of(rollout)["rollout"]), 1))
        assert lines.take(took) == []
        lines.end()
        for _ in range(9):
            assert isinstance(await gate.admit(gate.guarded(rollout, question), question, seat), Admission)
        assert written == []

        lines.begin()
        tenth = asyncio.create_task(gate.admit(gate.guarded(rollout, question), question, seat))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not tenth.done()
        assert written == []
        lines.take(took)
        lines.end()
        while not written:
            await asyncio.sleep(0.01)
        assert [entry.take for entry in written] == [Amount(calls=2)]  # the one call, and a 64th
        tenth.cancel()
        await asyncio.gather(tenth, return_exceptions=True)

    asyncio.run(run())
