"""One request, one candidate: a server that answers as a test says, and what it got."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from shadowlane.processors.worker.caller import Caller
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.codec import decode, encode
from shadowlane.schemas.config import Rollout, Worker
from shadowlane.schemas.events import MirroredRequest, Response

WORKER = Worker(timeout_s=30, max_attempts=1, retry_base_s=0.01)


@dataclass(frozen=True, slots=True)
class Got:
    method: str
    path: str  # with its query, as it came
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)


async def responded(caller: Caller, request: MirroredRequest, plan: Plan) -> Response:
    """What the caller makes of a request."""
    ending = await caller.asking(request, plan)()
    return ending()


Answering = Callable[[Got], tuple[int, Any]]
"""A status, and bytes or what JSON can say."""


def shadow(
    requests: list[MirroredRequest],
    answering: Answering,
    *,
    stable: dict[str, Any] | None = None,
    worker: Worker = WORKER,
    **candidate: Any,
) -> tuple[list[Response], list[Got]]:
    """The candidate's responses, one request after the other, and what it got.

    ``{url}`` in ``base_url`` stands for the server's.
    """
    got: list[Got] = []

    async def handle(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        got.append(Got(request.method, request.raw_path, headers, await request.read()))
        status, answer = answering(got[-1])
        body = answer if isinstance(answer, bytes) else orjson.dumps(answer)
        return web.Response(body=body, status=status, content_type="application/json")

    async def run() -> list[Response]:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        address = candidate.pop("base_url", "{url}").replace("{url}", url)
        document = {
            "name": "r",
            "stable": {"model": "old"} | (stable or {}),
            "candidate": {"model": "new", "base_url": address} | candidate,
        }
        caller = Caller(worker)
        try:
            plan = Plan.of(Rollout.model_validate(document), worker)
            return [decode(Response, encode(await responded(caller, each, plan))) for each in requests]
        finally:
            await caller.close()
            await runner.cleanup()

    return asyncio.run(run()), got


def asked(body: Any, protocol: str = "openai.chat", **more: Any) -> MirroredRequest:
    values: dict[str, Any] = {"request_id": "a", "ts": 1, "service": "s", "route": "/r"} | more
    model = body.get("model", "") if isinstance(body, dict) and protocol != "json" else ""
    return MirroredRequest(protocol=protocol, model=model, body=body, **values)
