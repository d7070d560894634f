"""What pairing asks of Faust: options, assignments, backpressure."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import faust
import mode
import pytest
from faust.types import TP

from shadowlane.errors import BrokerError, ConfigError
from shadowlane.processors.faust_edge import Backpressure, check_assignment, faust_options, hand_on_at_once
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import Role

TOPICS = {Role.SERVED: "served", Role.SHADOW: "shadow"}


def test_the_options_are_those_that_faust_takes(tmp_path: Any) -> None:
    settings = Settings.model_validate({"kafka": {"bootstrap_servers": "a:1, b:2", "topic_prefix": "p"}})
    app = faust.App(**faust_options(settings, str(tmp_path)))
    assert app.conf.id == "p-pairing"
    assert [str(url) for url in app.conf.broker] == ["kafka://a:1", "kafka://b:2"]
    assert not app.conf.web_enabled
    assert not app.conf.stream_wait_empty
    assert app.conf.topic_disable_leader
    assert app.conf.broker_max_poll_interval > settings.pairing.wait_s


def test_security_that_faust_would_go_without_is_refused() -> None:
    settings = Settings.model_validate({"kafka": {"client": {"security.protocol": "ssl"}}})
    with pytest.raises(ConfigError, match=r"kafka\.client\.security\.protocol"):
        faust_options(settings, "")
    faust_options(Settings.model_validate({"kafka": {"client": {"linger.ms": 5}}}), "")


def test_both_halves_of_a_partition_must_come_to_one_worker() -> None:
    check_assignment(TOPICS, {TP("served", 0), TP("shadow", 0)})
    check_assignment(TOPICS, set())
    with pytest.raises(BrokerError, match=r"partitions \[0, 1\] of served and \[0\] of shadow"):
        check_assignment(TOPICS, {TP("served", 0), TP("served", 1), TP("shadow", 0)})


def test_a_partition_is_paused_until_it_is_resumed() -> None:
    calls: list[tuple[str, TP]] = []

    class Consumer:
        def on_buffer_full(self, tp: TP) -> None:
            calls.append(("full", tp))

        def on_buffer_drop(self, tp: TP) -> None:
            calls.append(("drop", tp))

    class App:
        consumer = Consumer()

    backpressure = Backpressure(App(), TOPICS)
    backpressure.pause((Role.SERVED, 1))
    backpressure.pause((Role.SERVED, 1))  # again: Faust may have resumed it
    backpressure.pause((Role.SHADOW, 2))
    backpressure.resume((Role.SHADOW, 2))
    assert backpressure.paused == {(Role.SERVED, 1)}
    backpressure.resume_all()
    served, shadow = TP("served", 1), TP("shadow", 2)
    assert calls == [("full", served), ("full", served), ("full", shadow), ("drop", shadow), ("drop", served)]
    assert not backpressure.paused


class Consumer(mode.Service):  # type: ignore[misc]  # mode has no types
    """What Faust's is, as far as messages are handed on: it has :meth:`wait_first` of it."""

    def __init__(self) -> None:
        super().__init__()
        self.raced = 0

    async def wait_first(self, *waited_for: Any, **options: Any) -> Any:
        self.raced += 1
        return await super().wait_first(*waited_for, **options)


class Agent:
    """Takes messages into a queue with room for one."""

    def __init__(self) -> None:
        self.queue = asyncio.Queue[int](1)
        self.cancelled: list[int] = []

    async def hand_on(self, message: int) -> None:
        if message < 0:
            raise ValueError(message)
        try:
            await self.queue.put(message)
        except BaseException:
            self.cancelled.append(message)
            raise


def handing_on() -> tuple[Consumer, Agent, asyncio.Event]:
    consumer = Consumer()
    hand_on_at_once(SimpleNamespace(consumer=consumer))
    return consumer, Agent(), asyncio.Event()


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


@on_a_loop
async def test_where_there_is_room_a_message_is_handed_on_without_a_race() -> None:
    consumer, agent, suspended = handing_on()
    await consumer.wait_first(agent.hand_on(1), suspended.wait())
    assert (consumer.raced, agent.queue.get_nowait()) == (0, 1)


@on_a_loop
async def test_where_there_is_none_it_waits_until_there_is() -> None:
    consumer, agent, suspended = handing_on()
    agent.queue.put_nowait(0)
    waiting = asyncio.ensure_future(consumer.wait_first(agent.hand_on(1), suspended.wait()))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await agent.queue.get() == 0
    await waiting
    assert (consumer.raced, agent.queue.get_nowait(), agent.cancelled) == (1, 1, [])


@on_a_loop
async def test_a_rebalance_ends_the_wait_and_the_message_is_not_handed_on() -> None:
    consumer, agent, suspended = handing_on()
    agent.queue.put_nowait(0)
    waiting = asyncio.ensure_future(consumer.wait_first(agent.hand_on(1), suspended.wait()))
    await asyncio.sleep(0)
    suspended.set()
    await waiting
    assert agent.queue.get_nowait() == 0
    await asyncio.sleep(0)
    assert (agent.cancelled, agent.queue.empty()) == ([1], True)


@on_a_loop
async def test_what_handing_on_raises_comes_out() -> None:
    consumer, agent, suspended = handing_on()
    with pytest.raises(ValueError, match="-1"):
        await consumer.wait_first(agent.hand_on(-1), suspended.wait())


@on_a_loop
async def test_other_waits_are_the_consumers_own() -> None:
    consumer, _, suspended = handing_on()
    suspended.set()
    assert (await consumer.wait(suspended.wait())).result is True
    assert consumer.raced == 1
