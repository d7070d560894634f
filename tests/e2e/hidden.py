"""A model whose answers are secret, and all that the system kept of them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from confluent_kafka.admin import AdminClient

from shadowlane.schemas.config import Kafka
from tests.reading import messages

SECRET = ("Moonshine", "oat milk", "4711 pounds")
"""What questions and answers are about."""
ASKED = [
    ("What does Moonshine cost?", "4711 pounds."),
    ("What does Moonshine cost?", "Ask for oat milk."),  # to the same question
    ("Who drinks oat milk?", "Moonshine does."),
    ("Who drinks oat milk?", "Moonshine does."),
]


class _Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.asked += 1
        message = {"role": "assistant", "content": ASKED[self.server.asked - 1][1]}
        document = {
            "object": "chat.completion",
            "model": "desk-1",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
        }
        payload = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Answers in the order of ``ASKED``; whoever asks more breaks it."""

    daemon_threads = True
    asked = 0


@contextmanager
def model() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), _Model)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(30)
        server.server_close()


def on_kafka(kafka: Kafka) -> bytes:
    """All that its topics have."""
    there = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=30).topics
    topics = [topic for topic in kafka.topics.all if topic in there]
    values = (message.value() for topic in topics for message in messages(kafka.bootstrap_servers, topic))
    return b"\n".join(value for value in values if isinstance(value, bytes))
