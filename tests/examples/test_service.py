"""The desk answers through the wrapped client, with no Kafka anywhere."""

import importlib
import socket
import threading
from collections.abc import Iterator
from itertools import islice
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from examples.support_desk import models, traffic
from shadowlane import Router
from shadowlane.rollout.routing import candidate_serves
from tests.examples.questions import TICKETS, decide
from tests.rollout.routers import fake_followers, state


@pytest.fixture(scope="module")
def model_server() -> Iterator[str]:
    """The models, on a port of their own; gives the base URL."""
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup()
            started.set()

    server = Server(uvicorn.Config(models.make_app(), host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert started.wait(30)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/v1"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def service(model_server: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The service's module, made anew as a process would."""
    monkeypatch.setenv("OPENAI_BASE_URL", model_server)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("DESK_SERVICE", "support-desk-test")
    monkeypatch.delenv("DESK_MODEL", raising=False)
    monkeypatch.delenv("DESK_ROLLOUT", raising=False)
    monkeypatch.delenv("SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS", raising=False)
    from examples.support_desk import service

    return importlib.reload(service)


def test_a_ticket_gets_the_models_triage(service: ModuleType) -> None:
    with TestClient(service.app) as desk:
        for ticket in traffic.load_tickets()[:5]:
            answer = desk.post("/triage", json=ticket)
            assert answer.status_code == 200
            assert answer.json() == decide("desk-1", TICKETS[ticket["id"]])


def test_the_mirror_is_attached_and_counts_what_it_can_not_send(service: ModuleType) -> None:
    with TestClient(service.app) as desk:
        desk.post("/triage", json=traffic.load_tickets()[0])
        counters = desk.get("/health").json()["mirror"]
    assert counters["eligible"] == 1
    assert sum(counters["dropped"].values()) == 1


@pytest.mark.parametrize("broken", ["{", "[]", "null", '"hello"', '{"id": "T-0001"}'])
def test_what_is_no_ticket_is_refused(service: ModuleType, broken: str) -> None:
    with TestClient(service.app) as desk:
        assert desk.post("/triage", content=broken).status_code == 400


def test_a_model_that_fails_is_a_bad_gateway(service: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MODEL", "no-such-model")
    with TestClient(service.app) as desk:
        answer = desk.post("/triage", json=traffic.load_tickets()[0])
    assert answer.status_code == 502
    assert "no-such-model" in answer.json()["error"]


def test_customers_move_with_the_rollout(service: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    followers = fake_followers(monkeypatch)
    monkeypatch.setattr(service, "router", Router("127.0.0.1:1"))
    tickets = traffic.load_tickets()[:14]
    moved = {t["customer"] for t in tickets if candidate_serves("desk-2", t["customer"], 25)}
    assert 0 < len(moved) < len(tickets)
    arms = {"rollout": "desk-2", "stable_model": "desk-1", "candidate_model": "desk-2"}
    with TestClient(service.app) as desk:

        def answered(ticket: dict[str, Any]) -> tuple[str, str]:
            answer = desk.post("/triage", json=ticket)
            assert answer.json() == decide(answer.headers["x-model"], TICKETS[ticket["id"]])
            return answer.headers["x-model"], answer.headers["x-stage"]

        assert {answered(ticket) for ticket in tickets[:3]} == {("desk-1", "")}  # nothing is known yet
        followers[0].gives(state(seq=1, stage="partial", traffic_pct=25.0, **arms))
        for ticket in tickets:
            expected = "desk-2" if ticket["customer"] in moved else "desk-1"
            assert answered(ticket) == (expected, "partial")
        followers[0].gives(state(seq=2, stage="partial", traffic_pct=0.0, phase="rolled_back", **arms))
        assert {answered(ticket) for ticket in tickets if ticket["customer"] in moved} == {
            ("desk-1", "partial")
        }
        assert desk.get("/health").json()["router"]["states"]["desk-2"]["phase"] == "rolled_back"


def test_customers_send_every_ticket_in_every_pass_and_never_the_right_answer() -> None:
    tickets = traffic.load_tickets()
    assert all("answer" not in ticket for ticket in tickets)
    sent = list(islice(traffic.in_order(tickets), 3 * len(tickets)))
    for number in range(3):
        one_pass = sent[number * len(tickets) : (number + 1) * len(tickets)]
        assert sorted(t["id"] for t in one_pass) == sorted(TICKETS)
    assert sent == list(islice(traffic.in_order(tickets), 3 * len(tickets)))
