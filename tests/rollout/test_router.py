"""The router in a service, on states that come without Kafka."""

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from shadowlane import Mirror
from shadowlane.errors import ConfigError
from shadowlane.rollout.router import Router
from shadowlane.rollout.routing import Reason, candidate_serves
from shadowlane.schemas.codec import encode, pack
from tests.producers.support import FakeMirror
from tests.rollout.routers import FakeFollower, fake_followers, following, state

INSIDE = next(f"k{n}" for n in range(1000) if candidate_serves("desk", f"k{n}", 5))
OUTSIDE = next(f"k{n}" for n in range(1000) if not candidate_serves("desk", f"k{n}", 95))


@pytest.fixture
def followers(monkeypatch: pytest.MonkeyPatch) -> list[FakeFollower]:
    return fake_followers(monkeypatch)


@pytest.fixture
def fake() -> FakeMirror:
    return FakeMirror()


def test_before_it_knows_anything_the_stable_version_serves(followers: list[FakeFollower]) -> None:
    choice = Router("kafka:9092").choose("desk", INSIDE)
    assert (choice.arm, choice.reason, choice.model) == ("stable", Reason.UNKNOWN, "")


def test_nothing_starts_before_it_is_asked_and_then_once(followers: list[FakeFollower]) -> None:
    router = Router("kafka:9092", topic_prefix="shop", client={"security.protocol": "SSL"})
    assert followers == []
    begin = threading.Barrier(8)

    def ask() -> None:
        begin.wait()
        router.choose("desk", "k")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(f.bootstrap, f.topic, f.options) for f in followers] == [
        ("kafka:9092", "shop.rollouts", {"security.protocol": "SSL"})
    ]


def test_the_state_of_the_largest_seq_holds(followers: list[FakeFollower]) -> None:
    router, follower = following(followers, state(seq=3, traffic_pct=5.0))
    assert (router.choose("desk", INSIDE).arm, router.choose("desk", OUTSIDE).arm) == ("candidate", "stable")
    follower.gives(state(seq=4, traffic_pct=0.0, phase="rolled_back"))
    assert router.choose("desk", INSIDE).arm == "stable"
    follower.gives(state(seq=3, traffic_pct=5.0), state(seq=4, traffic_pct=100.0))
    assert router.choose("desk", INSIDE).arm == "stable"
    stats = router.stats()
    assert stats["states"] == {
        "desk": {"epoch": "e1", "seq": 4, "phase": "rolled_back", "stage": "canary", "traffic_pct": 0.0}
    }
    assert {name: stats[name] for name in ("taken", "older", "repeated", "bad")} == {
        "taken": 2,
        "older": 1,
        "repeated": 1,
        "bad": 0,
    }


def test_a_record_that_is_no_state_is_left_out_and_counted(followers: list[FakeFollower]) -> None:
    router, follower = following(followers)
    good = encode(state(seq=2))
    newer = good.replace(b'"schema_version":1', b'"schema_version":2')
    wrong = [b"{", b"[]", b'{"rollout":"desk"}', good.replace(b"5.0", b"101"), newer]
    found = follower.known.take(pack([*wrong, good]))
    assert len(found) == 5
    assert "newer than this shadowlane" in found[-1]
    assert (router.stats()["bad"], router.stats()["taken"]) == (5, 1)
    assert follower.known.take(None) == []


def test_what_is_asked_may_be_anything(followers: list[FakeFollower]) -> None:
    class Bad:
        def __str__(self) -> str:
            raise ValueError("no text")

    router, _ = following(followers, state(traffic_pct=50.0, excluded=["a=b"]))
    for key in (None, "", 7, "ä\udc80", b"x", Bad(), object()):
        assert router.choose("desk", key).arm in ("stable", "candidate")
    assert router.choose("desk", "k", {1: Bad()}).reason == Reason.UNKNOWN
    assert router.choose(["no", "name"], "k").arm == "stable"  # type: ignore[arg-type]  # never raises
    assert router.stats()["problems"]["internal"] == 3
    assert router.choose("desk", 7) == router.choose("desk", "7")


