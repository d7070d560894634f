"""The same small service in each framework: what it answers depends on the path alone."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

LINES = [f'{{"n": {n}}}\n' for n in range(5)]
PICTURE = b"\x89PNG\xff"


def lines(cut: bool) -> Iterator[str]:
    yield from LINES
    if cut:
        raise RuntimeError("in the middle")


async def lines_async(cut: bool) -> AsyncIterator[str]:
    for line in lines(cut):
        yield line


def flask_service() -> Any:
    from flask import Flask, Response, request

    app = Flask("service")

    @app.before_request
    def name_the_route() -> None:
        request.environ["shadowlane.route"] = str(request.url_rule or "")

    @app.post("/echo/<name>")
    def echo(name: str) -> Any:
        return {"got": request.get_json()}

    @app.post("/fails")
    def fails() -> Any:
        raise RuntimeError("the application's own")

    @app.post("/unread")
    def unread() -> Any:
        return {"ok": True}

    @app.post("/streams")
    def streams() -> Any:
        request.get_data()
        return Response(lines("cut" in request.args), mimetype="text/plain")

    @app.post("/picture")
    def picture() -> Any:
        request.get_data()
        return Response(PICTURE, mimetype="image/png")

    return app


def django_service(*, asynchronous: bool) -> Any:
    """Django's settings are the process's: both kinds have the same."""
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application

    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF="tests.producers.django_urls",
            MIDDLEWARE=["tests.producers.django_urls.name_the_route"],
            LOGGING_CONFIG=None,
        )
        django.setup()
    return get_asgi_application() if asynchronous else get_wsgi_application()


def fastapi_service() -> Any:
    from fastapi import Body, FastAPI, Response
    from fastapi.responses import StreamingResponse

    app = FastAPI()

    @app.post("/echo/{name}")
    async def echo(name: str, body: Any = Body()) -> Any:  # noqa: B008 (FastAPI's way)
        return {"got": body}

    @app.post("/fails")
    async def fails(body: Any = Body()) -> Any:  # noqa: B008 (FastAPI's way)
        raise RuntimeError("the application's own")

    @app.post("/unread")
    def unread() -> Any:
        return {"ok": True}

    @app.post("/streams")
    async def streams(body: Any = Body(), cut: str = "") -> Any:  # noqa: B008 (FastAPI's way)
        return StreamingResponse(lines_async(bool(cut)), media_type="text/plain")

    @app.post("/picture")
    async def picture(body: Any = Body()) -> Any:  # noqa: B008 (FastAPI's way)
        return Response(PICTURE, media_type="image/png")

    return app


def bare_wsgi(environ: dict[str, Any], start_response: Any) -> Any:
    """Without a framework: answers through ``write`` and a list."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    answer = json.dumps({"got": json.loads(body)}).encode()
    write = start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
    )
    write(answer[:3])
    return [answer[3:]]
