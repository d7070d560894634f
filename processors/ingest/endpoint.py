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
from shadowlane.errors import BrokerError, CodecError
from shadowlane.processors import bearer
from shadowlane.processors.ingest import exchanges, gateway
from shadowlane.processors.ingest.bodies import (
    FullError,
    Room,
    TooLargeError,
    UnknownEncodingError,
    read_body,
)
from shadowlane.processors.ingest.exchanges import BadBodyError, Refused
from shadowlane.processors.ingest.meeting import Meeting
from shadowlane.processors.ingest.openapi import EXCHANGES, HEALTH, MIRROR, OPENAPI, SERVED, document
from shadowlane.processors.ingest.outbox import FAILED, Outbox
from shadowlane.processors.ingest.ready import Ready
from shadowlane.processors.watch import Family, figure, figures
from shadowlane.producers.outflow import Outflow
from shadowlane.schemas.config import Ingest
from shadowlane.schemas.marks import SHADOW

log = logging.getLogger("shadowlane.ingest")

ENDPOINTS = {EXCHANGES: "exchanges", MIRROR: "mirror", SERVED: "served", OPENAPI: "openapi", HEALTH: "health"}
OPEN = (OPENAPI, HEALTH)
"""Asked without the token: they tell nothing of anybody."""
RETRY_AFTER_S = 1
GATEWAY_HEADER = "X-Shadowlane-Token"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Endpoint:
    """The handlers. ``failed`` is told where nothing can be written any more."""

    def __init__(
        self,
        ingest: Ingest,
        token: str,
        outbox: Outbox,
        outflow: Outflow,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._ingest = ingest
        self._token = token
        self._outbox = outbox
        self._failed = failed
        self._outflow = outflow
        self.meeting = Meeting(ingest, outbox, outflow)
        self._room = Room(ingest.max_held_bytes)
        self._openapi = orjson.dumps(document())
        self._requests: Counter[tuple[str, str]] = Counter()
        self._refused = 0

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_post(EXCHANGES, self.exchanges)
        app.router.add_post(MIRROR, self.mirror)
        app.router.add_post(SERVED, self.served)
        app.router.add_get(OPENAPI, self.openapi)
        app.router.add_get(HEALTH, self.health)
        return app

    async def exchanges(self, request: web.Request) -> web.Response:
        content_type = _kind(request)
        with self._room.hold() as held:
            body = await read_body(request, held, self._ingest.max_body_bytes)
            # Redaction takes milliseconds for a large body, in which others must be answered.
            found = await asyncio.to_thread(self._read, body, content_type)
            told = [self._outbox.put(each) for each in found if isinstance(each, Ready)]
            if told:
                await asyncio.wait(told)
        became = iter(told)
        results = [
            _result(number, each, next(became).result() if isinstance(each, Ready) else "refused")
            for number, each in enumerate(found)
        ]
        return self._answer(results)

    async def mirror(self, request: web.Request) -> web.Response:
        return await self._mirrored(request, request.path.removeprefix("/mirror"))

    async def served(self, request: web.Request) -> web.Response:
        content_type = _kind(request)
        with self._room.hold() as held:
            body = await read_body(request, held, self._ingest.max_body_bytes)
            parts = exchanges.parts(body, content_type)
        return self._answer([self._met(number, part) for number, part in enumerate(parts)])

    async def _mirrored(self, request: web.Request, path: str) -> web.Response:
        """What a gateway copied. Nobody reads the answer."""
        if (
            request.method != "POST"
            or request.content_type != "application/json"
            or SHADOW in request.headers
        ):
            return web.Response(status=204)  # no request to a model, or the worker's own
        with self._room.hold() as held:
            body = await read_body(request, held, self._ingest.max_body_bytes)
        try:
            came = gateway.asked(path, request.headers, body, self._ingest.key_header, _now_ms())
        except CodecError as exc:
            self._refused += 1
            return _json(400, {"error": str(exc)})
        return _json(202, {"status": self.meeting.asked(came)})

    def _met(self, number: int, part: Any) -> dict[str, Any]:
        if not isinstance(part, Refused):
            try:
                call = gateway.read_served(part)
            except CodecError as exc:
                part = Refused(str(exc), exchanges.id_of(part))
            else:
                status = self.meeting.served(call, len(orjson.dumps(part)))
                return {"index": number, "request_id": call.request_id, "status": status}
        return _result(number, part, "refused")

    async def openapi(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._openapi, content_type="application/json")

    async def health(self, _request: web.Request) -> web.Response:
        """Up; /readyz of the monitoring port says more."""
        return _json(200, {"up": True})

    def figures(self) -> Iterator[Family]:
        """From any thread."""
        yield figures(metrics.INGEST_REQUESTS, self._requests.copy())
        yield figure(metrics.INGEST_REFUSED, self._refused)
        yield from self.meeting.figures()
        yield figure(metrics.INGEST_HELD_BYTES, self._room.bytes)

    def _read(self, body: bytes, content_type: str) -> list[Ready | Refused]:
        read = partial(
            exchanges.read,
            ingest=self._ingest,
            outflow=self._outflow,
            now_ms=_now_ms(),
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
        copied = gateway.host_of(request.headers).endswith(gateway.SHADOW)
        of_gateway = copied or request.path.startswith("/mirror/")
        # The other headers of a copied request are the user's own, with a key for the model.
        given = request.headers.get(GATEWAY_HEADER, "") if of_gateway else bearer.given(request)
        if self._token and (copied or request.path not in OPEN) and not bearer.same(given, self._token):
            wanted = f"{GATEWAY_HEADER}: …" if of_gateway else "authorization: Bearer …"
            return _json(401, {"error": f"give the token: {wanted}"})
        try:
            if copied and not request.path.startswith("/mirror/"):
                return await self._mirrored(request, request.path)
            return await handler(request)
        except BadBodyError as exc:
            return _json(400, {"error": str(exc)})
        except UnknownKindError as exc:
            return _json(415, {"error": str(exc)})
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


class UnknownKindError(Exception):
    """A body of a content type that is not read; the text says which are."""


def _kind(request: web.Request) -> str:
    if (kind := request.content_type) == "application/json" or kind in exchanges.NDJSON:
        return kind
    wanted = ", ".join(("application/json", *exchanges.NDJSON))
    raise UnknownKindError(f"content-type is {kind!r}: it must be one of {wanted}")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


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
