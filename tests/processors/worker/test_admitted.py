"""What the caller tells the gate of calls that it admitted, with a gate that notes it."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from shadowlane.processors.budget.amounts import Amount
from shadowlane.processors.worker import caller as calling
from shadowlane.processors.worker.caller import Caller
from shadowlane.processors.worker.guarded import Admission
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.config import Rollout, Worker
from shadowlane.schemas.events import Failure
from tests.processors.worker.serving import asked, responded

WORKER = Worker(timeout_s=30, max_attempts=1)


class Guarded:
    def __init__(self, calm: bool) -> None:
        self.calm = calm

    def looks(self, attempt: Any) -> bool:
        return not self.calm or attempt.failure is not None


class Gate:
    """Admits all."""

    open = True

    def __init__(self, calm: bool = False) -> None:
        self.calm = calm
        self.in_flight: dict[str, int] = {}
        self.failures: list[Failure | None] = []  # that it was told of
        self.lost_ones: list[Admission] = []

    def guarded(self, rollout: object, question: object) -> Guarded:
        return Guarded(self.calm)

    async def admit(self, guarded: object, question: object, seat: object, *, again: bool) -> Admission:
        return Admission(None, Amount(), tries=True)

    def after(self, guarded: Any, admission: Any, question: Any, *rest: Any) -> None:
        self.in_flight[question.response.rollout] = rest[-1]
        self.failures.append(rest[0].failure)

    def lost(self, guarded: object, admission: Admission) -> None:
        self.lost_ones.append(admission)


def plan(name: str, url: str) -> Plan:
    document = {"name": name, "stable": {"model": "old"}, "candidate": {"model": "new", "base_url": url}}
    return Plan.of(Rollout.model_validate(document), WORKER)


FINE = {"choices": [{"message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}]}


async def calls(gate: Gate, names: list[str], held: str, answer_of: Any = FINE) -> None:
    """One of each of these rollouts, in turn; those of ``held`` are answered once all others are."""
    others = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.path.startswith(f"/{held}/"):
            await others.wait()
        return web.json_response(answer_of)

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


@pytest.mark.parametrize("calm", [True, False])
@pytest.mark.parametrize(
    ("answer_of", "failure"),
    [
        (FINE, None),
        ({"choices": "none"}, Failure.BAD_RESPONSE),
    ],
)
def test_a_failure_that_its_answer_tells_is_told_of_though_it_is_read_later(
    calm: bool, answer_of: Any, failure: Failure | None
) -> None:
    gate = Gate(calm)
    asyncio.run(calls(gate, ["one"], held="busy", answer_of=answer_of))
    assert gate.failures == ([] if calm and failure is None else [failure])


def test_a_call_whose_end_nobody_knows_is_told_of_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what was reserved for it is never settled, and nobody else may try a target that did not answer."""

    def fails(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(calling, "_read", fails)
    gate = Gate()
    with pytest.raises(RuntimeError, match="foresaw"):
        asyncio.run(calls(gate, ["calm"], held="busy"))
    assert [admission.tries for admission in gate.lost_ones] == [True]
