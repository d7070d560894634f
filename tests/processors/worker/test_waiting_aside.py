"""What waits for a limit holds nobody else up: two rollouts, one whose provider has enough, at few places."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from aiohttp import web
from typer.testing import CliRunner

from shadowlane.cli.app import app
from shadowlane.processors.budget.log import write_stop
from shadowlane.schemas.events import Stop
from tests.processors.worker.fake_candidate import completion
from tests.processors.worker.scene import Scene, request
from tests.processors.worker.threaded import Threaded
from tests.services import KafkaAddress, free_port

PLACES = 3
LIMITED = 20
FREE = 40
ENOUGH = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "300s"}
LITTLE = {
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "30ms",
    "x-ratelimit-limit-requests": "1",
}


class Candidates(Threaded):
    """Of both rollouts: the calls of each in their order. ``headers`` are those of the limited one's answers."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = ENOUGH
        self.status = 200
        self.asked: dict[str, list[str]] = {"limited": [], "free": []}

    async def _answer(self, request: web.Request) -> web.Response:
        which = request.match_info["which"]
        self.asked[which].append(request.headers["x-shadowlane-request"])
        limited = which == "limited"
        headers, status = (self.headers, self.status) if limited else ({}, 200)
        return web.json_response(completion(), headers=headers, status=status)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**20)
        app.router.add_post("/v1/{which}/chat/completions", self._answer)
        return app


@pytest.fixture
def candidates() -> Iterator[Candidates]:
    with Candidates().running() as server:
        yield server


Stage = Callable[..., Scene]


@pytest.fixture
def stage(tmp_path: Path, kafka: KafkaAddress, candidates: Candidates) -> Iterator[Stage]:
    scenes = []

    def build(*names: str, **worker: Any) -> Scene:
        rollouts = [
            {
                "name": name,
                "match": {"service": name},
                "stable": {"model": "old"},
                "candidate": {"base_url": f"{candidates.base_url}/{name}", "model": "new"},
            }
            for name in names or ("limited", "free")
        ]
        scenes.append(
            Scene(
                tmp_path,
                kafka,
                f"aside-{uuid4().hex[:8]}",
                candidates.base_url,
                partitions=1,
                rollouts=rollouts,
                worker={"concurrency": PLACES} | worker,
                monitoring={"worker_port": free_port()},
            )
        )
        return scenes[-1]

    yield build
    for scene in scenes:
        scene.close()


def limited(count: int, says: str = "ok") -> list[Any]:
    return [request(f"limited{n}", says, service="limited") for n in range(count)]


def free(count: int) -> list[Any]:
    return [request(f"free{n}", service="free") for n in range(count)]


def answered(scene: Scene, which: str) -> list[str]:
    return [name for name in scene.responses if name.startswith(which)]


def status(scene: Scene) -> str:
    done = CliRunner().invoke(app, ["status", "worker", "--json", "--config", str(scene.file)])
    (part,) = orjson.loads(done.stdout)["parts"]
    return "\n".join([part["doing"], *part["told"]])


@pytest.mark.parametrize("refused", [False, True])
def test_others_go_on_while_more_than_all_places_wait_and_a_stop_gives_those_back(
    stage: Stage, candidates: Candidates, refused: bool
) -> None:
    if refused:
        candidates.headers, candidates.status = {"retry-after": "300"}, 429
    scene = stage()
    scene.write(*limited(LIMITED), *free(FREE))
    worker = scene.start()
    scene.read_until(lambda: len(answered(scene, "free")) == FREE)
    asked = len(candidates.asked["limited"])
    assert 1 <= asked <= PLACES  # those that were under way when the first answer told of the limit
    waiting = LIMITED - len(answered(scene, "limited"))
    assert waiting == (LIMITED if refused else LIMITED - asked)
    said = status(scene)
    assert said.startswith(f"0 of {PLACES} calls in flight, 0 requests wait for one\n")
    limit = (
        f"requests that wait for the candidate version of rollout limited: {waiting} (its provider's limit)"
    )
    assert limit in said
    assert all(offset <= 0 for offset in scene.committed().values())  # what waits is not finished

    assert scene.terminate(worker) == 0
    candidates.headers, candidates.status = {}, 200
    scene.start()
    scene.read_until(lambda: len(scene.responses) == LIMITED + FREE)
    assert {response.error for found in scene.responses.values() for response in found} == {""}


def test_a_stop_of_the_limited_one_ends_all_that_waits(stage: Stage, candidates: Candidates) -> None:
    scene = stage()
    scene.write(*limited(LIMITED), *free(FREE))
    worker = scene.start()
    scene.read_until(lambda: len(answered(scene, "free")) == FREE)
    asked = len(candidates.asked["limited"])
    write_stop(scene.kafka, Stop(ts=1, rollout="limited", stopped=True, by="ann", why="bills"), 30)
    scene.read_until(lambda: len(answered(scene, "limited")) == LIMITED)
    errors = [scene.responses[name][0].error for name in answered(scene, "limited")]
    assert errors.count("stopped") == LIMITED - asked
    assert len(candidates.asked["limited"]) == asked
    assert scene.terminate(worker) == 0
    assert set(scene.committed().values()) == {1}


def test_those_that_wait_are_asked_in_their_order(stage: Stage, candidates: Candidates) -> None:
    candidates.headers = LITTLE
    scene = stage()
    scene.write(*limited(LIMITED), *free(FREE))
    scene.start()
    scene.read_until(lambda: len(scene.responses) == LIMITED + FREE)
    assert {response.error for (response,) in scene.responses.values()} == {""}
    names = [f"limited{number}" for number in range(LIMITED)]
    assert candidates.asked["limited"][PLACES:] == names[PLACES:]


LARGE = "x" * 60_000
ROOM = 32 * 2**20
FITS = 50  # of 2 * 60 KB and 8 KiB, in a quarter of three quarters of it, and one more


@pytest.mark.parametrize("alone", [True, False])
def test_of_more_than_there_is_room_for_the_oldest_go_where_others_are_held_up(
    stage: Stage, candidates: Candidates, alone: bool
) -> None:
    scene = stage("limited", *() if alone else ("free",), max_bytes=ROOM)
    scene.write(*limited(1))
    worker = scene.start()
    scene.read_until(lambda: len(scene.responses) == 1)
    scene.write(*limited(1 + FITS + 12, LARGE)[1:], *free(FREE))
    if alone:
        while f"{FITS + PLACES} (its" not in status(scene):
            pass
        assert len(scene.responses) == 1
    else:
        scene.read_until(lambda: len(answered(scene, "free")) == FREE)
        sent_away = {name: found for name, (found,) in scene.responses.items() if found.error}
        assert 10 <= len(sent_away) <= 14
        assert set(sent_away) == {f"limited{number}" for number in range(2, 2 + len(sent_away))}
        assert {found.error for found in sent_away.values()} == {"throttled"}
    assert scene.terminate(worker) == 0
