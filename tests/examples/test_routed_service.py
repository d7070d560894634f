"""The help desk answers with the version that the router chose, and without Kafka with its own."""

import importlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from shadowlane.evaluators.check import check
from shadowlane.rollout.routing import candidate_serves
from shadowlane.schemas.config import load
from tests.rollout.routers import FakeFollower, fake_followers, state

CONFIG = Path(__file__).parents[2] / "examples" / "routed_service" / "shadowlane.yaml"


@pytest.fixture(scope="module")
def model_server() -> Iterator[str]:
    """A model that answers with what it was asked with."""

    async def complete(request: Request) -> Response:
        body = await request.json()
        said = f"{body['model']} at {body.get('temperature')}"
        message = {"role": "assistant", "content": said}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return JSONResponse(
            {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"], "choices": choices}
        )

    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup()
            started.set()

    app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
    server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert started.wait(30)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def followers(monkeypatch: pytest.MonkeyPatch) -> list[FakeFollower]:
    return fake_followers(monkeypatch)


@pytest.fixture
def service(
    model_server: str, monkeypatch: pytest.MonkeyPatch, followers: list[FakeFollower]
) -> Iterator[ModuleType]:
    """The service's module, made anew as a process would."""
    monkeypatch.setenv("OPENAI_BASE_URL", model_server)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    from examples.routed_service import service

    yield importlib.reload(service)
    service.mirror.close(0)


def ask(desk: TestClient, user: str, language: str = "en") -> Any:
    asked = {"user": user, "language": language, "question": "How do I return a lamp?"}
    return desk.post("/ask", json=asked).json()["answer"]


def test_users_move_with_the_rollout(service: ModuleType, followers: list[FakeFollower]) -> None:
    rollout = load(CONFIG).rollout("help-desk")
    arms = {
        "rollout": rollout.name,
        "stable_model": rollout.stable.model,
        "candidate_model": rollout.candidate.model,
        "stable_overrides": rollout.stable.overrides,
        "candidate_overrides": rollout.candidate.overrides,
    }
    users = [f"U-{n}" for n in range(30)]
    moved = {user for user in users if candidate_serves("help-desk", user, 25)}
    assert 0 < len(moved) < len(users)
    with TestClient(service.app) as desk:
        assert {ask(desk, user) for user in users} == {"help-1 at 0.2"}  # nothing is known yet
        followers[0].gives(state(seq=1, traffic_pct=25.0, **arms))
        for user in users:
            assert ask(desk, user) == ("help-2 at 0" if user in moved else "help-1 at 0.2")
        followers[0].gives(state(seq=2, traffic_pct=25.0, excluded=["language=de"], **arms))
        assert {ask(desk, user, "de") for user in moved} == {"help-1 at 0.2"}
        assert {ask(desk, user) for user in moved} == {"help-2 at 0"}
        followers[0].gives(state(seq=3, traffic_pct=0.0, phase="rolled_back", **arms))
        assert {ask(desk, user) for user in users} == {"help-1 at 0.2"}
        assert desk.get("/health").json()["router"]["states"]["help-desk"]["phase"] == "rolled_back"


@pytest.mark.parametrize("broken", ["{", "[]", "null", '{"user": "U-1"}'])
def test_what_is_no_question_is_refused(service: ModuleType, broken: str) -> None:
    with TestClient(service.app) as desk:
        assert desk.post("/ask", content=broken).status_code == 400


def test_its_rollout_is_right() -> None:
    settings = load(CONFIG)
    check(settings)
    assert [stage.traffic_pct for stage in settings.rollout("help-desk").stages] == [0, 5, 25, 75, 100]
