"""A service for `uvicorn tests.producers.uvicorn_service:app`: its mirror has nobody but the lifespan to flush it."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shadowlane.producers import Mirror

mirror = Mirror()


@mirror.observe(route="/answer")
def answer(question: str) -> str:
    return question[::-1]


async def answers(request: Request) -> Response:
    return PlainTextResponse(answer(request.query_params["question"]))


app = mirror.asgi(Starlette(routes=[Route("/", answers)]), routes=())
