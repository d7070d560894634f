"""The gateways' configurations, as they are in examples/, before a service that answers whole and in a stream."""

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.processors.ingest.support import TOKEN, FakeProducer, Running, on_a_fake, sent
from tests.services import free_port

GATEWAYS = Path(__file__).parents[2] / "examples" / "gateways"
PATH = "/v1/chat/completions"
SAID = 'on "its" wäy\n'


def nginx_module() -> Path | None:
    """njs, beside the nginx that is found."""
    binary = shutil.which("nginx")
    found = Path(binary).resolve().parents[1] / "lib/nginx/modules/ngx_http_js_module.so" if binary else None
    return found if found and found.exists() else None


def envoy_binary() -> str | None:
    return os.environ.get("ENVOY") or shutil.which("envoy")


class Service(BaseHTTPRequestHandler):
    """Answers with a completion; in a stream where that is asked for, cut within a character; ``fail`` with 500."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked.get("stream"):
            events = [{"delta": {"content": SAID}}, {"delta": {}, "finish_reason": "stop"}]
            lines = [json.dumps({"choices": [each]}, ensure_ascii=False) for each in events]
            body = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()
            cut = body.index("ä".encode()) + 1
            self.answer(200, "text/event-stream", body[:cut], body[cut:])
            return
        message = {"role": "assistant", "content": SAID}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        body = json.dumps({"choices": choices, "usage": {"prompt_tokens": 3}}, ensure_ascii=False).encode()
        self.answer(500 if asked["messages"][0]["content"] == "fail" else 200, "application/json", body)

    def answer(self, status: int, content_type: str, *pieces: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(sum(map(len, pieces))))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def service() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def started(command: list[str | Path], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            while True:
                assert process.poll() is None, log.read_text()
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/nothing", timeout=5).close()
                except urllib.error.HTTPError as exc:
                    exc.close()
                    break
                except OSError:
                    time.sleep(0.02)
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def ask(port: int, content: str = "hello", **more: object) -> tuple[int, str]:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **more}).encode()
    told = {
        "Content-Type": "application/json",
        "Authorization": "Bearer the users own",
        "Accept-Encoding": "gzip",
    }
    request = urllib.request.Request(f"http://127.0.0.1:{port}{PATH}", body, told)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


def check(port: int, running: Running, fake: FakeProducer, ship: Callable[[], None]) -> None:
    """Asks through the gateway; what was asked and served is one exchange each."""
    assert SAID in json.loads(ask(port)[1])["choices"][0]["message"]["content"]
    status, text = ask(port, stream=True)
    assert (status, text.endswith("data: [DONE]\n\n")) == (200, True)
    assert ask(port, "fail")[0] == 500
    deadline = time.monotonic() + 30
    while running.figures()["joined_requests_total"] < 3:
        assert time.monotonic() < deadline, running.figures()
        ship()
        time.sleep(0.05)
    whole, streamed, failed = sorted(sent(fake).served, key=lambda r: r.ts)
    assert (whole.output, whole.finish_reason, whole.input_tokens, whole.error) == (SAID, "stop", 3, "")
    assert (streamed.output, streamed.finish_reason, streamed.error) == (SAID, "stop", "")
    assert (failed.status, failed.error) == (500, "http")
    assert whole.latency_ms >= 0
    assert {r.request_id for r in sent(fake).requests} == {r.request_id for r in sent(fake).served}
    assert {(r.route, r.protocol, r.model) for r in sent(fake).requests} == {(PATH, "openai.chat", "m")}
    assert {r.service for r in sent(fake).requests} == {"127.0.0.1"}
    assert not [line for _, _, line in fake.sent if b"users own" in line]


@pytest.mark.skipif(nginx_module() is None, reason="nginx is not installed, or not its njs module")
def test_nginx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service: int) -> None:
    port = free_port()
    with on_a_fake(monkeypatch, token=TOKEN) as (running, fake):
        text = (GATEWAYS / "nginx.conf").read_text()
        changes = {
            "127.0.0.1:8080": f"127.0.0.1:{port}",
            "127.0.0.1:8000": f"127.0.0.1:{service}",
            "127.0.0.1:8017": f"127.0.0.1:{running.port}",
            '"TOKEN"': f'"{TOKEN}"',
            "modules/ngx_http_js_module.so": str(nginx_module()),
            "access_log served.log": f"access_log {tmp_path}/served.log",
            "events {}": f"daemon off; pid {tmp_path}/pid; events {{}}",
            "http {\n": f"http {{\naccess_log {tmp_path}/access.log;\n"
            + "".join(
                f"{kind}_temp_path {tmp_path}/{kind};\n"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            ),
        }
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "nginx.conf").write_text(text)
        shutil.copy(GATEWAYS / "served.js", tmp_path)
        command: list[str | Path] = [
            shutil.which("nginx") or "",
            "-e",
            tmp_path / "error.log",
            "-p",
            tmp_path,
        ]
        shipped = 0

        def ship() -> None:
            nonlocal shipped
            text = (tmp_path / "served.log").read_bytes()[shipped:]
            if whole := text[: text.rfind(b"\n") + 1]:
                status, _, said = running.post(
                    "/v1/served", whole, kind="application/x-ndjson", Authorization=f"Bearer {TOKEN}"
                )
                assert (status, said["refused"]) == (202, 0), (said, whole)
                shipped += len(whole)

        with started([*command, "-c", tmp_path / "nginx.conf"], port, tmp_path / "log"):
            check(port, running, fake, ship)


@pytest.mark.skipif(envoy_binary() is None, reason="envoy is not installed")
def test_envoy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service: int) -> None:
    port = free_port()
    with on_a_fake(monkeypatch, token=TOKEN) as (running, fake):
        text = (GATEWAYS / "envoy.yaml").read_text()
        for old, new in {
            "port_value: 8080": f"port_value: {port}",
            "port_value: 8000": f"port_value: {service}",
            "port_value: 8017": f"port_value: {running.port}",
            "TOKEN": TOKEN,
        }.items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "envoy.yaml").write_text(text)
        command: list[str | Path] = [
            envoy_binary() or "",
            "-c",
            tmp_path / "envoy.yaml",
            "--concurrency",
            "1",
        ]
        with started([*command, "--use-dynamic-base-id"], port, tmp_path / "log"):
            check(port, running, fake, lambda: None)
