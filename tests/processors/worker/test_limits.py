"""A provider's own limits, as OpenAI and Anthropic tell them: the worker slows down before it is refused."""

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from tests.processors.worker.fake_candidate import completion
from tests.processors.worker.scene import Scene, request
from tests.processors.worker.threaded import Threaded
from tests.services import KafkaAddress

LIMIT, WINDOW_S = 10, 1.0
CONCURRENCY = 4
REQUESTS = 35
MESSAGE = {
    "type": "message",
    "role": "assistant",
    "model": "new",
    "content": [{"type": "text", "text": "fine"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 7, "output_tokens": 3},
}


def openai(left: int, now: float, ends: float) -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": str(LIMIT),
        "x-ratelimit-remaining-requests": str(left),
        "x-ratelimit-reset-requests": f"{math.ceil((ends - now) * 1000)}ms",
        "x-ratelimit-remaining-tokens": "150000",
        "x-ratelimit-reset-tokens": "6ms",
    }


def anthropic(left: int, now: float, ends: float) -> dict[str, str]:
    reset = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "anthropic-ratelimit-requests-limit": str(LIMIT),
        "anthropic-ratelimit-requests-remaining": str(left),
        "anthropic-ratelimit-requests-reset": reset,
        "anthropic-ratelimit-tokens-remaining": "80000",
        "anthropic-ratelimit-tokens-reset": reset,
    }


def silent(left: int, now: float, ends: float) -> dict[str, str]:
    """Only a refusal says anything."""
    return {}


Tells = Callable[[int, float, float], dict[str, str]]


class Provider(Threaded):
    """Takes so many calls a second of the clock, refuses the others, and tells what remains."""

    def __init__(self, tells: Tells) -> None:
        self._tells = tells
        self.windows: list[list[int]] = []  # of each: how many it took, how many it refused
        self._window = 0

    async def _answer(self, request: web.Request) -> web.Response:
        now = time.time()
        window = int(now // WINDOW_S)
        ends = (window + 1) * WINDOW_S
        if window != self._window:
            self._window = window
            self.windows.append([0, 0])
        counts = self.windows[-1]
        taken = counts[0] < LIMIT
        counts[0 if taken else 1] += 1
        headers = self._tells(LIMIT - counts[0], now, ends)
        if not taken:
            after = {"retry-after": str(math.ceil((ends - now) * 1000) / 1000)}
            return web.json_response({"error": {"message": "too many"}}, status=429, headers=headers | after)
        asked = await request.json()
        document: Any = completion() if request.path.endswith("completions") else MESSAGE
        return web.json_response(document | {"model": asked["model"]}, headers=headers)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/{rest:.*}", self._answer)
        return app


@pytest.mark.parametrize(
    ("kind", "tells"), [("openai", openai), ("anthropic", anthropic), ("openai", silent)]
)
def test_a_worker_keeps_to_what_its_provider_tells_and_loses_nothing(
    tmp_path: Path, embedded_kafka: KafkaAddress, kind: str, tells: Tells
) -> None:
    with Provider(tells).running() as provider:
        candidate = {"kind": kind, "base_url": provider.base_url, "model": "new"}
        rollout = {"name": "r", "match": {"service": "s"}, "stable": {"model": "old"}, "candidate": candidate}
        scene = Scene(
            tmp_path,
            embedded_kafka,
            f"limits-{uuid4().hex[:8]}",
            provider.base_url,
            rollouts=[rollout],
            worker={"concurrency": CONCURRENCY, "max_attempts": 5},
            monitoring={"worker_port": 0},
        )
        try:
            scene.write(*(request(f"q{number}") for number in range(REQUESTS)))
            scene.start()
            scene.read_until(lambda: len(scene.responses) == REQUESTS)
        finally:
            scene.close()
    assert {responses[0].error for responses in scene.responses.values()} == {""}
    assert sum(taken for taken, _ in provider.windows) == REQUESTS
    refused = [refused for _, refused in provider.windows]
    if tells is silent:
        # What is under way when the first one is refused is refused too, and no other before the reset.
        assert all(number <= CONCURRENCY for number in refused)
    else:
        assert sum(refused) < CONCURRENCY  # none, but for answers that overtake each other
