"""The Django service's views; `tests.producers.web_services` serves them."""

import json
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

from tests.producers.web_services import PICTURE, lines, lines_async


class name_the_route:
    """One line of a middleware, and the mirror knows the route by its pattern."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self._get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        assert request.resolver_match is not None
        request.META["shadowlane.route"] = "/" + str(request.resolver_match.route)


def echo(request: HttpRequest, name: str) -> HttpResponse:
    return JsonResponse({"got": json.loads(request.body)})


def fails(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the application's own")


def unread(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"ok": True})


def streams(request: HttpRequest) -> StreamingHttpResponse:
    request.body  # noqa: B018 (read to its end)
    cut = "cut" in request.GET
    pieces = lines_async(cut) if "wsgi.input" not in request.META else lines(cut)
    return StreamingHttpResponse(pieces, content_type="text/plain")


def picture(request: HttpRequest) -> HttpResponse:
    request.body  # noqa: B018 (read to its end)
    return HttpResponse(PICTURE, content_type="image/png")


urlpatterns = [
    path("echo/<name>", echo),
    path("fails", fails),
    path("unread", unread),
    path("streams", streams),
    path("picture", picture),
]
