"""Asks the arm that did not serve, over HTTP: a mirrored request in, a response out, whatever happens.

A failure of that arm is a response with an error, never an exception. Nothing of the production request travels
but its body and its id: the headers are the version's own, and say that this is a shadow.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import aiohttp

from shadowlane.processors.callables.pool import Pool
from shadowlane.processors.worker import chat, retry
from shadowlane.processors.worker.ahead import Asking, Ending
from shadowlane.processors.worker.calling import called
from shadowlane.processors.worker.deadline import Deadlines, StoppedError
from shadowlane.processors.worker.gate import Gate
from shadowlane.processors.worker.guarded import FREE, Guarded
from shadowlane.processors.worker.places import Places, Seat
from shadowlane.processors.worker.progress import Progress
from shadowlane.processors.worker.question import Attempt, Question
from shadowlane.processors.worker.rejected import Rejections
from shadowlane.processors.worker.room import Room, Share
from shadowlane.processors.worker.target import Plan, Target
from shadowlane.schemas.answers.rejection import STATUSES
from shadowlane.schemas.config import Rollout, Worker
from shadowlane.schemas.config.kinds import Python
from shadowlane.schemas.events import Failure, MirroredRequest, Response

MAX_BODY_BYTES = 8 * 2**20
ENCODED = "content-encoding"
CONNECT_S = 10.0
DNS_TTL_S = 60
CALLABLES_S = 86_400.0  # a callable's limit is its pool's, which leaves out the wait for a process


class Caller:
    """One HTTP session for all that is asked: kept-alive connections, no cookies, no redirects.

    It does not bound how many calls run at once: the worker does.
    """

    def __init__(
        self,
        worker: Worker,
        on_attempt: Callable[[], None] = lambda: None,
        gate: Gate | None = None,
        elsewhere: Callable[[], int] = lambda: 0,
        places: Places | None = None,
    ) -> None:
        """Within a running event loop. Without a gate every call may be made.

        ``elsewhere`` is how many bytes of ``worker.max_bytes`` are taken by answers that were handed on. ``places`` are
        those of the tasks that ask; who waits for a limit leaves its own.
        """
        self._gate = gate
        self._places = places or Places(worker.concurrency, Progress())
        self.room = Room(worker.max_bytes * 3 // 4, elsewhere)
        self._backoff = retry.Backoff.of(worker)
        self._on_attempt = on_attempt
        self._limits: dict[int, tuple[Deadlines, aiohttp.ClientTimeout, Target]] = {}  # by id() of the target
        self._pools: dict[tuple[str, str], Pool] = {}  # by rollout and arm
        self.rejections = Rejections()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=worker.concurrency, ttl_dns_cache=DNS_TTL_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=2**14,
        )

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()
        await self._session.close()

    def abort(self, stopped: Callable[[str], str]) -> None:
        """Ends the calls under way of rollouts of which ``stopped`` says why."""
        for deadlines, *_ in self._limits.values():
            deadlines.stop(lambda question: bool(stopped(question.response.rollout)))

    def asking(self, request: MirroredRequest, plan: Plan) -> Asking:
        """The response of the arm that did not serve: asks it, where it may be asked, up to ``max_attempts``.

        What is returned keeps nothing of the request that its response does not, and is called once. ``latency_ms`` is
        that of the last attempt alone, waits and earlier attempts left out.
        """
        return partial(self.ask, Question.of(request, plan), plan.rollout)

    def ask(self, question: Question, rollout: Rollout) -> Coroutine[Any, Any, Ending]:
        """What gives the response to a question. Never raises for what the version does."""
        if question.refused is None and self._gate is not None:
            return self._ask(question, self._gate.guarded(rollout, question))
        return self._ask(question, None)

    async def _ask(self, question: Question, guarded: Guarded | None) -> Ending:
        if question.refused is not None:
            return partial(question.answered, question.refused, 0)
        target, number, refused = question.target, 1, 0
        gate, admission, rejections = self._gate, FREE, self.rejections
        python = target.version.python
        deadlines, timeout, _ = self._limits.get(id(target)) or self._limit(target)
        room, size = self.room, len(question.payload)
        share = room.begin(size) or await room.enter(size)
        try:
            while True:
                if rejections.known:
                    await rejections.before(question)
                if (
                    gate is not None
                    and guarded is not None
                    and (not (gate.open and guarded.calm) or number > 1)
                ):
                    seat = Seat(self._places, room, share)
                    admitted = await gate.admit(guarded, question, seat, again=number > 1)
                    if isinstance(admitted, Attempt):
                        return partial(question.answered, admitted, number - 1)
                    admission = admitted
                    if rejections.known:  # by now
                        rejections.now(question)
                self._on_attempt()
                attempt, started = Attempt(), time.perf_counter()
                reply, body, unread = None, b"", False
                try:
                    with deadlines.within(question):
                        if python is not None:
                            attempt = await called(self._pool(question, python), question)
                        else:
                            headers = question.headers
                            if target.signer is not None:
                                headers = await target.signer.headers(question.url, headers, question.payload)
                            reply = await self._session.request(
                                target.method,
                                question.url,
                                data=aiohttp.BytesPayload(question.payload) if question.payload else None,
                                headers=headers,
                                timeout=timeout,
                                allow_redirects=False,
                            )
                            attempt.status = reply.status
                            length = reply.content_length
                            if length is not None and length <= share.answer and ENCODED not in reply.headers:
                                body = await reply.read()  # in one piece: most answers
                            else:
                                body = await self._body(reply, length, share)
                            share.received = len(body)
                    if reply is not None:
                        unread = 200 <= reply.status < 300
                        if not unread:
                            _read_error(reply, body, attempt)
                        elif not (guarded is None or guarded.calm):
                            unread = False  # the gate needs what it says now
                            _read(question, body, attempt)
                except (aiohttp.ClientError, OSError, chat.BadAnswerError) as exc:  # or a TimeoutError
                    _failed(exc, target, attempt)
                    if attempt.failure is Failure.TIMEOUT and share.waited_s:
                        attempt.failure = Failure.OVER_BUDGET
                        waited = f"it waited {share.waited_s:.1f} s for room (worker.max_bytes)"
                        attempt.message += f", of which {waited}"
                except StoppedError:
                    attempt.failure = Failure.STOPPED
                    attempt.message = "calls were stopped while it was asked"
                except BaseException:  # cancelled, as the worker ends; or what nobody foresaw
                    if gate is not None and guarded is not None:
                        gate.lost(guarded, admission)
                    raise
                if gate is not None and guarded is not None and guarded.looks(attempt):
                    gate.after(guarded, admission, question, attempt, reply, len(body), len(deadlines))
                if python is None:
                    attempt.latency_ms = (time.perf_counter() - started - share.waited_s) * 1000
                    share.waited_s = 0.0
                if (rejections.known or attempt.status in STATUSES) and rejections.after(
                    question, attempt, body
                ):
                    number, refused = number + 1, refused + 1
                    continue
                if unread:
                    return partial(self._end, guarded, question, attempt, number, body)
                wait = None
                if attempt.again:
                    jitter = random.random()  # noqa: S311 (no secret)
                    wait = self._backoff.wait(number - refused, attempt.retry_after, jitter)
                if wait is None:
                    return partial(question.answered, attempt, number)
                number += 1
                if gate is None or guarded is None:
                    await asyncio.sleep(wait)
                else:
                    await gate.pause(guarded, Seat(self._places, room, share), wait)
        finally:
            room.leave(share)

    def _end(
        self, guarded: Guarded | None, question: Question, attempt: Attempt, attempts: int, body: bytes
    ) -> Response:
        """The response whose answer nobody has read yet."""
        try:
            _read(question, body, attempt)
        except chat.BadAnswerError as exc:
            _failed(exc, question.target, attempt)
        if attempt.failure is not None and self._gate is not None and guarded is not None:
            self._gate.after(guarded, FREE, question, attempt, None, len(body), 0)
        return question.answered(attempt, attempts)

    async def _body(self, reply: aiohttp.ClientResponse, length: int | None, share: Share) -> bytes:
        """All of it, once there is room. Its connection is free again then, or closed where that fails."""
        if length is not None and length <= MAX_BODY_BYTES and ENCODED not in reply.headers:
            await self.room.grow(share, length)
            return await reply.read()
        async with reply:
            chunks, size = [], 0
            async for chunk in reply.content.iter_any():
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    reply.close()
                    raise chat.BadAnswerError(f"an answer of more than {MAX_BODY_BYTES} bytes")
                if size > share.answer:
                    await self.room.grow(share, size)
                chunks.append(chunk)
            return b"".join(chunks)

    def _pool(self, question: Question, python: Python) -> Pool:
        key = question.response.rollout, question.target.arm
        return self._pools.get(key) or self._pools.setdefault(key, Pool(python))

    def _limit(self, target: Target) -> tuple[Deadlines, aiohttp.ClientTimeout, Target]:
        """Of a whole call, and of its connecting; a target's own, so that it is known how many calls it has. The target
        is kept with them: no other has its id."""
        timeout_s = target.timeout_s if target.version.python is None else CALLABLES_S
        connect = aiohttp.ClientTimeout(sock_connect=min(CONNECT_S, timeout_s / 2), ceil_threshold=3600)
        self._limits[id(target)] = found = (Deadlines(timeout_s), connect, target)
        return found


def _read(question: Question, body: bytes, attempt: Attempt) -> None:
    """
    Raises:
        BadAnswerError: it is none.
    """
    read = question.target.read
    answer = chat.read(question.protocol, body) if read is None else chat.whole(read(body))
    attempt.answer = answer
    if answer.failed:  # after its 200
        attempt.failure = Failure.THROTTLED if answer.throttled else Failure.HTTP
        attempt.message = answer.failed


def _read_error(reply: aiohttp.ClientResponse, body: bytes, attempt: Attempt) -> None:
    error = chat.error_in(body)
    attempt.message = chat.error_text(error, body)
    if retry.spend_limit(reply.status, error):
        attempt.failure = Failure.THROTTLED
        return
    throttled = reply.status in retry.THROTTLES
    attempt.failure = Failure.THROTTLED if throttled else Failure.HTTP
    attempt.again = retry.retried(reply.status)
    attempt.retry_after = retry.retry_after(reply.headers, time.time())


def _failed(error: Exception, target: Target, attempt: Attempt) -> None:
    if isinstance(error, chat.BadAnswerError):
        attempt.failure, attempt.message = Failure.BAD_RESPONSE, str(error)
    elif isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
        attempt.failure = Failure.TIMEOUT
        attempt.message = f"no whole answer within {target.timeout_s:g} s"
    else:
        attempt.failure, attempt.again = Failure.CONNECTION, True
        late = isinstance(error, TimeoutError)
        attempt.message = "no connection in time" if late else str(error) or type(error).__name__
