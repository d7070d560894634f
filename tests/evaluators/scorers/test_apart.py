"""A scorer that hangs or dies costs one pair its score, and nobody anything else."""

from collections.abc import Iterator
from typing import Any

import pytest

from shadowlane.evaluators.scorers.apart import IN_A_ROW, Apart, NoNumber, ScorerFailedError
from shadowlane.schemas.config import Price
from tests.evaluators.scorers.own import behaving

NAMED: tuple[str, dict[str, Any], dict[str, Price], str] = ("own", {}, {}, "rollouts[r].scorers[0]")


@pytest.fixture
def apart() -> Iterator[Apart]:
    scorer = Apart("own", behaving, NAMED, limit_s=0.5, aside_s=0.2)
    yield scorer
    scorer.close()


@pytest.mark.parametrize("how", ["hang", "hang with the lock"])
def test_one_that_hangs_is_ended_and_scores_the_next_pair(apart: Apart, how: str) -> None:
    before = apart("pid")
    with pytest.raises(ScorerFailedError, match=r"did not come back within 0.5 s"):
        apart(how)
    assert apart("half") == 0.5
    assert apart("pid") != before


def test_one_that_ends_its_process_scores_the_next_pair(apart: Apart) -> None:
    assert apart("half") == 0.5
    with pytest.raises(ScorerFailedError, match="ended its process"):
        apart("die")
    assert apart("half") == 0.5


@pytest.mark.parametrize(("how", "told"), [("raise", "ValueError"), ("exit", "SystemExit")])
def test_what_it_raises_is_told_without_what_it_says(apart: Apart, how: str, told: str) -> None:
    with pytest.raises(ScorerFailedError) as raised:
        apart(how)
    assert str(raised.value).startswith(f"{told} at own.py:")
    assert "42" not in str(raised.value)
    assert apart("count") == 2  # it goes on in the same process


def test_what_is_no_number_travels_as_the_name_of_its_type(apart: Apart) -> None:
    assert apart("anything") == NoNumber("dict")
    assert apart("both") == (1, None)


def test_it_is_set_aside_after_some_calls_in_a_row_and_tried_again(apart: Apart) -> None:
    for _ in range(IN_A_ROW):
        with pytest.raises(ScorerFailedError):
            apart("die")
    with pytest.raises(ScorerFailedError, match="is set aside"):
        apart("half")
    while True:
        try:
            assert apart("half") == 0.5
            break
        except ScorerFailedError as exc:
            assert "is set aside" in str(exc)  # noqa: PT017 (any other failure is one)


def test_one_that_can_not_be_made_says_why() -> None:
    scorer = Apart("own", behaving, ("unloadable", {}, {}, ""), limit_s=0.5)
    with pytest.raises(ScorerFailedError, match=r"^ImportError at own.py:\d+$"):
        scorer("half")
    scorer.close()
