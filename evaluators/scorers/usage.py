"""What an answer took: time, tokens, money. Reported, and never part of quality."""

from collections.abc import Mapping
from typing import Any

from shadowlane.evaluators.scorers.contract import side_scorer
from shadowlane.schemas.config import Price
from shadowlane.schemas.events import Failure, Response


@side_scorer(unit="ms")
def latency(request: Any, answer: Response) -> float | None:
    """Milliseconds to the end of the answer.

    A timeout counts with the time that was waited for it. Other failures abstain: a refused connection is
    no fast answer.
    """
    return answer.latency_ms if answer.error in ("", Failure.TIMEOUT) else None


@side_scorer(unit="tokens")
def input_tokens(request: Any, answer: Response) -> float | None:
    """Tokens of the request, as the model counted them."""
    return answer.input_tokens


@side_scorer(unit="tokens")
def output_tokens(request: Any, answer: Response) -> float | None:
    """Tokens of the answer, as the model counted them."""
    return answer.output_tokens


@side_scorer(unit="usd")
class Cost:
    """USD by the configuration's ``prices``, under the name of the model that was asked, exactly.

    ``gpt-4o`` is no price for ``gpt-4o-2024-08-06``: versions differ in price. Abstains where there is no
    price, or the tokens are not known.
    """

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = prices

    def __call__(self, request: Any, answer: Response) -> float | None:
        price = self._prices.get(answer.model)
        if price is None or answer.input_tokens is None or answer.output_tokens is None:
            return None
        return (answer.input_tokens * price.input + answer.output_tokens * price.output) / 1e6
