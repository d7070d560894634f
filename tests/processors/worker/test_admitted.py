"""What the caller tells the gate of calls that it admitted, with a gate that notes it."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from shadowlane.processors.budget.amounts import Amount
from shadowlane.processors.worker import caller as calling
from shadowlane.processors.worker.caller import Caller
from shadowlane.processors.worker.gate import Admission
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.config import Rollout, Worker
from tests.processors.worker.serving import asked, responded

WORKER = Worker(timeout_s=30, max_attempts=1)


class Guarded:
    calm = False

    def looks(self, attempt: object) -> bool:
        return True


class Gate:
    """Admits all."""

    open = True

    def __init__(self) -> None:
        self.in_flight: dict[str, int] = {}
        self.lost_ones: list[Admission] = []

    def guarded(self, rollout: object, question: object) -> Guarded:
        return Guarded()

    async def admit(self, guarded: object, question: object) -> Admission:
        return Admission(None, Amount(), tries=True)

    def after(self, guarded: Any, admission: Any, question: Any, *rest: Any) -> None:
        self.in_flight[question.response.rollout] = rest[-1]

    def lost(self, guarded: object, admission: Admission) -> None:
        self.lost_ones.append(admission)


def plan(name: str, url: str) -> Plan:
    document = {"name": name, "stable": {"model": "old"}, "candidate": {"model": "new", "base_url": url}}
    return Plan.of(Rollout.model_validate(document), WORKER)


async def calls(gate: Gate, names: list[str], held: str) -> None:
    """One of each of these rollouts, in turn; those of ``held`` are answered once all others are."""
    others = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.path.startswith(f"/{held}/"):
            await others.wait()
        message = {"role": "assistant", "content": "fine"}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}]})

    app = web.Application()
    app.router.add_post("/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    asks: Any = gate
    caller = Caller(WORKER, gate=asks)
    request = asked({"model": "old", "messages": []})
    plans = {name: plan(name, f"{url}/{name}") for name in set(names)}
    try:
        waiting = [
            asyncio.create_task(responded(caller, request, plans[name])) for name in names if name == held
        ]
        await asyncio.gather(*(responded(caller, request, plans[name]) for name in names if name != held))
        others.set()
        await asyncio.gather(*waiting)
    finally:
        await caller.close()
        await runner.cleanup()


def test_calls_under_way_are_counted_for_each_target_by_itself() -> None:
    gate = Gate()
    asyncio.run(calls(gate, ["busy", "busy", "busy", "calm"], held="busy"))
    assert gate.in_flight["calm"] == 0


def test_a_call_whose_end_nobody_knows_is_told_of_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what was reserved for it is never settled, and nobody else may try a target that did not answer."""

    def fails(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(calling, "_read", fails)
    gate = Gate()
    with pytest.raises(RuntimeError, match="foresaw"):
        asyncio.run(calls(gate, ["calm"], held="busy"))
    assert [admission.tries for admission in gate.lost_ones] == [True]