def test_what_is_mirrored_says_who_served(followers: list[FakeFollower], fake: FakeMirror) -> None:
    router, follower = following(followers, state(seq=1, traffic_pct=5.0))
    for key in (INSIDE, OUTSIDE):
        with router.serving("desk", key, attributes={"language": "en"}) as choice:
            ask(fake.mirror, choice.applied_to({"model": "mine"})["model"])
    follower.gives(state(seq=2, traffic_pct=5.0, excluded=["language=de"]))
    with fake.mirror.context(key=INSIDE, attributes={"language": "de"}), router.serving("desk"):
        ask(fake.mirror, "old")
    with router.serving("other", INSIDE):
        ask(fake.mirror, "mine")
    ask(fake.mirror, "mine")
    sent = fake.sent()
    said = [(r.key, r.arm, r.stage, r.body["model"], r.attributes) for r in sent.requests]
    assert sorted(said, key=str) == sorted(
        [
            (INSIDE, "candidate", "canary", "new", {"language": "en"}),
            (OUTSIDE, "stable", "canary", "old", {"language": "en"}),
            (INSIDE, "stable", "canary", "old", {"language": "de"}),
            (INSIDE, "", "", "mine", {}),  # nothing is known of it: the model tells
            ("", "", "", "mine", {}),
        ],
        key=str,
    )
    arms = {r.request_id: (r.arm, r.key) for r in sent.requests}
    assert {r.request_id: (r.arm, r.key) for r in sent.served} == arms


def test_each_task_says_its_own(followers: list[FakeFollower], fake: FakeMirror) -> None:
    router, _ = following(followers, state(traffic_pct=50.0))

    async def one(key: str) -> None:
        with router.serving("desk", key):
            await asyncio.sleep(0)
            ask(fake.mirror, key)

    async def many() -> None:
        await asyncio.gather(*(one(f"k{n}") for n in range(40)))

    asyncio.run(many())
    requests = fake.sent().requests
    assert len(requests) == 40
    for request in requests:
        assert request.key == request.body["model"]
        assert (request.arm == "candidate") == candidate_serves("desk", request.key, 50)


def test_an_exception_of_the_service_goes_through(followers: list[FakeFollower]) -> None:
    router, _ = following(followers, state())
    with pytest.raises(KeyError), router.serving("desk", "k"):
        raise KeyError("the service's")


def test_without_an_address_it_starts_nothing_and_says_so(followers: list[FakeFollower]) -> None:
    router = Router()
    assert router.choose("desk", "k").arm == "stable"
    assert not router.wait_ready(10)  # and does not wait for what can't come
    assert followers == []
    assert "SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS" in router.stats()["last_problem"]


def test_the_environment_gives_what_no_argument_does(
    followers: list[FakeFollower], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS", "env:9092")
    monkeypatch.setenv("SHADOWLANE_KAFKA__TOPIC_PREFIX", "env")
    monkeypatch.setenv("SHADOWLANE_KAFKA__CLIENT", '{"a": 1}')
    Router(topic_prefix="mine").choose("desk")
    assert (followers[0].bootstrap, followers[0].topic, followers[0].options) == (
        "env:9092",
        "mine.rollouts",
        {"a": 1},
    )
    monkeypatch.setenv("SHADOWLANE_KAFKA__CLIENT", "{")
    router = Router()
    router.choose("desk")
    assert followers[1].options == {}
    assert "SHADOWLANE_KAFKA__CLIENT" in router.stats()["last_problem"]


@pytest.mark.parametrize("wrong", [{"kafka": 7}, {"kafka": ""}, {"topic_prefix": b"x"}, {"client": "x"}])
def test_a_wrong_argument_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"Router\({next(iter(wrong))}="):
        Router(**wrong)


def test_once_closed_what_is_known_goes_on_to_hold(followers: list[FakeFollower]) -> None:
    router, follower = following(followers, state(traffic_pct=100.0))
    router.close()
    assert follower.stopped
    assert router.choose("desk", "k").arm == "candidate"
    assert len(followers) == 1


def test_a_service_loads_nothing_of_the_servers() -> None:
    code = (
        "import sys; from shadowlane.rollout.router import Router\n"
        "Router('127.0.0.1:1').choose('r', 'k')\n"
        "heavy = {'faust', 'clickhouse_connect', 'chdb', 'aiohttp', 'typer', 'rich', 'yaml', 'pydantic_settings'}\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def ask(mirror: Mirror, model: str) -> None:
    """One request of the service, answered."""
    exchange = mirror.begin("/ask", "openai.chat")
    assert exchange is not None
    exchange.request(b'{"model": "%s", "messages": []}' % model.encode())
    exchange.respond(200, "application/json")
    exchange.chunk(b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}')
    mirror.finish(exchange)
