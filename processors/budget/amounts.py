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

    def exceeded_by(self, amount: Amount) -> str:
        """The measure of which ``amount`` has more than there may be; ``""`` where there is none."""
        for name, of, limit in zip(Amount._fields, amount, self, strict=True):
            if limit is not None and of > limit:
                return name
        return ""

    def left(self, taken: Amount) -> "Limits":
        """What is left of it; below zero where more was taken."""
        return Limits(*(None if most is None else most - of for most, of in zip(self, taken, strict=True)))

    def share(self, taken: Amount) -> float:
        """How much of it ``taken`` is, of the measure that is scarcest; 1 where a limit is 0."""
        shares = (
            of / most if most else 1.0 for of, most in zip(taken, self, strict=True) if most is not None
        )
        return max(shares, default=0.0)

    def limited(self, amount: Amount) -> Amount:
        """Of ``amount`` what is above zero, in the measures that have a limit."""
        return Amount(*(0 if most is None else max(0, of) for most, of in zip(self, amount, strict=True)))

    def part(self, parts: int) -> Amount:
        """One of so many equal parts of it, rounded down."""
        return Amount(*(0 if most is None else most // parts for most in self))


def cost(input_tokens: int, output_tokens: int, input_price: float, output_price: float) -> int:
    """Nanodollars, rounded up. Prices are in dollars a million tokens, which is thousands of nanodollars a token."""
    exact = input_tokens * round(input_price * NANO) + output_tokens * round(output_price * NANO)
    return -(-exact // 1_000_000)
