"""The log by compare and swap, and the lease, on a real store."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from shadowlane.evaluators.gates.verdict import Decision
from shadowlane.rollout.incidents import Told
from shadowlane.rollout.lease import Lease
from shadowlane.rollout.log import Log, LostError, read_heads
from shadowlane.rollout.machine import Command, begin, on_command, on_verdict
from shadowlane.rollout.routing import choose
from shadowlane.rollout.state import Entry, Phase
from shadowlane.schemas.codec import decode, encode
from shadowlane.schemas.events import RolloutState
from tests.databases import migrated
from tests.rollout.making import NOW, rollout, verdict
from tests.rollout.stored import ClockedStore
from tests.services import ClickHouseAddress


@pytest.fixture
def store(clickhouse: ClickHouseAddress) -> Iterator[ClockedStore]:
    with migrated(clickhouse) as settings:
        yield ClockedStore(settings)


def first() -> Entry:
    entry = begin(rollout(), None, NOW, NOW)
    assert entry is not None
    return entry


def test_what_is_appended_is_read_back_whole(store: ClockedStore) -> None:
    log = Log(store)
    assert log.head("to-b") is None
    started = log.append(first())
    bad = on_verdict(rollout(), started.state, verdict(Decision.ROLL_BACK, slice_='l="<&'), Told(), NOW, NOW)
    assert bad is not None
    log.append(bad)
    assert log.head("to-b") == bad.state
    history = log.history("to-b")
    assert [e.event for e in history] == ["started", "rolled_back"]
    assert history[1].alerts == bad.alerts
    assert history[1].state == bad.state
    assert history[1].evidence["roll_back"]["pairs"] == 525
    assert log.history("to-b", limit=1) == history[1:]
    assert log.heads() == {"to-b": bad.state}
    assert read_heads(store.rows, ["other"]) == {}


def test_the_candidates_prompt_is_what_serves_once_it_is_promoted(store: ClockedStore) -> None:
    versions = {
        arm: {
            "model": model,
            "base_url": "http://127.0.0.1:1/v1",
            "kind": "anthropic",
            "prompt": {"replace": says},
        }
        for arm, model, says in (("stable", "a", "Be kind."), ("candidate", "b", "Be short."))
    }
    configured = rollout(**versions)
    log = Log(store)
    entry = begin(configured, None, NOW, NOW)
    assert entry is not None
    log.append(entry)
    while (state := log.heads()["to-b"]).phase is not Phase.COMPLETED:
        log.append(on_command(configured, state, Command.PROMOTE, "Ada", "seen", NOW, NOW))
    choice = choose(decode(RolloutState, encode(state.for_routers)), "u-1")
    asked = {"model": "a", "system": "", "messages": [{"role": "user", "content": "hi"}]}
    assert choice.applied_to(asked) == asked | {"model": "b", "system": "Be short."}
    back = on_command(configured, state, Command.RETURN, "Ada", "no", NOW, NOW).state
    assert choose(back.for_routers, "u-1").applied_to(asked) == asked | {"system": "Be kind."}


def test_of_two_that_decide_at_once_one_wins_and_the_other_is_told(store: ClockedStore) -> None:
    log = Log(store)
    state = log.append(first()).state
    log.append(on_command(rollout(), state, Command.PAUSE, "Ada", "lunch", NOW, NOW))
    with pytest.raises(LostError, match=r"Ada was faster: paused \(lunch\); to-b is paused") as lost:
        log.append(on_command(rollout(), state, Command.ABORT, "Bob", "too slow", NOW, NOW))
    assert lost.value.winner.actor == "Ada"
    assert [e.event for e in log.history("to-b")] == ["started", "paused"]


def test_many_at_once_make_one_history(store: ClockedStore) -> None:
    log = Log(store)
    log.append(first())

    def toggle(name: int) -> int:
        won = 0
        for _ in range(12):
            state = log.head("to-b")
            assert state is not None
            command = Command.RESUME if state.phase == "paused" else Command.PAUSE
            try:
                log.append(on_command(rollout(), state, command, f"P{name}", "why not", NOW, NOW))
                won += 1
            except LostError:
                pass
        return won

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(toggle, range(4)))
    history = log.history("to-b")
    assert [e.state.seq for e in history] == list(range(1, len(history) + 1))
    assert len(history) == 1 + sum(won)
    assert len(history) >= 13  # each round of four has at least one winner
    assert [e.event for e in history[1:]] == (["paused", "resumed"] * len(history))[: len(history) - 1]


def test_an_entry_is_not_appended_twice(store: ClockedStore) -> None:
    log = Log(store)
    log.append(first())
    with pytest.raises(LostError):
        log.append(first())
    with pytest.raises(LostError):
        log.append(replace(first(), reason="another"))
    assert len(log.history("to-b")) == 1


def test_a_lease_is_one_holders_until_it_is_over(store: ClockedStore) -> None:
    a, b = Lease(store, "x", "a", 30), Lease(store, "x", "b", 30)
    assert a.leader() == ""
    assert a.hold(NOW)
    assert not b.hold(NOW + 29_000)
    assert a.hold(NOW + 20_000)  # renewed
    assert not b.hold(NOW + 31_000)
    assert b.hold(NOW + 50_001)  # a was silent
    assert not a.hold(NOW + 50_002)
    b.release(NOW + 50_003)
    assert a.hold(NOW + 50_004)
    assert Lease(store, "y", "b", 30).hold(NOW)


def test_of_many_that_want_a_lease_one_has_it(store: ClockedStore) -> None:
    for round_ in range(5):
        with ThreadPoolExecutor(6) as pool:
            leases = [Lease(store, f"many{round_}", str(n), 30) for n in range(6)]
            assert sum(pool.map(lambda lease: lease.hold(NOW), leases)) == 1
