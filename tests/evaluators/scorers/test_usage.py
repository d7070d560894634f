import pytest

from shadowlane.evaluators.scorers.usage import Cost, input_tokens, latency, output_tokens
from shadowlane.schemas.config import Price
from tests.evaluators.scorers.answers import answer


def test_latency_counts_answers_and_timeouts() -> None:
    assert latency(None, answer("a", latency_ms=12.5)) == 12.5
    assert latency(None, answer("", latency_ms=60_000.0, error="timeout")) == 60_000
    assert latency(None, answer("", latency_ms=0.4, error="connection")) is None


def test_tokens_are_the_models_own_count() -> None:
    assert input_tokens(None, answer("a", input_tokens=7)) == 7
    assert output_tokens(None, answer("a", output_tokens=0)) == 0
    assert output_tokens(None, answer("a")) is None


def test_cost_is_by_the_exact_model() -> None:
    cost = Cost({"m": Price(input=2.5, output=10)})
    assert cost(None, answer(model="m", input_tokens=1000, output_tokens=100)) == pytest.approx(0.0035)
    assert cost(None, answer(model="m-2024-08-06", input_tokens=1000, output_tokens=100)) is None
    assert cost(None, answer(model="m", input_tokens=1000)) is None
