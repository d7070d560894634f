"""A shadow request is no traffic of production's: neither it nor what is asked to answer it is mirrored again."""

import asyncio
import io
from typing import Any

from shadowlane.producers import Mirror
from shadowlane.schemas.marks import SHADOW
from tests.producers.support import FakeMirror

JSON = (b"content-type", b"application/json")


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "path": "/a", "headers": [JSON, *headers]}


def asks(mirror: Mirror) -> Any:
    """An ASGI application that asks something observed, within a context of its own."""

    @mirror.observe(route="inner")
    def inner() -> int:
        return 1

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with mirror.context(key="k", request_id="own-id"):
            inner()
        await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
        await send({"type": "http.response.body", "body": b"{}"})

    return mirror.asgi(app)


def drive(app: Any, scope: dict[str, Any]) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def test_asgi(fake: FakeMirror) -> None:
    app = asks(fake.mirror)
    marked = drive(app, scope((SHADOW.encode(), b"1")))
    assert fake.sent().requests == []
    assert fake.mirror.stats()["eligible"] == 0
    assert drive(app, scope((b"host", b"desk.example.com:8080"))) == marked
    requests = {request.route: request for request in fake.sent().requests}
    assert set(requests) == {"/a", "inner"}
    assert (requests["/a"].host, requests["inner"].host) == ("desk.example.com:8080", "")


def test_a_host_that_is_none_is_left_out(fake: FakeMirror) -> None:
    drive(asks(fake.mirror), scope((b"host", b"a b<script>")))
    assert {request.host for request in fake.sent().requests} == {""}


def test_wsgi(fake: FakeMirror) -> None:
    @fake.mirror.observe(route="inner")
    def inner(number: int) -> int:
        return number

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        inner(1)
        start_response("200 OK", [("Content-Type", "application/json")])

        def pieces() -> Any:
            inner(2)  # lazily, as a streamed answer is made
            yield b"{"
            yield b"}"

        return pieces()

    def call(**headers: str) -> list[bytes]:
        about = {"PATH_INFO": "/a", "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": "0"}
        return list(fake.mirror.wsgi(app)({**about, "wsgi.input": io.BytesIO(), **headers}, lambda *_: None))

    marked = call(HTTP_X_SHADOWLANE_SHADOW="1")
    assert marked == [b"{", b"}"]
    assert fake.sent().requests == []
    assert call(HTTP_HOST="desk:80") == marked
    requests = fake.sent().requests
    assert sorted(request.route for request in requests) == ["/a", "inner", "inner"]
    assert {request.host for request in requests} == {"desk:80", ""}
