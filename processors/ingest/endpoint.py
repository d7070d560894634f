"""The HTTP endpoint: what comes in, and what is answered. docs/ingest.md; its OpenAPI document in openapi.py."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from shadowlane import metrics
from shadowlane.errors import BrokerError
from shadowlane.processors import bearer
from shadowlane.processors.ingest import exchanges
from shadowlane.processors.ingest.bodies import (
    FullError,
    Room,
    TooLargeError,
    UnknownEncodingError,
    read_body,
)
from shadowlane.processors.ingest.exchanges import BadBodyError, Refused
from shadowlane.processors.ingest.openapi import EXCHANGES, HEALTH, OPENAPI, document
from shadowlane.processors.ingest.outbox import FAILED, Outbox
from shadowlane.processors.ingest.ready import Ready
from shadowlane.processors.watch import Family, figure, figures
from shadowlane.producers.redaction import Redactor
from shadowlane.schemas.config import Ingest

log = logging.getLogger("shadowlane.ingest")

ENDPOINTS = {EXCHANGES: "exchanges", OPENAPI: "openapi", HEALTH: "health"}
OPEN = (OPENAPI, HEALTH)
"""Asked without the token: they tell nothing of anybody."""
RETRY_AFTER_S = 1

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Endpoint:
    """The handlers. ``failed`` is told where nothing can be written any more."""

    def __init__(
        self, ingest: Ingest, token: str, outbox: Outbox, failed: Callable[[BaseException], None]
    ) -> None:
        self._ingest = ingest
        self._token = token
        self._outbox = outbox
        self._failed = failed
        self._redactor = Redactor(ingest.redact)
        self._room = Room(ingest.max_held_bytes)
        self._openapi = orjson.dumps(document())
        self._requests: Counter[tuple[str, str]] = Counter()
        self._refused = 0

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_post(EXCHANGES, self.exchanges)
        app.router.add_get(OPENAPI, self.openapi)
        app.router.add_get(HEALTH, self.health)
        return app

    async def exchanges(self, request: web.Request) -> web.Response:
        content_type = request.content_type
        if content_type != "application/json" and content_type not in exchanges.NDJSON:
            wanted = ", ".join(("application/json", *exchanges.NDJSON))
            return _json(415, {"error": f"content-type is {content_type!r}: it must be one of {wanted}"})
        with self._room.hold() as held:
            body = await read_body(request, held, self._ingest.max_body_bytes)
            try:
                # Redaction takes milliseconds for a large body, in which others must be answered.
                found = await asyncio.to_thread(self._read, body, content_type)
            except BadBodyError as exc:
                return _json(400, {"error": str(exc)})
            told = [self._outbox.put(each) for each in found if isinstance(each, Ready)]
            if told:
                await asyncio.wait(told)
        became = iter(told)
        results = [
            _result(number, each, next(became).result() if isinstance(each, Ready) else "refused")
            for number, each in enumerate(found)
        ]
        return self._answer(results)

    async def openapi(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._openapi, content_type="application/json")

    async def health(self, _request: web.Request) -> web.Response:
        """Up; /readyz of the monitoring port says more."""
        return _json(200, {"up": True})

    def figures(self) -> Iterator[Family]:
        """From any thread."""
        yield figures(metrics.INGEST_REQUESTS, self._requests.copy())
        yield figure(metrics.INGEST_REFUSED, self._refused)
        yield figure(metrics.INGEST_HELD_BYTES, self._room.bytes)

    def _read(self, body: bytes, content_type: str) -> list[Ready | Refused]:
        read = partial(
            exchanges.read,
            ingest=self._ingest,
            redactor=self._redactor,
            now_ms=time.time_ns() // 1_000_000,
        )
        return [read(part) for part in exchanges.parts(body, content_type)]

    def _answer(self, results: list[dict[str, Any]]) -> web.Response:
        counts = Counter(result["status"] for result in results)
        refused, failed = counts["refused"], counts[FAILED]
        self._refused += refused
        said = {
            "taken": len(results) - refused - failed,
            "refused": refused,
            "failed": failed,
            "results": results,
        }
        if failed:
            return _json(503, said, retry_after=RETRY_AFTER_S)
        if refused:
            return _json(400 if refused == len(results) else 207, said)
        return _json(202, said)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        endpoint = ENDPOINTS.get(resource.canonical if resource else "", "none")
        try:
            response = await self._answered(request, handler)
        except web.HTTPException as refused:  # aiohttp's own: no such path or method
            self._requests[endpoint, str(refused.status)] += 1
            raise
        self._requests[endpoint, str(response.status)] += 1
        return response

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._token and request.path not in OPEN and not bearer.same(bearer.given(request), self._token):
            return _json(401, {"error": "give the token: authorization: Bearer …"})
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except FullError:
            what = f"{self._ingest.max_held_bytes} bytes wait for Kafka already"
            return _json(429, {"error": f"{what}: send it again"}, retry_after=RETRY_AFTER_S)
        except TooLargeError:
            most = self._ingest.max_body_bytes
            return _json(413, {"error": f"the body is over {most} bytes: send less at once"})
        except UnknownEncodingError:
            return _json(415, {"error": "content-encoding must be gzip or deflate, and the body so"})
        except BrokerError as exc:
            self._failed(exc)
            return _json(503, {"error": "it can't write to Kafka any more"}, retry_after=RETRY_AFTER_S)
        except Exception:
            log.exception("%s %s", request.method, request.path)
            return _json(500, {"error": "an error of the endpoint's own; its log says more"})


def _result(number: int, found: Ready | Refused, status: str) -> dict[str, Any]:
    result: dict[str, Any] = {"index": number, "request_id": found.request_id, "status": status}
    if isinstance(found, Refused):
        result["error"] = found.error
    elif found.without_content:
        result["without_content"] = found.without_content
    return result


def _json(status: int, document: dict[str, Any], *, retry_after: int | None = None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.Response(
        status=status, body=orjson.dumps(document), content_type="application/json", headers=headers
    )
