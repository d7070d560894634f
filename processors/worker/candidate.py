"""Asks candidates over HTTP: a mirrored request in, a response out, whatever happens.

A failure of the candidate is a response with an error, never an exception. Nothing of the production request
travels but its body: the headers are the candidate's own.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import yarl

from shadowlane.errors import ConfigError
from shadowlane.processors.worker import chat, retry
from shadowlane.schemas.config import Candidate, Rollout, Worker
from shadowlane.schemas.events import Arm, Failure, MirroredRequest, Response, Role

MAX_BODY_BYTES = 8 * 2**20
MAX_MESSAGE = 500
CONNECT_S = 10.0
DNS_TTL_S = 60


@dataclass(frozen=True, slots=True)
class Target:
    """A rollout's candidate, ready to be called: its key is there, its address and overrides make sense."""

    rollout: Rollout
    epoch: str
    url: yarl.URL
    headers: dict[str, str]
    timeout_s: float
    secrets: tuple[str, ...]  # never repeated in an error message

    @classmethod
    def of(cls, rollout: Rollout, worker: Worker) -> "Target":
        """Checks the candidate and reads its key from the environment.

        Raises:
            ConfigError: the key is not there, or the address, the headers or the overrides can't be used.
        """
        candidate, where = rollout.candidate, f"rollout {rollout.name!r}: candidate"
        headers = {"accept": "application/json", "content-type": "application/json"}
        key = candidate.api_key()
        if key:
            headers["authorization"] = f"Bearer {key}"
        headers |= {name.lower(): value for name, value in candidate.headers.items()}
        if any(not text.isascii() or not text.isprintable() for pair in headers.items() for text in pair):
            raise ConfigError(f"{where}.headers and its key may hold printable ASCII alone")
        try:
            orjson.dumps(candidate.overrides)
        except TypeError as exc:
            raise ConfigError(f"{where}.overrides can't be sent as JSON: {exc}") from exc
        secrets = [key, *(value for value in candidate.headers.values() if len(value) >= 8)]
        return cls(
            rollout=rollout,
            epoch=rollout.epoch,
            url=_url(candidate, where),
            headers=headers,
            timeout_s=candidate.timeout_s or worker.timeout_s,
            secrets=tuple(sorted(filter(None, secrets), key=len, reverse=True)),
        )


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
    """One HTTP session for all candidates: kept-alive connections, no cookies, no redirects.

    It does not bound how many calls run at once: the worker does.
    """

    def __init__(self, worker: Worker, on_attempt: Callable[[], None] = lambda: None) -> None:
        """Within a running event loop."""
        self._backoff = retry.Backoff.of(worker)
        self._on_attempt = on_attempt
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=worker.concurrency, ttl_dns_cache=DNS_TTL_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": "shadowlane"},
        )

    async def close(self) -> None:
        await self._session.close()

    async def respond(self, request: MirroredRequest, target: Target) -> Response:
        """The candidate's response to a request: calls it, where it may be called, up to ``max_attempts``.

        ``latency_ms`` is that of the last attempt alone, waits and earlier attempts left out.
        """
        refused = _not_asked(request, target)
        if refused is not None:
            return _response(request, target, Attempt(failure=refused[0], message=refused[1]), 0, None)
        body = chat.ask(request, target.rollout.candidate)
        payload = orjson.dumps(body)
        number = 1
        while True:
            self._on_attempt()
            attempt = await self._attempt(request.protocol, payload, target)
            wait = None
            if attempt.again:
                wait = self._backoff.wait(number, attempt.retry_after, random.random())  # noqa: S311 (jitter)
            if wait is None:
                return _response(request, target, attempt, number, body)
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
        timeout = aiohttp.ClientTimeout(
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
    chunks, size = [], 0
    async for chunk in reply.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            reply.close()
            raise chat.BadAnswerError(f"an answer of more than {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _not_asked(request: MirroredRequest, target: Target) -> tuple[Failure, str] | None:
    if target.rollout.stable.model not in ("", request.model):
        return Failure.OTHER_MODEL, f"the service asked {request.model!r}, not the stable model"
    return chat.why_not(request, target.rollout.candidate)


def _response(
    request: MirroredRequest, target: Target, attempt: Attempt, attempts: int, body: Any
) -> Response:
    answer = attempt.answer or chat.Answer("")
    return Response(
        request_id=request.request_id,
        ts=request.ts,
        completed_at=int(time.time() * 1000),
        service=request.service,
        route=request.route,
        role=Role.SHADOW.value,
        arm=Arm.CANDIDATE.value,
        rollout=target.rollout.name,
        epoch=target.epoch,
        model=target.rollout.candidate.model or request.model,
        output=answer.output,
        tool_calls=answer.tool_calls,
        finish_reason=answer.finish_reason,
        error=attempt.failure.value if attempt.failure else "",
        error_message=_line(attempt.message, target.secrets),
        status=attempt.status,
        latency_ms=attempt.latency_ms,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        attempts=attempts,
        request=body,
        attributes=request.attributes,
        traceparent=request.traceparent,
    )


def _line(message: str, secrets: tuple[str, ...]) -> str:
    """A message on one line, without the secrets, cut to a length."""
    for secret in secrets:
        message = message.replace(secret, "[secret]")
    return " ".join(message.split())[:MAX_MESSAGE]


def _url(candidate: Candidate, where: str) -> yarl.URL:
    base = candidate.base_url
    try:
        url = yarl.URL(base.rstrip("/") + "/chat/completions" if candidate.kind == "openai" else base)
    except ValueError as exc:
        raise ConfigError(f"{where}.base_url {base!r} is no URL: {exc}") from exc
    if not url.host:
        raise ConfigError(f"{where}.base_url {base!r} names no host: http://host:port/path")
    if url.user is not None or url.password is not None:
        raise ConfigError(f"{where}.base_url may hold no user and password: use api_key_env or headers")
    return url
