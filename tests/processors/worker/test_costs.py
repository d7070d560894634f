"""What is reserved before a call, and settled after it."""

from typing import Any

import pytest

from shadowlane.processors.budget.amounts import Amount
from shadowlane.processors.worker.costs import LARGE_IMAGE, SMALL_IMAGE, most_of, spent_by
from shadowlane.processors.worker.question import Attempt, Question
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.answers import Answer
from shadowlane.schemas.config import Budget, Price, Rollout, Worker
from shadowlane.schemas.events import Failure
from tests.processors.worker.serving import asked

PRICE = Price(input=2, output=10)


def question(body: dict[str, Any], protocol: str = "openai.chat", kind: str = "openai") -> Question:
    document = {"name": "r", "candidate": {"kind": kind, "model": "new", "base_url": "http://127.0.0.1:1/v1"}}
    plan = Plan.of(Rollout.model_validate(document), Worker())
    found = Question.of(asked({"model": "old"} | body, protocol), plan)
    assert found.refused is None, found.refused
    return found


def says(*parts: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(parts)}], **more}


CHAT = {"type": "image_url", "image_url": {"url": "https://h/a.png"}}
RESPONSES = {"type": "input_image", "image_url": "https://h/a.png"}
FILE = {"type": "input_file", "file_id": "file-1"}
ANTHROPIC = {"type": "image", "source": {"type": "url", "url": "https://h/a.png"}}


@pytest.mark.parametrize(
    ("asks", "each", "images"),
    [
        (question(says({"type": "text", "text": "hi"})), LARGE_IMAGE, 0),
        (question(says(CHAT, CHAT)), LARGE_IMAGE, 2),
        (
            question(
                {"input": [{"role": "user", "content": [RESPONSES, FILE]}]},
                "openai.responses",
                "openai-responses",
            ),
            LARGE_IMAGE,
            2,
        ),
        (question(says(ANTHROPIC, max_tokens=5), "anthropic.messages", "anthropic"), SMALL_IMAGE, 1),
        (question(says({"type": "text", "text": '{"image_url": {}, "image_url":'})), LARGE_IMAGE, 0),
    ],
)
def test_an_image_that_is_elsewhere_is_reserved_for(asks: Question, each: int, images: int) -> None:
    sent = len(asks.payload)
    answered = asks.most_tokens or 100
    most = most_of(asks, Budget(max_output_tokens=100), PRICE)
    tokens = sent + images * each
    assert most == Amount(2000 * tokens + 10_000 * answered, tokens + answered, 1, sent)
    given = most_of(asks, Budget(max_output_tokens=100, image_tokens=7), None)
    assert given == Amount(0, sent + images * 7 + answered, 1, sent)


@pytest.mark.parametrize("limit", [0, -5, -(10**9)])
def test_a_limit_that_is_none_does_not_give_anything_back(limit: int) -> None:
    body = says({"type": "text", "text": "hi"}, max_tokens=limit)
    assert most_of(question(body), Budget(max_output_tokens=100), None).tokens > 100


def test_what_is_settled_is_what_the_answer_counts_else_all_that_was_reserved() -> None:
    asks = question(says({"type": "text", "text": "hi"}))
    most, sent = Amount(5, 500, 1, 50), len(asks.payload)
    told = Answer()
    told.input_tokens, told.output_tokens = 3, 4
    answered = Attempt(status=200, answer=told)
    assert spent_by(asks, answered, most, PRICE, 9) == Amount(46_000, 7, 1, sent + 9)
    late = Attempt(failure=Failure.TIMEOUT)
    assert spent_by(asks, late, most, PRICE, 0) == Amount(5, 500, 1, sent)
    refused = Attempt(status=429, failure=Failure.THROTTLED)
    assert spent_by(asks, refused, most, PRICE, 9) == Amount(0, 0, 1, sent + 9)
    uncounted = Attempt(status=200, answer=Answer())
    assert spent_by(asks, uncounted, most, PRICE, 9) == Amount(5, 500, 1, sent + 9)
