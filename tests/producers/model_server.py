"""A model server on loopback whose answers are scripted by the model's name."""

import gzip
import json
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.schemas.answers import samples


def completion(**message: Any) -> bytes:
    return json.dumps(
        {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": "served-model",
            "choices": [
                {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"},
                {"index": 1, "message": {"role": "assistant", "content": "other"}, "finish_reason": "stop"},
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        },
        ensure_ascii=False,
    ).encode()


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    raw = {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "served-model",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
        **more,
    }
    return b"data: " + json.dumps(raw, ensure_ascii=False).encode() + b"\n\n"


USAGE = (
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"served-model","choices":[],'
    b'"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
)
DONE = b"data: [DONE]\n\n"
TEXT = "Grüße, 世界 🌍"
STREAM = b"".join(
    [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": c}) for c in TEXT),
        chunk({"content": "not this"}, index=1),
        chunk({}, "stop"),
        USAGE,
        DONE,
    ]
)
CALLS = [
    {"index": 0, "id": "t0", "type": "function", "function": {"name": "look_up", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"order": '}},
    {"index": 1, "id": "t1", "type": "function", "function": {"name": "refund", "arguments": "{}"}},
    {"index": 0, "function": {"arguments": "17}"}},
]
STREAMED_CALLS = b"".join([*(chunk({"tool_calls": [call]}) for call in CALLS), chunk({}, "tool_calls"), DONE])
ERROR = json.dumps({"error": {"message": "no such thing", "type": "invalid", "code": "x"}}).encode()
JSON_TYPE = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream; charset=utf-8"}
QUICK = {"retry-after-ms": "1", **JSON_TYPE}

Answer = tuple[int, dict[str, str], list[bytes]]


def pieces(body: bytes, size: int) -> list[bytes]:
    return [body[i : i + size] for i in range(0, len(body), size)]


ANSWERS: dict[str, Answer] = {
    "plain": (200, JSON_TYPE, [completion(content=TEXT)]),
    "refusal": (200, JSON_TYPE, [completion(content=None, refusal="I can't")]),
    "calls": (
        200,
        JSON_TYPE,
        [
            completion(
                content=None,
                tool_calls=[
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"n": 1}'}}
                ],
            )
        ],
    ),
    "gzip": (200, {"content-encoding": "gzip", **JSON_TYPE}, [gzip.compress(completion(content=TEXT))]),
    "deflate": (200, {"content-encoding": "deflate", **JSON_TYPE}, [zlib.compress(completion(content=TEXT))]),
    "garbage": (200, JSON_TYPE, [b"<html>no</html>"]),
    "bad": (400, JSON_TYPE, [ERROR]),
    "throttled": (429, QUICK, [ERROR]),
    "down": (500, QUICK, [ERROR]),
    "stream": (200, SSE, [STREAM]),
    "stream-split": (200, SSE, pieces(STREAM, 3)),
    "stream-crlf": (200, SSE, pieces(STREAM.replace(b"\n", b"\r\n"), 50)),
    "stream-gzip": (200, {"content-encoding": "gzip", **SSE}, pieces(gzip.compress(STREAM), 10)),
    "stream-calls": (200, SSE, pieces(STREAMED_CALLS, 40)),
    "stream-error": (200, SSE, [chunk({"content": "Hal"}), b"data: " + ERROR + b"\n\n"]),
    "stream-undone": (200, SSE, [chunk({"content": "Hal"})]),
    "stream-no-done": (200, SSE, [chunk({"content": "Hal"}), chunk({}, "stop")]),
    "stream-long": (200, SSE, [chunk({"content": "la "})] * 2000 + [DONE]),
}
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
OTHER_APIS: dict[str, Answer] = {
    "messages": (200, JSON_TYPE, [json.dumps(samples.MESSAGE).encode()]),
    "messages-stream": (200, SSE, pieces(samples.MESSAGE_STREAM, 70)),
    "messages-stream-gzip": (
        200,
        {"content-encoding": "gzip", **SSE},
        pieces(gzip.compress(samples.MESSAGE_STREAM), 50),
    ),
    "messages-stream-error": (
        200,
        SSE,
        [
            samples.MESSAGE_STREAM[: samples.MESSAGE_STREAM.index(b"event: ", 900)],
            b"event: error\ndata: " + OVERLOADED + b"\n\n",
        ],
    ),
    "messages-overloaded": (529, QUICK, [OVERLOADED]),
    "responses": (200, JSON_TYPE, [json.dumps(samples.RESPONSE).encode()]),
    "responses-stream": (200, SSE, pieces(samples.RESPONSE_STREAM, 70)),
    "responses-bad": (400, JSON_TYPE, [ERROR]),
}
ANSWERS_OF_ALL = ANSWERS | OTHER_APIS


class Server:
    """``failures[model]``: how many requests for it get a 500 first. ``cut`` models break off."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.failures: Counter[str] = Counter()
        self.seen: list[tuple[str, str, bytes]] = []
        self.release = threading.Event()  # a model that hangs goes on when it is set
        self.taken = threading.Semaphore(0)  # GET /go: the piece that came is in the service's hands


@contextmanager
def model_server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            server.taken.release()
            self.send_response_only(204)
            self.end_headers()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            name = json.loads(body).get("model", "plain")
            server.seen.append((self.path, name, body))
            if name == "hang":
                server.release.wait(30)
                self.close_connection = True
                return
            cut, gated = name.startswith("cut-"), name.startswith("gated-")
            status, headers, parts = ANSWERS_OF_ALL[name.removeprefix("cut-").removeprefix("gated-")]
            if gated:
                parts = [event + b"\n\n" for event in b"".join(parts).split(b"\n\n") if event]
            if server.failures[name] > 0:
                server.failures[name] -= 1
                status, headers, parts = ANSWERS["down"]
            self.send_response_only(status)
            for header in headers.items():
                self.send_header(*header)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for n, part in enumerate(parts[: len(parts) // 2] if cut else parts):
                if gated and n and not server.taken.acquire(timeout=10):
                    self.close_connection = True
                    return  # the piece before it never came through
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            if cut:
                self.wfile.write(b"ff\r\nonly this")
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients that go away early are part of the tests

    listener = Quiet(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server = Server(f"http://127.0.0.1:{listener.server_address[1]}/v1")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        listener.shutdown()
        listener.server_close()
        thread.join()
