"""The ASGI middleware on a real server, beside the same application without it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from tests.producers.support import FakeMirror, read_all, topics_on
from tests.services import KafkaAddress, free_port


async def echo(request: Request) -> Response:
    return JSONResponse({"got": await request.json()})


async def fails(request: Request) -> Response:
    raise RuntimeError("the application's own")


async def refuses(request: Request) -> Response:
    return JSONResponse({"detail": "no"}, status_code=503)


async def unread(request: Request) -> Response:
    return JSONResponse({"ok": True}, background=BackgroundTask(asyncio.sleep, 0.3))


async def streams(request: Request) -> Response:
    await request.body()

    async def parts() -> AsyncIterator[str]:
        for n in range(5):
            yield f'{{"n": {n}}}\n'
        if request.query_params.get("cut"):
            raise RuntimeError("in the middle")

    return StreamingResponse(parts(), media_type="text/plain")


async def picture(request: Request) -> Response:
    await request.body()
    return Response(b"\x89PNG\xff", media_type="image/png")


async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


def application() -> Starlette:
    return Starlette(
        routes=[
            Route("/echo/{name}", echo, methods=["POST"]),
            Route("/fails", fails, methods=["POST"]),
            Route("/refuses", refuses, methods=["POST"]),
            Route("/unread", unread, methods=["POST"]),
            Route("/streams", streams, methods=["POST"]),
            Route("/picture", picture, methods=["POST"]),
            Route("/health", lambda _: PlainTextResponse("ok")),
            WebSocketRoute("/chat", chat),
        ]
    )


@contextmanager
def serving(app: Any, lifespan: Literal["on", "off"] = "on") -> Iterator[httpx2.Client]:
    """``app`` on a real server, so that nothing of a test client stands in for one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan=lifespan))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            # A connection each: uvicorn closes one on which an application failed, in its own time.
            transport = httpx2.HTTPTransport(retries=5)
            with httpx2.Client(base_url=url, transport=transport, headers={"connection": "close"}) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/echo/bob", {"json": {"n": 1}}),
    ("/echo/bob", {"content": b"not json", "headers": {"content-type": "application/json"}}),
    ("/fails", {"json": {}}),
    ("/refuses", {"json": {}}),
    ("/unread", {"json": {"n": 1}}),
    ("/streams", {"json": {}}),
    ("/streams?cut=1", {"json": {}}),
    ("/picture", {"json": {}}),
    ("/nowhere", {"json": {}}),
]


def seen(client: httpx2.Client) -> list[Any]:
    out: list[Any] = [client.get("/health").text]
    for path, options in ASKED:
        try:
            answer = client.post(path, **options)
        except httpx2.TransportError as error:
            out.append((path, type(error)))
        else:
            headers = sorted((k, v) for k, v in answer.headers.items() if k != "date")
            out.append((path, answer.status_code, headers, answer.content))
    return out


def test_the_service_answers_the_same_and_every_json_request_is_mirrored(fake: FakeMirror) -> None:
    with serving(fake.mirror.asgi(application())) as client:
        mirrored = seen(client)
    with serving(application()) as client:
        assert mirrored == seen(client)
    sent = fake.sent()
    assert {r.protocol for r in sent.requests} == {"json"}
    bodies = {r.request_id: r.body for r in sent.requests}
    lines = "".join(f'{{"n": {n}}}\n' for n in range(5))
    found = sorted((r.route, r.status, r.error, r.output or r.error_message) for r in sent.served)
    assert found == [
        ("/echo/{name}", 200, "", '{"got":{"n":1}}'),
        ("/echo/{name}", 500, "http", "request_not_json"),
        ("/fails", 500, "http", "request_not_read"),
        ("/nowhere", 404, "http", "request_not_read"),
        ("/picture", 200, "no_content", "response_not_text"),
        ("/refuses", 503, "http", "request_not_read"),
        ("/streams", 200, "", lines),
        ("/streams", 200, "exception", lines),
        ("/unread", 200, "no_content", "request_not_read"),
    ]
    for served in sent.served:
        if served.route == "/unread":
            assert served.latency_ms < 300  # the background task is none of the answer
        if served.error == "exception":
            assert served.error_message == "RuntimeError: in the middle"
        if served.output.startswith('{"got"'):
            assert bodies[served.request_id] == {"n": 1}


def drive(app: Any, scope: dict[str, Any], *received: dict[str, Any]) -> list[Any]:
    """Call an ASGI application by hand."""
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    messages = list(received)
    asyncio.run(app(scope, receive, send))
    return sent


def http_scope(**more: Any) -> dict[str, Any]:
    return {"type": "http", "path": "/a/1", "headers": [(b"content-type", b"application/json")], **more}


