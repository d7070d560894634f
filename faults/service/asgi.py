"""An ASGI service: `uvicorn --workers 2`."""

import os

from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shadowlane.producers import Mirror

mirror = Mirror()
client = mirror.wrap(
    AsyncOpenAI(base_url=os.environ["MODEL_URL"], api_key="stable", max_retries=0), route="/desk"
)


async def answer(request: Request) -> Response:
    question = (await request.body()).decode()
    with mirror.context(key=question[-2:], route="/desk", attributes={"language": "en"}):
        done = await client.chat.completions.create(
            model="desk-1", messages=[{"role": "user", "content": question}]
        )
    return PlainTextResponse(done.choices[0].message.content)


app = mirror.asgi(Starlette(routes=[Route("/", answer, methods=["POST"])]), routes=())
