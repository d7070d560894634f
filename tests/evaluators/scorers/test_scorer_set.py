import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.evaluators.scorers import ScorerSet, both_scorer, pair_scorer, side_scorer
from shadowlane.evaluators.scorers.registry import BUILTINS
from shadowlane.schemas.config import Price, Rollout
from shadowlane.schemas.events import Response
from tests.evaluators.scorers.answers import ANY_TEXT, answer

Make = Callable[..., ScorerSet]


def scorer_set(*scorers: dict[str, Any]) -> ScorerSet:
    content: dict[str, Any] = {"name": "r", "candidate": {"base_url": "http://127.0.0.1:1"}}
    if scorers:
        content["scorers"] = list(scorers)
    return ScorerSet.from_rollout(Rollout.model_validate(content), {"m": Price(input=1, output=2)})


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """A set of the scorers given, by name, each of weight 1 unless one is given for it."""

    def of(weights: dict[str, float] | None = None, **scorers: Any) -> ScorerSet:
        for name, scorer in scorers.items():
            monkeypatch.setitem(BUILTINS, name, scorer)
        given = weights or {}
        return scorer_set(*({"name": n, "quality_weight": given.get(n, 1.0)} for n in scorers))

    return of


@side_scorer
def grade(request: Any, side: Response) -> float | None:
    """What the answer says, as a number; abstains where it says nothing."""
    return float(side.output) if side.output else None


@pair_scorer
def agreement(request: Any, stable: Response, candidate: Response) -> float | None:
    return 0.5


@both_scorer
def ranking(request: Any, stable: Response, candidate: Response) -> tuple[float | None, float | None]:
    return (0.2, 0.6)


FAILED: dict[str, Any] = {"error": "timeout"}


def test_a_pair_is_graded_by_the_default_scorers() -> None:
    stable = answer("Paris.", latency_ms=10.0, input_tokens=10, output_tokens=2)
    candidate = answer("paris", latency_ms=20.0, input_tokens=10, output_tokens=1)
    scored = scorer_set().score({}, stable, candidate)
    assert scored.failed == {}
    assert scored.stable == {
        "answered": 1,
        "refusal": 1,
        "truncation": 1,
        "error": 1,
        "latency": 10,
        "input_tokens": 10,
        "output_tokens": 2,
        "cost": pytest.approx(14e-6),
    }
    assert scored.candidate["fuzzy"] == scored.candidate["normalised"] == 1
    assert scored.candidate["exact"] == 0
    assert "json_valid" not in scored.candidate
    assert (scored.stable_quality, scored.candidate_quality, scored.quality_difference) == (1, 1, 0)


def test_quality_is_the_weighted_mean_of_what_did_not_abstain(make: Make) -> None:
    scorers = make({"grade": 3, "agreement": 1, "silent": 5}, grade=grade, agreement=agreement, silent=silent)
    scored = scorers.score(None, answer("0.8"), answer("0.6"))
    assert scored.stable_quality == pytest.approx(0.8)
    assert scored.candidate_quality == pytest.approx((3 * 0.6 + 0.5) / 4)
    assert scored.quality_difference == pytest.approx(-0.2)  # by the one scorer that graded both sides


@side_scorer
def silent(request: Any, side: Response) -> float | None:
    return None


def test_a_scorer_of_both_grades_both(make: Make) -> None:
    scored = make(ranking=ranking).score(None, answer("a"), answer("b"))
    assert (scored.stable_quality, scored.candidate_quality) == (0.2, 0.6)
    assert scored.quality_difference == pytest.approx(0.4)


def test_one_that_abstains_on_one_side_makes_no_difference(make: Make) -> None:
    scored = make(grade=grade, ranking=ranking).score(None, answer(""), answer("1.0"))
    assert scored.stable == {"ranking": 0.2}
    assert scored.candidate_quality == pytest.approx(0.8)
    assert scored.quality_difference == pytest.approx(0.4)


def test_a_candidate_that_failed_has_quality_0(make: Make) -> None:
    scorers = make(grade=grade, agreement=agreement, ranking=ranking)
    scored = scorers.score(None, answer("0.8"), answer("0.9", **FAILED))
    assert scored.candidate == {"grade": 0, "agreement": 0, "ranking": 0}
    assert (scored.candidate_quality, scored.stable_quality) == (0, 0.5)
    assert scored.quality_difference == -0.5


def test_where_the_stable_side_failed_there_is_nothing_to_agree_with(make: Make) -> None:
    scored = make(grade=grade, agreement=agreement).score(None, answer("", **FAILED), answer("0.9"))
    assert scored.candidate == {"grade": 0.9}
    assert (scored.stable_quality, scored.candidate_quality, scored.quality_difference) == (0, 0.9, 0.9)


def test_where_both_failed_nothing_differs(make: Make) -> None:
    scored = make(grade=grade).score(None, answer("", **FAILED), answer("", **FAILED))
    assert (scored.stable_quality, scored.candidate_quality, scored.quality_difference) == (0, 0, 0)


@pytest.mark.parametrize("errors", [("", ""), ("", "timeout"), ("timeout", ""), ("http", "http")])
def test_without_a_scorer_for_it_there_is_no_quality(make: Make, errors: tuple[str, str]) -> None:
    sides = answer("1", error=errors[0]), answer("1", error=errors[1])
    scored = make({"grade": 0}, grade=grade).score(None, *sides)
    assert (scored.stable_quality, scored.candidate_quality, scored.quality_difference) == (None, None, None)
    scored = make(agreement=agreement).score(None, *sides)
    assert (scored.stable_quality, scored.quality_difference) == (None, None)