async def small(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"application/ld+json")]}
    )
    await send({"type": "http.response.body", "body": b"{}"})


def test_a_request_in_pieces_and_the_frameworks_route(fake: FakeMirror) -> None:
    class Template:
        path = "/a/{n}"

    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    scope = http_scope(
        route=Template(), headers=[(b"content-type", b"application/json"), (b"traceparent", parent)]
    )
    drive(
        fake.mirror.asgi(small),
        scope,
        {"type": "http.request", "body": b'{"a":', "more_body": True},
        {"type": "http.request", "body": b" 1}"},
    )
    request, served = fake.one()
    assert request.body == {"a": 1}
    assert request.route == served.route == "/a/{n}"
    assert request.traceparent == served.traceparent == parent.decode()
    assert served.output == "{}"


def test_a_path_with_an_address_in_it_is_no_route(fake: FakeMirror) -> None:
    drive(
        fake.mirror.asgi(small),
        http_scope(path="/users/bob@example.com"),
        {"type": "http.request", "body": b"{}"},
    )
    sent = fake.sent()
    assert sent.requests[0].route == "/users/[email]"
    assert {key[3] for key in sent.cells} == {"/users/[email]"}


def test_messages_pass_as_they_are(fake: FakeMirror) -> None:
    given = [{"type": "http.request", "body": b"{}", "more_body": False}]
    assert drive(fake.mirror.asgi(small), http_scope(), *given) == drive(small, http_scope(), *given)


def test_only_the_routes_asked_for(fake: FakeMirror) -> None:
    app = fake.mirror.asgi(small, routes=["/b"])
    for path in ("/a/1", "/b", "/b/2"):
        drive(app, http_scope(path=path), {"type": "http.request", "body": b"{}"})
    assert sorted(r.route for r in fake.sent().requests) == ["/b", "/b/2"]


def test_a_websocket_is_handed_on_untouched(fake: FakeMirror) -> None:
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.append((scope, receive, send))

    scope = {"type": "websocket"}

    async def run() -> None:
        await fake.mirror.asgi(app)(scope, receive, send)

    async def receive() -> Any: ...

    async def send(message: Any) -> None: ...

    asyncio.run(run())
    assert got == [(scope, receive, send)]
    assert fake.mirror.stats()["eligible"] == 0


def test_a_body_over_the_limit_goes_without_content() -> None:
    fake = FakeMirror(max_body_bytes=1000)
    body = b'"' + b"x" * 2000 + b'"'
    pieces = [
        {"type": "http.request", "body": body[i : i + 100], "more_body": True} for i in range(0, 2002, 100)
    ]
    drive(fake.mirror.asgi(small), http_scope(), *pieces, {"type": "http.request", "body": b""})
    request, served = fake.one()
    assert request.body is None
    assert (served.error, served.error_message, served.output) == ("no_content", "request_too_large", "")
    assert fake.mirror.stats()["without_content"] == {"request_too_large": 1}


def test_the_application_stays_reachable_behind_it(fake: FakeMirror) -> None:
    app = application()
    app.state.answer = 42
    assert fake.mirror.asgi(app).state.answer == 42


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_what_is_left_is_sent_before_uvicorn_ends_by_its_signal(
    kafka: KafkaAddress, options: tuple[str, ...]
) -> None:
    count, port = 30, free_port()
    with topics_on(kafka.bootstrap_servers, f"t{uuid.uuid4().hex[:8]}") as topics:
        environment = {
            "SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "SHADOWLANE_KAFKA__TOPIC_PREFIX": topics.prefix,
            "SHADOWLANE_MIRROR__EXIT_TIMEOUT": "30",
        }
        command = [sys.executable, "-m", "uvicorn", "tests.producers.uvicorn_service:app"]
        process = subprocess.Popen(
            [*command, "--port", str(port), "--log-level", "warning", *options], env=os.environ | environment
        )
        try:
            transport = httpx2.HTTPTransport(retries=10)  # while it starts
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", transport=transport) as client:
                answers = [client.get("/", params={"question": f"abc{n}"}).text for n in range(count)]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == (0 if options else -signal.SIGTERM)
        assert answers == [f"abc{n}"[::-1] for n in range(count)]
        sent = read_all(kafka.bootstrap_servers, topics, lambda s: s.rows["mirrored"] == count)
    assert sent.rows["eligible"] == sent.rows["mirrored"] == count
    assert len(sent.requests) == len(sent.served) == count


def test_an_application_without_a_lifespan_is_left_as_it_is(fake: FakeMirror) -> None:
    async def without(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("HTTP alone")

    with pytest.raises(RuntimeError, match="HTTP alone"):
        drive(fake.mirror.asgi(without), {"type": "lifespan"}, {"type": "lifespan.startup"})
