"""Amounts of what a call costs, all of them integers, so that they add up to the last cent. Pure."""

from typing import NamedTuple

NANO = 1_000_000_000


class Amount(NamedTuple):
    """What calls cost, or may cost."""

    nanodollars: int = 0
    tokens: int = 0  # of what is asked and what is answered
    calls: int = 0
    bytes: int = 0  # sent and received

    def plus(self, other: "Amount") -> "Amount":
        return Amount(*(one + two for one, two in zip(self, other, strict=True)))

    def minus(self, other: "Amount") -> "Amount":
        return Amount(*(one - two for one, two in zip(self, other, strict=True)))


NOTHING = Amount()


class Limits(NamedTuple):
    """The most of one window; None is no limit. The measures are those of :class:`Amount`, in its order."""

    nanodollars: int | None = None
    tokens: int | None = None
    calls: int | None = None
    bytes: int | None = None

    def blocks_for(self, amount: Amount, blocks: int) -> int:
        """How many of the window's ``blocks`` equal parts hold ``amount``; more than ``blocks`` where none do."""
        return max(
            (_parts(of, limit, blocks) for of, limit in zip(amount, self, strict=True) if limit is not None),
            default=0,
        )

    def exceeded_by(self, amount: Amount) -> str:
        """The measure of which ``amount`` is more than the whole window has; ``""`` if it has enough of all."""
        for name, of, limit in zip(Amount._fields, amount, self, strict=True):
            if limit is not None and of > limit:
                return name
        return ""


def _parts(amount: int, limit: int, blocks: int) -> int:
    if amount <= 0:
        return 0
    if limit <= 0:
        return blocks + 1
    return -(-amount * blocks // limit)  # rounded up: a part of a block is one


def cost(input_tokens: int, output_tokens: int, input_price: float, output_price: float) -> int:
    """Nanodollars, rounded up. Prices are in dollars a million tokens, which is thousands of nanodollars a token."""
    exact = input_tokens * round(input_price * NANO) + output_tokens * round(output_price * NANO)
    return -(-exact // 1_000_000)
