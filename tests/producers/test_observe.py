"""``@mirror.observe``: calls as they were, and what is mirrored of them."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest

from tests.producers.support import FakeMirror


def test_arguments_by_name_and_the_result(fake: FakeMirror) -> None:
    @fake.mirror.observe(route="quote", key=lambda arguments: arguments["user"])
    def quote(user: str, items: list[str], *more: int, rush: bool = False, **rest: Any) -> dict[str, Any]:
        """Its own docstring."""
        items.append("changed afterwards")
        return {"total": len(items)}

    assert quote("u1", ["a"], 1, 2, note="x") == {"total": 2}
    assert quote.__doc__ == "Its own docstring."
    assert list(inspect.signature(quote).parameters) == ["user", "items", "more", "rush", "rest"]
    request, served = fake.one()
    assert request.body == {
        "user": "u1",
        "items": ["a"],
        "more": [1, 2],
        "rush": False,
        "rest": {"note": "x"},
    }
    assert (request.route, request.protocol, request.key) == ("quote", "call", "u1")
    assert served.output == '{"total":2}'
    assert served.error == ""


def test_async_and_a_text_result(fake: FakeMirror) -> None:
    @fake.mirror.observe()
    async def answer(question: str) -> str:
        await asyncio.sleep(0)
        return "it's " + question

    assert inspect.iscoroutinefunction(answer)
    assert asyncio.run(answer(question="late")) == "it's late"
    request, served = fake.one()
    assert served.output == "it's late"
    assert request.route.endswith("answer")


def test_exceptions_pass_on_and_are_mirrored(fake: FakeMirror) -> None:
    mine = KeyError("mine")

    @fake.mirror.observe(route="r")
    def fails() -> None:
        raise mine

    with pytest.raises(KeyError) as caught:
        fails()
    assert caught.value is mine
    assert (fake.one()[1].error, fake.one()[1].error_message) == ("exception", "KeyError: 'mine'")


def test_a_call_with_wrong_arguments_is_the_callers_error(fake: FakeMirror) -> None:
    @fake.mirror.observe(route="r")
    def one(a: int) -> int:
        return a

    with pytest.raises(TypeError, match="missing 1 required"):
        one()  # type: ignore[call-arg]
    assert fake.mirror.stats()["eligible"] == 0


def test_methods_models_and_arguments_left_out(fake: FakeMirror) -> None:
    class Order(pydantic.BaseModel):
        number: int

    @dataclass
    class Place:
        city: str

    class Service:
        @fake.mirror.observe(route="r", leave_out=["connection"])
        def take(self, order: Order, place: Place, connection: object) -> set[str]:
            return {"ok"}

    assert Service().take(Order(number=3), Place("Bonn"), object()) == {"ok"}
    request, served = fake.one()
    assert request.body == {"order": {"number": 3}, "place": {"city": "Bonn"}}
    assert served.output == '["ok"]'


def test_what_has_no_json_form_goes_without_content(fake: FakeMirror) -> None:
    @fake.mirror.observe(route="r")
    def odd(thing: object) -> object:
        return thing

    odd(object())
    odd.__wrapped__(1)  # type: ignore[attr-defined]  # the function itself is not observed
    request, served = fake.one()
    assert request.body is None
    assert (served.error, served.error_message) == ("no_content", "request_not_json")


def test_a_key_function_that_fails_harms_nobody(fake: FakeMirror) -> None:
    @fake.mirror.observe(route="r", key=lambda arguments: arguments["nowhere"])
    def f(a: int) -> int:
        return a

    assert f(1) == 1
    assert fake.mirror.flush(20)
    assert fake.mirror.stats()["mirrored"] == 1
    assert fake.mirror.stats()["problems"]["internal"] == 1


def test_generators_are_refused_at_once(fake: FakeMirror) -> None:
    def sync() -> Iterator[int]:
        yield 1

    async def asynchronous() -> AsyncIterator[int]:
        yield 1

    for function in (sync, asynchronous):
        with pytest.raises(TypeError, match="generator"):
            fake.mirror.observe(route="r")(function)


def test_a_cancelled_call_is_abandoned(fake: FakeMirror) -> None:
    @fake.mirror.observe(route="r")
    async def waits() -> None:
        started.set()
        await asyncio.sleep(60)

    async def run() -> None:
        task = asyncio.create_task(waits())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    started = asyncio.Event()
    asyncio.run(run())
    assert fake.one()[1].error == "abandoned"