@pytest.mark.parametrize("weight", [1e-300, 1.0, 1e308])
def test_only_the_ratio_of_weights_matters(make: Make, weight: float) -> None:
    scorers = make({"grade": weight, "ranking": weight}, grade=grade, ranking=ranking)
    assert scorers.score(None, answer("0.8"), answer("0.4")).candidate_quality == pytest.approx(0.5)


class Odd:
    def __float__(self) -> float:
        raise RuntimeError("no number")


class Panic(BaseException):
    """What a panic in an extension written in Rust looks like."""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "gave nan"),
        (float("inf"), "gave inf"),
        (1.5, "gave 1.5, which is not in [0, 1]"),
        (-0.1, "gave -0.1, which is not in [0, 1]"),
        ("0.5", "gave a value of type str, not a number"),
        (Odd(), "gave a value of type Odd, not a number"),
        (10**400, "gave a value of type int, not a number"),
        ((1, 2), "gave a value of type tuple, not a number"),
    ],
)
def test_nonsense_abstains_and_is_named(make: Make, value: Any, expected: str) -> None:
    @side_scorer
    def wrong(request: Any, side: Response) -> Any:
        return value

    scored = make(wrong=wrong, grade=grade).score(None, answer("0.5"), answer("0.5"))
    assert scored.failed == {"wrong": expected}
    assert scored.stable == scored.candidate == {"grade": 0.5}
    assert scored.candidate_quality == 0.5


@pytest.mark.parametrize("raised", [ValueError("the secret"), RecursionError(), Panic("x"), MemoryError()])
def test_what_raises_abstains_and_is_named_without_the_answers(make: Make, raised: BaseException) -> None:
    @pair_scorer
    def broken(request: Any, stable: Response, candidate: Response) -> float:
        raise raised

    scored = make(broken=broken, grade=grade).score(None, answer("1"), answer("1"))
    assert scored.candidate == {"grade": 1}
    assert scored.failed["broken"].startswith(f"{type(raised).__name__} at test_scorer_set.py:")
    assert "secret" not in scored.failed["broken"]


def test_a_stop_is_no_failure_of_a_scorer(make: Make) -> None:
    @side_scorer
    def stopped(request: Any, side: Response) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(stopped=stopped).score(None, answer(), answer())


@pytest.mark.parametrize("value", [0.5, (0.5,), "ab", [0.5, 0.5]])
def test_a_scorer_of_both_gives_two(make: Make, value: Any) -> None:
    @both_scorer
    def one(request: Any, stable: Response, candidate: Response) -> Any:
        return value

    scored = make(one=one).score(None, answer(), answer())
    assert "not (stable's, candidate's)" in scored.failed["one"]
    assert scored.candidate == {}


def test_numbers_of_other_types_and_rounding_are_taken(make: Make) -> None:
    @side_scorer
    def number(request: Any, side: Response) -> Any:
        return {"yes": True, "one": 1, "more": 1.0000000000000002}[side.output]

    scorers = make(number=number)
    for text in ("yes", "one", "more"):
        assert scorers.score(None, answer(text), answer(text)).candidate == {"number": 1.0}


def test_a_unit_is_one_of_four() -> None:
    with pytest.raises(ValueError, match="score, ms, tokens, usd, not 'eur'"):
        side_scorer(unit="eur")  # type: ignore[call-overload]  # what a user without mypy writes


ERRORS = st.sampled_from(["", "", "", "timeout", "http"])
CALLS = st.sampled_from([None, [], [{"name": "f", "arguments": "{}"}], [{"name": 3}], "nonsense"])
FINISH = st.sampled_from(["stop", "length", "content_filter", ""])
SIDES = st.builds(
    lambda text, error, calls, finish: answer(text, error=error, tool_calls=calls, finish_reason=finish),
    ANY_TEXT | st.sampled_from(['{"a": 1}', "[]", "```json\n{}\n```"]),
    ERRORS,
    CALLS,
    FINISH,
)
BODIES = st.none() | st.sampled_from([{}, [], "text", {"response_format": {"type": "json_object"}}])
ALL = scorer_set(
    *(
        {"name": n, "quality_weight": 0 if n in ("latency", "input_tokens", "output_tokens", "cost") else 1}
        for n in BUILTINS
    )
)


@given(BODIES, SIDES, SIDES)
def test_the_built_in_scorers_grade_anything(body: Any, stable: Response, candidate: Response) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scored = ALL.score(body, stable, candidate)
    assert scored.failed == {}
    for scores, side in ((scored.stable, stable), (scored.candidate, candidate)):
        for name, value in scores.items():
            if name not in ("latency", "cost"):
                assert 0 <= value <= 1
                assert value == 0 or not side.error
    for quality in (scored.stable_quality, scored.candidate_quality):
        assert quality is not None
        assert 0 <= quality <= 1
    assert scored.quality_difference is not None
    assert -1 <= scored.quality_difference <= 1


@given(BODIES, SIDES)
def test_a_candidate_that_answers_the_same_is_as_good(body: Any, side: Response) -> None:
    scored = ALL.score(body, side, side)
    assert scored.quality_difference == 0
    for name in ("exact", "normalised", "fuzzy", "length_ratio", "json_fields", "tool_calls"):
        assert side.error or scored.candidate.get(name, 1) == 1
