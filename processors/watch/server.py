"""``/metrics``, ``/healthz`` and ``/readyz``, from threads of their own, so that a hung loop is told of as well."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from shadowlane.processors.watch.board import Board

log = logging.getLogger("shadowlane.watch")

CLIENT_S = 5.0  # how long one who asks may take


class Handler(BaseHTTPRequestHandler):
    """GET alone; nothing of the request is used but its path."""

    server_version = "shadowlane"
    sys_version = ""
    timeout = CLIENT_S

    def do_GET(self) -> None:
        server, path = self.server, self.path.partition("?")[0]
        assert isinstance(server, Server)
        if path == "/metrics":
            self._answer(200, generate_latest(server.registry), CONTENT_TYPE_LATEST)
        elif path == "/healthz":
            health = server.board.health()
            self._answer(200 if health["alive"] else 503, orjson.dumps(health), "application/json")
        elif path == "/readyz":
            readiness = server.board.readiness()
            self._answer(200 if readiness["ready"] else 503, orjson.dumps(readiness), "application/json")
        else:
            self._answer(404, b"there are /metrics, /healthz and /readyz\n", "text/plain")

    do_HEAD = do_GET

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A scrape every few seconds is no news, and its path is the client's text."""


class Server(ThreadingTCPServer):
    """Listens at once; raises OSError where it can't. (The http.server one looks its own name up in the DNS.)"""

    allow_reuse_address = True
    request_queue_size = 64
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, board: Board, registry: CollectorRegistry) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)
        self.port: int = self.server_address[1]
        self.board = board
        self.registry = registry

    def handle_error(self, request: object, client_address: object) -> None:
        """One who hangs up early is no fault; anything else is, and must not end up on stderr unformatted."""
        log.debug("a request to the monitoring port failed", exc_info=True)


@contextmanager
def serving(host: str, port: int, key: str, board: Board, registry: CollectorRegistry) -> Iterator[int]:
    """Serves within the ``with`` block; gives the port, 0 where none is served.

    A port that can't be had is warned of (``key`` is the one of the configuration that names it), and no more: the
    component's work is not to be watched.
    """
    if not port:
        yield 0
        return
    try:
        server = Server(host, port, board, registry)
    except OSError as exc:
        log.warning(
            "no /metrics and /healthz of this %s: %s:%d can't be listened on (%s); set %s to a free port, or to 0 "
            "for none",
            board.component,
            host,
            port,
            exc.strerror or exc,
            key,
        )
        yield 0
        return
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="monitoring", daemon=True)
    thread.start()
    log.info("metrics and health: http://%s:%d/metrics, /healthz, /readyz", host, server.port)
    try:
        yield server.port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
