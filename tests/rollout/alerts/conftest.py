"""A server with all receivers behind it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from shadowlane.schemas.config import Settings
from tests.rollout.alerts.receivers import ROUTING_KEY, SLACK_PATH, TOKEN, WHSEC, Receivers


class Server:
    """``scripted`` are answers given instead of the receivers' own, each once: status, headers, body.

    ``hanging`` paths are not answered until ``release`` is set, and ``received`` has what came, in order.
    """

    def __init__(self) -> None:
        self.url = ""
        self.receivers = Receivers()
        self.scripted: list[tuple[int, dict[str, str], str]] = []
        self.echoing = False  # answers 500 with all that came: address, headers, body
        self.hanging: set[str] = set()
        self.release = threading.Event()
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.arrived = threading.Semaphore(0)

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], str]:
        self.received.append((path, headers, body))
        self.arrived.release()
        if path in self.hanging:
            self.release.wait(60)
        if self.echoing:
            return 500, {}, f"{path} {self.url}{path} {headers} {body.decode()}"
        if self.scripted:
            return self.scripted.pop(0)
        status, text = self.receivers.receive(path, headers, body)
        return status, {}, text


@pytest.fixture
def server() -> Iterator[Server]:
    scene = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, text = scene.answer(self.path, headers, body)
            self.send_response_only(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients that have waited long enough are part of the tests

    listener = Quiet(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    scene.url = f"http://127.0.0.1:{listener.server_address[1]}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield scene
    scene.release.set()
    listener.shutdown()
    listener.server_close()
    thread.join()


@pytest.fixture
def settings(server: Server, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Four channels, one of each kind, and the rollout "to-b", which tells all of them."""
    monkeypatch.setenv("PAGERDUTY_KEY", ROUTING_KEY)
    monkeypatch.setenv("SLACK_URL", server.url + SLACK_PATH)
    monkeypatch.setenv("ALERTMANAGER_TOKEN", TOKEN)
    monkeypatch.setenv("HOOK_SECRET", WHSEC)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    channels: list[dict[str, Any]] = [
        {"name": "pages", "kind": "pagerduty", "url": server.url, "key_env": "PAGERDUTY_KEY"},
        {"name": "metrics", "kind": "alertmanager", "url": server.url, "key_env": "ALERTMANAGER_TOKEN"},
        {"name": "chat", "kind": "slack", "url_env": "SLACK_URL"},
        {"name": "hook", "kind": "webhook", "url": f"{server.url}/hook", "key_env": "HOOK_SECRET"},
    ]
    rollout = {"name": "to-b", "candidate": {"model": "b", "base_url": "http://127.0.0.1:1/v1"}}
    return Settings.model_validate({"alerts": channels, "rollouts": [rollout]})
