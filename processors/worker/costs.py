"""What a call may cost, before it, and what it did, after it. Pure."""

from shadowlane.processors.budget.amounts import NANO, Amount, Limits, cost
from shadowlane.processors.budget.book import Span
from shadowlane.processors.worker.question import Attempt, Question
from shadowlane.schemas.config import Budget, Price, Rollout, Spend

SMALL_IMAGE, LARGE_IMAGE = 5_000, 50_000
"""Tokens: Anthropic's models take up to some 4,800 for an image; of OpenAI's gpt-4o-mini takes most, some 48,000."""
_NAMED = (b'"image_url":', b'"file_url":', b'"file_id":', b'"type":"url"', b'"s3Location":')
"""What stands in a payload (as orjson writes it) for an image or a file that is elsewhere: in OpenAI's APIs,
Anthropic's and Bedrock's. In a text the quotes have backslashes before them, so it is none."""


def limits_of(rollout: Rollout) -> dict[Span, Limits]:
    """Of each window that has any."""
    found: dict[Span, Limits] = {}
    windows: tuple[tuple[Span, Spend | None], ...] = (
        ("hour", rollout.budget.hour),
        ("day", rollout.budget.day),
        ("rollout", rollout.budget.rollout),
    )
    for span, spend in windows:
        if spend is not None:
            dollars = None if spend.dollars is None else round(spend.dollars * NANO)
            found[span] = Limits(dollars, spend.tokens, spend.calls, spend.bytes)
    return found


def most_of(question: Question, budget: Budget, price: Price | None) -> Amount:
    """What a call may cost at most: no token is shorter than a byte, but for what is named and not sent along. An
    answer's bytes are known after it."""
    sent = len(question.payload)
    asked = sent
    if named := sum(question.payload.count(mark) for mark in _NAMED):
        each = budget.image_tokens
        asked += named * (_of_kind(question.target.version.kind) if each is None else each)
    answered = question.most_tokens or budget.max_output_tokens
    dollars = 0 if price is None else cost(asked, answered, price.input, price.output)
    return Amount(dollars, asked + answered, 1, sent)


def _of_kind(kind: str) -> int:
    return SMALL_IMAGE if kind in ("anthropic", "bedrock") else LARGE_IMAGE


def spent_by(
    question: Question, attempt: Attempt, most: Amount, price: Price | None, received: int
) -> Amount:
    """What a call cost, as its answer counts it. Of one that nobody knows the end of, all that was reserved."""
    size = len(question.payload) + received
    answer = attempt.answer
    if answer is not None and answer.input_tokens is not None and answer.output_tokens is not None:
        asked, answered = answer.input_tokens, answer.output_tokens
        dollars = 0 if price is None else cost(asked, answered, price.input, price.output)
        return Amount(dollars, asked + answered, 1, size)
    if attempt.failure is not None and attempt.status >= 300:
        return Amount(0, 0, 1, size)
    return Amount(most.nanodollars, most.tokens, 1, size)
