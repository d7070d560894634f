"""The middlewares in the frameworks that people use, on real servers, beside the same application without them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import httpx2
import pytest

from tests.producers import web_services
from tests.producers.support import FakeMirror
from tests.producers.test_asgi import serving
from tests.producers.web_services import LINES


@contextmanager
def serving_wsgi(app: Any) -> Iterator[httpx2.Client]:
    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def get_stderr(self) -> Any:
            return open("/dev/null", "w")

    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{server.server_port}") as client:
                yield client
        finally:
            server.shutdown()
            thread.join()


Serving = Callable[[Any], Any]
SERVICES: dict[str, tuple[Callable[[], Any], Serving, str]] = {
    "flask": (web_services.flask_service, serving_wsgi, "wsgi"),
    "django": (lambda: web_services.django_service(asynchronous=False), serving_wsgi, "wsgi"),
    "django-asgi": (
        lambda: web_services.django_service(asynchronous=True),
        lambda app: serving(app, "off"),
        "asgi",
    ),
    "fastapi": (web_services.fastapi_service, serving, "asgi"),
}
ROUTES = {
    "flask": "/echo/<name>",
    "django": "/echo/<name>",
    "django-asgi": "/echo/bob",
    "fastapi": "/echo/{name}",
}
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/echo/bob", {"json": {"n": 1}}),
    ("/fails", {"json": {}}),
    ("/unread", {"json": {"n": 1}}),
    ("/streams", {"json": {}}),
    ("/streams?cut=1", {"json": {}}),
    ("/picture", {"json": {}}),
    ("/nowhere", {"json": {}}),
    ("/echo/bob", {"data": {"a": "form"}}),
]


def seen(client: httpx2.Client) -> list[Any]:
    out: list[Any] = []
    for path, options in ASKED:
        try:
            answer = client.post(path, **options)
        except httpx2.TransportError as error:
            out.append((path, type(error)))
        else:
            headers = sorted((k, v) for k, v in answer.headers.items() if k != "date")
            out.append((path, answer.status_code, headers, answer.content))
    return out


@pytest.mark.parametrize("name", SERVICES)
def test_each_framework_answers_the_same_and_is_mirrored(fake: FakeMirror, name: str) -> None:
    make, on, kind = SERVICES[name]
    with on(make()) as client:
        bare = seen(client)
    with on(getattr(fake.mirror, kind)(make())) as client:
        assert seen(client) == bare
    sent = fake.sent()
    found = {(r.route, r.status, r.error, r.output or r.error_message) for r in sent.served}
    body = next(r.body for r in sent.requests if r.route == ROUTES[name])
    echoed = next(answer[3] for answer in bare if answer[0] == "/echo/bob").decode()
    assert body == {"n": 1}
    assert (ROUTES[name], 200, "", echoed) in found
    assert ("/streams", 200, "", "".join(LINES)) in found
    assert ("/streams", 200, "exception", "".join(LINES)) in found
    assert ("/picture", 200, "no_content", "response_not_text") in found
    assert any(route == "/fails" and status == 500 for route, status, *_ in found)
    assert any(status == 404 for _, status, *_ in found)
    assert len(sent.served) == 7  # not the form


@pytest.mark.parametrize("name", ["flask", "django", "bare"])
def test_both_sides_of_the_middleware_keep_to_wsgi(fake: FakeMirror, name: str) -> None:
    makes: dict[str, Callable[[], Any]] = {
        "flask": web_services.flask_service,
        "django": lambda: web_services.django_service(asynchronous=False),
        "bare": lambda: web_services.bare_wsgi,
    }
    inner = makes[name]()
    if name == "flask":
        inner = inner.wsgi_app
    # wsgiref's validator has no read() without a size, as servers have; the frameworks ask with one.
    with serving_wsgi(validator(fake.mirror.wsgi(validator(inner)))) as client:
        assert client.post("/echo/bob", json={"n": 1}).json() == {"got": {"n": 1}}
    request, served = fake.one()
    assert (request.body, served.status, served.error) == ({"n": 1}, 200, "")
    assert '"n"' in served.output


def call(app: Any, body: bytes, read: Callable[[Any], Any], **environ: Any) -> list[bytes]:
    """Calls a WSGI application that reads its input in one way."""
    import io

    def reads(environ: dict[str, Any], start_response: Any) -> Any:
        read(environ["wsgi.input"])
        start_response("200 OK", [("Content-Type", "application/json")])
        return iter([b'{"a"', b": 1}"])

    made = {
        "PATH_INFO": "/a",
        "CONTENT_TYPE": "application/json; charset=utf-8",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        **environ,
    }
    answer = app(reads)(made, lambda *_: lambda data: None)
    try:
        return list(answer)
    finally:
        if hasattr(answer, "close"):
            answer.close()


WAYS: dict[str, Callable[[Any], Any]] = {
    "read": lambda stream: stream.read(),
    "read(None)": lambda stream: stream.read(None),
    "read(length)": lambda stream: stream.read(17),
    "read in pieces": lambda stream: [stream.read(5) for _ in range(5)],
    "readline": lambda stream: [stream.readline() for _ in range(4)],
    "readlines": lambda stream: stream.readlines(),
    "iteration": list,
}
BODY = b'{"text":\n"a b c"}'


# Who does not know the length can't ask for just so much.
@pytest.mark.parametrize(
    ("way", "length"), [(way, n) for way in WAYS for n in ("17", "") if n or way != "read(length)"]
)
def test_however_the_body_is_read(fake: FakeMirror, way: str, length: str) -> None:
    environ = {} if length else {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    assert call(fake.mirror.wsgi, BODY, WAYS[way], **environ) == [b'{"a"', b": 1}"]
    request, served = fake.one()
    assert request.body == {"text": "a b c"}
    assert (served.output, served.status) == ('{"a": 1}', 200)


def test_a_body_that_nobody_reads_to_its_end_goes_without_content(fake: FakeMirror) -> None:
    call(fake.mirror.wsgi, BODY, lambda stream: stream.read(3))
    request, served = fake.one()
    assert (request.body, served.error_message) == (None, "request_not_read")


def test_an_answer_that_the_server_gives_up_is_abandoned(fake: FakeMirror) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (piece for piece in (b"one", b"two"))

    import io

    environ = {
        "PATH_INFO": "/a",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": "2",
        "wsgi.input": io.BytesIO(b"{}"),
        "shadowlane.route": "/named",
    }
    answer = fake.mirror.wsgi(app)(environ, lambda *_: None)
    assert next(iter(answer)) == b"one"
    answer.close()
    request, served = fake.one()
    assert (served.error, served.output, request.route) == ("abandoned", "one", "/named")


def test_only_the_routes_asked_for(fake: FakeMirror) -> None:
    for path in ("/a/1", "/b", "/b/2"):
        call(lambda app: fake.mirror.wsgi(app, routes=["/b"]), b"{}", lambda s: s.read(), PATH_INFO=path)
    assert sorted(r.route for r in fake.sent().requests) == ["/b", "/b/2"]


def test_a_list_keeps_its_length_and_a_generator_is_true(fake: FakeMirror) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b"{}"] if environ["PATH_INFO"] == "/list" else iter([b"{}"])

    import io

    def answer(path: str) -> Any:
        environ = {
            "PATH_INFO": path,
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": "0",
            "wsgi.input": io.BytesIO(),
        }
        return fake.mirror.wsgi(app)(environ, lambda *_: None)

    assert len(answer("/list")) == 1
    generated = answer("/generator")
    assert generated
    assert not hasattr(generated, "__len__")
    assert list(generated) == [b"{}"]
