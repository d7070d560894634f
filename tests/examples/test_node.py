"""The example in another language: what it asks and answers is mirrored, and it waits where it is told to."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.processors.ingest.support import TOKEN, on_a_fake, sent

DESK = Path(__file__).parents[2] / "examples" / "node" / "desk.mjs"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


class Model(BaseHTTPRequestHandler):
    """Answers with the question in capitals; ``fail`` with a 500."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = asked["messages"][0]["content"]
        message = {"role": "assistant", "content": question.upper()}
        body = json.dumps(
            {
                "model": "gpt-4o-2024",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 4},
            }
        ).encode()
        self.send_response(500 if question == "fail" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def model() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def desk(model: str, ingest: str, token: str, *questions: str) -> subprocess.CompletedProcess[str]:
    assert NODE
    environment = os.environ | {"MODEL_URL": model, "INGEST_URL": ingest, "INGEST_TOKEN": token}
    return subprocess.run([NODE, DESK, *questions], env=environment, capture_output=True, text=True)


def test_what_it_asks_is_mirrored(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    with on_a_fake(monkeypatch, token=TOKEN) as (running, fake):
        done = desk(model, running.url(""), TOKEN, "hello", "mail bob@example.com")
        assert done.stdout == "HELLO\nMAIL BOB@EXAMPLE.COM\n", done.stderr
        assert json.loads(done.stderr) == {"mirrored": 2, "refused": 0, "dropped": 0}
    first, second = sorted(sent(fake).requests, key=lambda r: r.ts)
    assert first.body == {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
    assert second.body["messages"][0]["content"] == "mail [email]"
    assert (first.service, first.key, first.attributes) == ("node-desk", "session-1", {"language": "en"})
    answer = next(r for r in sent(fake).served if r.request_id == first.request_id)
    assert (answer.output, answer.finish_reason, answer.status) == ("HELLO", "stop", 200)
    assert (answer.input_tokens, answer.output_tokens) == (3, 4)
    assert answer.latency_ms > 0


def test_what_the_model_refuses_is_mirrored_as_that(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    with on_a_fake(monkeypatch) as (running, fake):
        done = desk(model, running.url(""), "", "fail")
        assert "the model said 500" in done.stderr
    (response,) = sent(fake).served
    assert (response.error, response.status) == ("http", 500)
