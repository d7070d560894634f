"""What people are told of a budget."""

from shadowlane.processors.budget.amounts import Amount, Limits
from shadowlane.processors.budget.book import Window
from shadowlane.processors.budget.told import used, used_up

FOUR = 4 * 3600.0


def test_each_measure_that_has_a_limit() -> None:
    limits = Limits(nanodollars=5_000_000_000, calls=20_000)
    assert (
        used("hour", limits, Amount(12_345_678, 999, 12, 7)) == "this hour $0.0123 of $5, 12 of 20,000 calls"
    )
    assert used("rollout", Limits(tokens=10), Amount()) == "this epoch 0 of 10 tokens"


def test_when_it_renews() -> None:
    window = Window.at("r", "e", "hour", FOUR)
    told = used_up(window, "the hour is used up", Limits(calls=25), Amount(calls=25), FOUR + 600)
    assert told == (
        "the budget of rollout r refuses calls: the hour is used up (this hour 25 of 25 calls); "
        "it renews at 05:00 UTC, in 50 min"
    )


def test_a_rollouts_own_does_not() -> None:
    window = Window.at("r", "e", "rollout", FOUR)
    told = used_up(window, "the rollout is used up", Limits(calls=1), Amount(calls=1), FOUR)
    assert told.endswith("it does not renew: raise it, or end the rollout")
