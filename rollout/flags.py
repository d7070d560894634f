"""The OFREP endpoint: tells services in any language who serves a key.

The OpenFeature Remote Evaluation Protocol (https://github.com/open-feature/protocol, service/openapi.yaml): a flag is
a rollout, ``targetingKey`` the key that the choice sticks to, every other text, number or boolean of the context an
attribute. The value is the model's name, the variant the arm.
"""

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

import orjson
from aiohttp import web

from shadowlane import metrics
from shadowlane.errors import ConfigError
from shadowlane.processors import bearer
from shadowlane.processors.watch import Board, Family, figure, figures, watching
from shadowlane.rollout.router import Router
from shadowlane.rollout.routing import Choice, Reason
from shadowlane.schemas.config import Flags, Settings
from shadowlane.schemas.events import Arm

log = logging.getLogger("shadowlane.flags")

ONE = "/ofrep/v1/evaluate/flags/{key}"
ALL = "/ofrep/v1/evaluate/flags"
HEALTH = "/health"
ENDPOINTS = {ONE: "one", ALL: "all", HEALTH: "health"}
BODY_MAX_BYTES = 64 * 1024
REASONS = {
    Reason.SHARE: "SPLIT",
    Reason.EVERYONE: "STATIC",
    Reason.EXCLUDED: "TARGETING_MATCH",
    Reason.NO_KEY: "DEFAULT",
    Reason.UNKNOWN: "DEFAULT",
}
NEEDS_KEY = "context.targetingKey is missing: give the session or the user that the choice sticks to"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadContextError(Exception):
    """What is wrong with a request: OpenFeature's error code, and a text."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code = code


def read_context(body: bytes) -> tuple[str, dict[str, str]]:
    """(key, attributes) of an evaluation request.

    A boolean is the attribute ``true`` or ``false``; lists, objects and nulls are no attributes.

    Raises:
        BadContextError: no JSON object, no context, or no targeting key.
    """
    try:
        asked = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as exc:
        raise BadContextError("PARSE_ERROR", f"the request's body is no JSON: {exc}") from exc
    context = asked.get("context", {}) if isinstance(asked, dict) else None
    if not isinstance(context, dict):
        raise BadContextError("INVALID_CONTEXT", 'the request must be {"context": {…}}')
    key = context.pop("targetingKey", None)
    if key is None or key == "":
        raise BadContextError("TARGETING_KEY_MISSING", NEEDS_KEY)
    if not isinstance(key, str):
        raise BadContextError("INVALID_CONTEXT", "context.targetingKey must be a string")
    return key, {
        name: _text(value) for name, value in context.items() if isinstance(value, str | int | float)
    }


def _text(value: str | int | float) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def evaluation(choice: Choice, model: str) -> dict[str, Any]:
    """The answer for one flag. ``model`` is the one that serves, ``""`` where no model is named."""
    metadata: dict[str, Any] = {"rollout": choice.rollout}
    if choice.reason != Reason.UNKNOWN:
        metadata |= {"epoch": choice.epoch, "stage": choice.stage, "trafficPct": choice.traffic_pct}
    if choice.overrides:  # metadata holds no objects
        metadata["overrides"] = orjson.dumps(dict(choice.overrides)).decode()
    if choice.prompt is not None:
        metadata["prompt"] = orjson.dumps(choice.prompt.told).decode()
    return {
        "key": choice.rollout,
        "value": model or choice.arm.value,
        "variant": choice.arm.value,
        "reason": REASONS[choice.reason],
        "metadata": metadata,
    }


class Endpoint:
    """The handlers. ``configured`` is the stable model of each rollout in the configuration."""

    def __init__(self, router: Router, configured: Mapping[str, str], token: str) -> None:
        self._router = router
        self._configured = configured
        self._token = token
        self._requests: Counter[tuple[str, str]] = Counter()
        self.board = Board("flags", unready=self._unready, figures=self._figures)

    def application(self) -> web.Application:
        app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[self._guard])
        app.router.add_post(ONE, self.one)
        app.router.add_post(ALL, self.all)
        app.router.add_get(HEALTH, self.health)
        return app

    async def one(self, request: web.Request) -> web.Response:
        flag = request.match_info["key"]
        if flag not in self._names():
            details = f"no rollout {flag!r}, neither in Kafka nor in the configuration"
            return _json(404, {"key": flag, "errorCode": "FLAG_NOT_FOUND", "errorDetails": details})
        try:
            key, attributes = read_context(await request.read())
        except BadContextError as exc:
            return _json(400, {"key": flag, "errorCode": exc.code, "errorDetails": str(exc)})
        return _json(200, self._evaluated(flag, key, attributes))

    async def all(self, request: web.Request) -> web.Response:
        try:
            key, attributes = read_context(await request.read())
        except BadContextError as exc:
            return _json(400, {"errorCode": exc.code, "errorDetails": str(exc)})
        flags = [self._evaluated(name, key, attributes) for name in sorted(self._names())]
        body = orjson.dumps({"flags": flags})
        tag = blake2b(body, digest_size=16).hexdigest()
        known = request.if_none_match or ()
        if any(etag.value in (tag, "*") for etag in known):
            return web.Response(status=304, headers={"ETag": f'"{tag}"'})
        return web.Response(body=body, content_type="application/json", headers={"ETag": f'"{tag}"'})

    async def health(self, _request: web.Request) -> web.Response:
        """Up; and whether all that Kafka holds is known, and seconds since Kafka answered last."""
        stats = self._router.stats()
        return _json(
            200, {"up": True, "ready": stats["ready"], "kafka_contact_age_s": stats["contact_age_s"]}
        )

    def _unready(self) -> list[str]:
        return (
            [] if self._router.stats()["ready"] else ["it has not read the rollouts' states from Kafka yet"]
        )

    def _figures(self) -> Iterator[Family]:
        yield figures(metrics.FLAGS_REQUESTS, self._requests.copy())
        age = self._router.stats()["contact_age_s"]
        if age is not None:
            yield figure(metrics.FLAGS_CONTACT_AGE, age)

    def _names(self) -> set[str]:
        return self._router.rollouts() | set(self._configured)

    def _evaluated(self, flag: str, key: str, attributes: dict[str, str]) -> dict[str, Any]:
        choice = self._router.choose(flag, key, attributes)
        model = choice.model
        if choice.reason == Reason.UNKNOWN and choice.arm == Arm.STABLE:
            model = self._configured.get(flag, "")
        return evaluation(choice, model)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        endpoint = ENDPOINTS.get(resource.canonical if resource else "", "none")
        try:
            response = await self._answered(request, handler)
        except web.HTTPException as refused:  # aiohttp's own: no such path or method, too large
            self._requests[endpoint, str(refused.status)] += 1
            raise
        self._requests[endpoint, str(response.status)] += 1
        return response

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._token and request.path != HEALTH and not bearer.same(bearer.given(request), self._token):
            return _json(401, {"errorDetails": "give the token: authorization: Bearer …"})
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception:
            log.exception("%s %s", request.method, request.path)
            return _json(500, {"errorDetails": "an error of the endpoint's own; its log says more"})


def token_of(flags: Flags) -> str:
    """The bearer token, ``""`` where none is asked for.

    Raises:
        ConfigError: it is named and not set; or others than this machine could ask, without a token.
    """
    return bearer.token_of("flags", flags.host, flags.token_env)


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Blocks.

    It needs no Kafka to start: until it has read the rollouts' states, and while Kafka is away without its having
    read any, the answer is the stable version.

    Raises:
        ConfigError: the token is missing, or host and port can't be listened on.
    """
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    flags, kafka = settings.flags, settings.kafka
    token = token_of(flags)
    router = Router(kafka.bootstrap_servers, topic_prefix=kafka.topic_prefix, client=kafka.client)
    configured = {rollout.name: rollout.stable.model for rollout in settings.rollouts}
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    endpoint = Endpoint(router, configured, token)
    endpoint.board.loop("event loop").turn_with(asyncio.get_running_loop())
    runner = web.AppRunner(endpoint.application(), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, flags.host, flags.port).start()
        except OSError as exc:
            raise ConfigError(
                f"flags can't listen on {flags.host}:{flags.port} ({exc.strerror}): free the port, or set flags.port"
            ) from exc
        router.wait_ready(0)  # it begins to read now, and not with the first request
        log.info("flags started: http://%s:%d%s", flags.host, flags.port, ALL)
        with watching(settings, endpoint.board):
            await stop.wait()
    finally:
        await runner.cleanup()
        router.close(0.5)  # the thread is a daemon, and may be waiting for a Kafka that is away


def _json(status: int, document: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")
