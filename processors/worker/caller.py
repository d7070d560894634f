"""Asks the arm that did not serve, over HTTP: a mirrored request in, a response out, whatever happens.

A failure of that arm is a response with an error, never an exception. Nothing of the production request travels
but its body: the headers are the version's own.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from shadowlane.processors.arms import other, served_arm
from shadowlane.processors.worker import chat, retry
from shadowlane.processors.worker.claim import contradiction, served_fingerprint
from shadowlane.processors.worker.target import Plan, Target
from shadowlane.schemas.config import Worker
from shadowlane.schemas.events import Failure, MirroredRequest, Protocol, Response, copied
from shadowlane.schemas.fingerprint import fingerprint

MAX_BODY_BYTES = 8 * 2**20
MAX_MESSAGE = 500
CONNECT_S = 10.0
DNS_TTL_S = 60


@dataclass(slots=True)
class Attempt:
    """One call: an answer, or how it failed."""

    latency_ms: float = 0.0
    status: int = 0
    answer: chat.Answer | None = None
    failure: Failure | None = None
    message: str = ""
    again: bool = False  # worth another attempt
    retry_after: float | None = None


class Caller:
    """One HTTP session for all that is asked: kept-alive connections, no cookies, no redirects.

    It does not bound how many calls run at once: the worker does.
    """

    def __init__(self, worker: Worker, on_attempt: Callable[[], None] = lambda: None) -> None:
        """Within a running event loop."""
        self._backoff = retry.Backoff.of(worker)
        self._on_attempt = on_attempt
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=worker.concurrency, ttl_dns_cache=DNS_TTL_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": "shadowlane"},
        )

    async def close(self) -> None:
        await self._session.close()

    async def respond(self, request: MirroredRequest, plan: Plan) -> Response:
        """The response of the arm that did not serve: asks it, where it may be asked, up to ``max_attempts``.

        ``latency_ms`` is that of the last attempt alone, waits and earlier attempts left out.
        """
        served = plan.targets[served_arm(plan.rollout, request.arm, request.model)]
        target = plan.targets[other(served.arm)]
        refused = _not_asked(request, plan, served, target)
        if refused is not None:
            return _response(request, plan, target, Attempt(failure=refused[0], message=refused[1]), 0, None)
        body = chat.ask(request, target.version)
        payload = orjson.dumps(body)
        number = 1
        while True:
            self._on_attempt()
            attempt = await self._attempt(request.protocol, payload, target)
            wait = None
            if attempt.again:
                wait = self._backoff.wait(number, attempt.retry_after, random.random())  # noqa: S311 (jitter)
            if wait is None:
                return _response(request, plan, target, attempt, number, body)
            number += 1
            await asyncio.sleep(wait)

    async def _attempt(self, protocol: str, payload: bytes, target: Target) -> Attempt:
        attempt, started = Attempt(), time.perf_counter()
        try:
            await self._call(protocol, payload, target, attempt)
        except aiohttp.ConnectionTimeoutError:
            attempt.failure, attempt.again = Failure.CONNECTION, True
            attempt.message = "no connection in time"
        except TimeoutError:
            attempt.failure = Failure.TIMEOUT
            attempt.message = f"no whole answer within {target.timeout_s:g} s"
        except (aiohttp.ClientError, OSError) as exc:
            attempt.failure, attempt.again = Failure.CONNECTION, True
            attempt.message = str(exc) or type(exc).__name__
        except chat.BadAnswerError as exc:
            attempt.failure, attempt.message = Failure.BAD_RESPONSE, str(exc)
        attempt.latency_ms = (time.perf_counter() - started) * 1000
        return attempt

    async def _call(self, protocol: str, payload: bytes, target: Target, attempt: Attempt) -> None:
        timeout = self._timeouts.get(target.timeout_s)
        if timeout is None:
            timeout = self._timeouts[target.timeout_s] = aiohttp.ClientTimeout(
                total=target.timeout_s, sock_connect=min(CONNECT_S, target.timeout_s / 2), ceil_threshold=3600
            )
        async with self._session.post(
            target.url, data=payload, headers=target.headers, timeout=timeout, allow_redirects=False
        ) as reply:
            attempt.status = reply.status
            body = await _body(reply)
            if 200 <= reply.status < 300:
                attempt.answer = chat.read(protocol, body)
                return
            error = chat.error_in(body)
            attempt.message = chat.error_text(error, body)
            if retry.spend_limit(reply.status, error):
                attempt.failure = Failure.THROTTLED
                return
            throttled = reply.status in retry.THROTTLES
            attempt.failure = Failure.THROTTLED if throttled else Failure.HTTP
            attempt.again = retry.retried(reply.status)
            attempt.retry_after = retry.retry_after(reply.headers, time.time())


async def _body(reply: aiohttp.ClientResponse) -> bytes:
    length = reply.content_length
    if length is not None and length <= MAX_BODY_BYTES and "content-encoding" not in reply.headers:
        return await reply.read()  # in one piece: most answers
    chunks, size = [], 0
    async for chunk in reply.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            reply.close()
            raise chat.BadAnswerError(f"an answer of more than {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _not_asked(
    request: MirroredRequest, plan: Plan, served: Target, target: Target
) -> tuple[Failure, str] | None:
    """Why there is no call; None where there is one."""
    if not plan.sampler.takes(request.key or request.request_id):
        return Failure.SAMPLED_OUT, f"not in the sample of rollout {plan.rollout.name}"
    refused = chat.without_question(request) or contradiction(request, served.arm, served.version)
    if refused is not None:
        return refused
    if target.unable:
        return Failure.UNSUPPORTED, target.unable
    return chat.why_not(request, target.version)


def _response(
    request: MirroredRequest, plan: Plan, target: Target, attempt: Attempt, attempts: int, body: Any
) -> Response:
    answer = attempt.answer or chat.Answer("")
    response = copied(target.blank)
    response.request_id = request.request_id
    response.ts = request.ts
    response.completed_at = int(time.time() * 1000)
    response.epoch = plan.epoch
    response.service = request.service
    response.route = request.route
    if not (response.model or target.unable):
        response.model = request.model
    response.output = answer.output
    response.tool_calls = answer.tool_calls
    response.finish_reason = answer.finish_reason
    if attempt.failure:
        response.error = attempt.failure.value
        response.error_message = _line(attempt.message, target.secrets)
    response.status = attempt.status
    response.latency_ms = attempt.latency_ms
    response.input_tokens = answer.input_tokens
    response.output_tokens = answer.output_tokens
    response.attempts = attempts
    response.key = request.key
    response.stage = request.stage
    if request.protocol == Protocol.OPENAI_CHAT:
        response.fingerprint = fingerprint(body)
    response.served_fingerprint = served_fingerprint(request)
    response.request = body
    response.attributes = request.attributes
    response.traceparent = request.traceparent
    return response


def _line(message: str, secrets: tuple[str, ...]) -> str:
    """A message on one line, without the secrets, cut to a length."""
    for secret in secrets:
        message = message.replace(secret, "[secret]")
    return " ".join(message.split())[:MAX_MESSAGE]
