"""Any calls in flight together, of a candidate that does not take any parameters: each ends, and with what is left."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowlane.processors.worker import rejected
from shadowlane.processors.worker.question import Attempt, Question
from shadowlane.processors.worker.rejected import Rejections
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.answers.rejection import STATUSES
from shadowlane.schemas.config import Candidate, Rollout, Stable, Worker
from shadowlane.schemas.events import Failure
from tests.processors.worker.serving import asked

MEMBERS: dict[str, Any] = {
    "temperature": st.sampled_from([0, 0.5, 1]),
    "top_p": st.just(0.9),
    "stop": st.just(["END"]),
    "seed": st.none() | st.integers(0, 2),
    "max_tokens": st.just(9),
    "reasoning": st.sampled_from([{"effort": "low"}, {"effort": "low", "summary": "auto"}]),
    "tools": st.just([{"type": "function", "function": {"name": "f"}}]),
}
NAMES = [*MEMBERS, "max_completion_tokens", "reasoning.effort"]
PLAN = Plan.of(
    Rollout(
        name="r",
        stable=Stable(model="old"),
        candidate=Candidate(base_url="http://a", model="new", rejected_parameters="leave_out"),
    ),
    Worker(),
)
bodies = st.fixed_dictionaries({}, optional=MEMBERS).map(
    lambda members: {"model": "old", "messages": [{"role": "user", "content": "Hi"}]} | members
)


class Provider:
    """Takes none of ``names``, nor the temperature 1; tells of one of them, or of all that there are."""

    def __init__(self, names: set[str], *, all_at_once: bool) -> None:
        self.names, self.all_at_once = names, all_at_once

    def answer(self, payload: bytes) -> tuple[int, bytes]:
        body = orjson.loads(payload)
        found = [name for name in sorted(self.names) if self._has(body, name)]
        if found and self.all_at_once:
            extra = [{"type": "extra_forbidden", "loc": ["body", *name.split(".")]} for name in found]
            return 422, orjson.dumps({"detail": extra})
        if found:
            return 400, orjson.dumps({"error": {"param": found[0], "code": "unknown_parameter"}})
        if body.get("temperature") == 1:
            return 400, orjson.dumps({"error": {"param": "temperature", "code": "unsupported_value"}})
        return 200, b"{}"

    @staticmethod
    def _has(body: Any, name: str) -> bool:
        for part in name.split("."):
            if not isinstance(body, dict) or part not in body:
                return False
            body = body[part]
        return True


async def ask(
    rejections: Rejections, question: Question, provider: Provider, turns: Iterator[int]
) -> tuple[Attempt, int]:
    """As the caller does it, but for HTTP."""
    calls = 0
    while True:
        if rejections.known:
            await rejections.before(question)
        calls += 1
        for _ in range(next(turns)):
            await asyncio.sleep(0)
        attempt = Attempt()
        attempt.status, answer = provider.answer(question.payload)
        attempt.failure = Failure.HTTP if attempt.status >= 400 else None
        if (rejections.known or attempt.status in STATUSES) and rejections.after(question, attempt, answer):
            continue
        return attempt, calls


@given(
    st.lists(bodies, min_size=1, max_size=8),
    st.sets(st.sampled_from(NAMES)),
    st.booleans(),
    st.lists(st.integers(0, 4), min_size=1),
    st.sets(st.integers(0, 7)),
)
@settings(max_examples=150)
def test_each_is_answered_without_what_is_not_taken_or_says_why_not(
    requests: list[dict[str, Any]], names: set[str], all_at_once: bool, pace: list[int], cancelled: set[int]
) -> None:
    provider = Provider(names, all_at_once=all_at_once)

    async def run() -> list[Any]:
        rejections = Rejections()
        turns = itertools.cycle(pace)
        asking = [asyncio.ensure_future(ask(rejections, question, provider, turns)) for question in questions]
        await asyncio.sleep(0)
        for number in cancelled:
            if number < len(asking):
                asking[number].cancel()
        return list(await asyncio.gather(*asking, return_exceptions=True))

    questions = [Question.of(asked(body), PLAN) for body in requests]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rejected, "WAIT_S", 0.005)
        ends = asyncio.run(run())
    for body, question, end in zip(requests, questions, ends, strict=True):
        if isinstance(end, asyncio.CancelledError):
            continue
        attempt, calls = end
        sent = orjson.loads(question.payload)
        assert (sent["messages"], sent.get("tools")) == (body["messages"], body.get("tools"))
        assert ("max_tokens" in body) == bool(sent.keys() & {"max_tokens", "max_completion_tokens"})
        assert calls <= len(body) + 2
        limits = "max_tokens" in body and {"max_tokens", "max_completion_tokens"} <= names
        if limits or ("tools" in body and "tools" in names):
            assert attempt.failure is Failure.REJECTED_PARAMETER
        else:
            assert (attempt.failure, attempt.status) == (None, 200)
        assert set(question.response.left_out) <= names | {"temperature"}
        gone = {name for name, value in body.items() if value is not None and name not in sent} - {
            "max_tokens"
        }
        assert gone <= {name.partition(".")[0] for name in question.response.left_out}
