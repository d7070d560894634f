"""An example service whose model is chosen by the router: a help desk that answers questions.

The mirror takes the lines marked 1 to 3 and 7, the router 4 to 6. While a rollout goes on, 5%, 25%, … of the users are
answered by the candidate, each user always by the same version; a rollback is heard within a second. Where Kafka
is away at the start, every user is answered by MODEL, as without a router.

    OPENAI_BASE_URL=… OPENAI_API_KEY=… python service.py --port 8000
    curl -d '{"user": "U-1", "language": "en", "question": "How do I return a lamp?"}' http://127.0.0.1:8000/ask
"""

import argparse
import json
import os

import uvicorn
from openai import APIError, AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shadowlane import Mirror, Router  # 1, 4

MODEL = os.environ.get("HELP_MODEL", "help-1")
mirror = Mirror(service="help-desk")  # 2
client = mirror.wrap(AsyncOpenAI())  # 3
router = Router()  # 5


async def ask(request: Request) -> Response:
    """One question in, the model's answer out. 400 where it is no question, 502 where the model gives none."""
    try:
        asked = json.loads(await request.body())
        user, language, question = (str(asked[name]) for name in ("user", "language", "question"))
    except (ValueError, TypeError, KeyError) as exc:
        return JSONResponse({"error": f"not a question: {exc!r}"}, status_code=400)
    parameters = {"model": MODEL, "temperature": 0.2, "messages": [{"role": "user", "content": question}]}
    try:
        with router.serving("help-desk", user, attributes={"language": language}) as choice:  # 6
            completion = await client.chat.completions.create(**choice.applied_to(parameters))
    except APIError as exc:
        return JSONResponse({"error": f"the model gave no answer: {exc}"}, status_code=502)
    return JSONResponse({"answer": completion.choices[0].message.content or ""})


async def health(request: Request) -> Response:
    """Up, what the mirror has seen, and what the router knows."""
    return JSONResponse({"up": True, "mirror": mirror.stats(), "router": router.stats()})


help_desk = Starlette(routes=[Route("/ask", ask, methods=["POST"]), Route("/health", health)])
app = mirror.asgi(help_desk, routes=())  # 7: as it closes, what the mirror holds is sent


def main() -> None:
    parser = argparse.ArgumentParser(description="The help desk.")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    router.wait_ready(5)  # so that a restart moves nobody; without Kafka the desk opens all the same
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
