"""One request over HTTP, and what its answer means. The only place here that talks to a network."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal

import aiohttp

from shadowlane.processors.worker.retry import retry_after

MAX_BODY = 2048


@dataclass(frozen=True, slots=True)
class Request:
    """A POST of JSON. Its address and headers may hold secrets, and its body a routing key."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """``status`` 0: there was none, and ``body`` says why. ``wait_s`` is what Retry-After asks for."""

    status: int
    body: str = ""
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt: failed ones are tried again, refused ones are not. No secrets in ``message``."""

    outcome: Literal["sent", "failed", "refused"]
    status: int = 0
    message: str = ""
    wait_s: float | None = None


def post(request: Request, timeout_s: float) -> Answer:
    """Sends it, and gives the answer. Not within an event loop.

    It blocks for ``timeout_s`` at most, all included, but for a name that the system's resolver is slow to give up.
    Redirects are not followed: they would carry the alert, and its secrets, to where nobody configured. Proxies of the
    environment (HTTPS_PROXY) are used. It never raises for what the network or the other side does.
    """
    return asyncio.run(_post(request, timeout_s))


async def _post(request: Request, timeout_s: float) -> Answer:
    headers = {"content-type": "application/json", "user-agent": "shadowlane"} | request.headers
    answer: Answer | None = None
    try:
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=True,
            ) as session,
            session.post(request.url, data=request.body, headers=headers, allow_redirects=False) as response,
        ):
            # From here on it was received: a body that never ends changes nothing.
            answer = Answer(response.status, "", retry_after(response.headers, time.time()))
            text = (await response.content.read(MAX_BODY)).decode(errors="replace")
            return Answer(answer.status, text, answer.wait_s)
    except TimeoutError:
        return answer or Answer(0, f"no answer within {timeout_s:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as exc:  # ValueError: what can't be an address
        return answer or Answer(0, str(exc) or type(exc).__name__)
