"""The text of criteria and triggers: what it means, and what is said of a text that means nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.errors import ConfigError
from shadowlane.evaluators.gates.expressions import (
    And,
    Comparison,
    Expression,
    Operator,
    Or,
    check_metrics,
    comparisons,
    parse_criteria,
    parse_trigger,
)

ERRORS = Comparison("error_rate", Operator.MORE, 2.0, percent=True)
QUALITY = Comparison("quality_score", Operator.LESS, 0.8)
VALID = Comparison("json_valid", Operator.AT_MOST, 0.5)

NAMES = st.from_regex(r"[a-z_][a-z0-9_.]{0,12}", fullmatch=True).filter(
    lambda name: (
        name not in ("and", "or")
        and not name.startswith(("latency", "ttft", "cost", "tokens", "input_tokens", "output_tokens"))
    )
)


def leaves() -> st.SearchStrategy[Expression]:
    inside = st.floats(0, 1, exclude_min=True, exclude_max=True)
    plain = st.builds(Comparison, NAMES, st.sampled_from(Operator), inside)
    percents = st.floats(1e-9, 99.9)
    percent = st.builds(Comparison, NAMES, st.sampled_from(Operator), percents, st.just(True))
    return plain | percent


def joined(parts: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    some = st.lists(parts, min_size=2, max_size=4)
    return some.map(_all) | some.map(_any)


def _all(parts: list[Expression]) -> Expression:
    return And(tuple(t for part in parts for t in (part.terms if isinstance(part, And) else (part,))))


def _any(parts: list[Expression]) -> Expression:
    return Or(tuple(t for part in parts for t in (part.terms if isinstance(part, Or) else (part,))))


@given(st.recursive(leaves(), joined, max_leaves=12))
def test_the_canonical_text_parses_to_the_same_tree(tree: Expression) -> None:
    assert parse_trigger(str(tree)) == tree


@given(
    st.text(alphabet=st.sampled_from("error_rate quality ANDORandor<>=%().0123456789e-+\n\té🙂")) | st.text()
)
def test_any_text_is_a_tree_or_a_configuration_error(text: str) -> None:
    try:
        tree = parse_trigger(text)
    except ConfigError:
        return
    assert parse_trigger(str(tree)) == tree


@pytest.mark.parametrize(
    ("text", "tree", "canonical"),
    [
        (
            "error_rate > 2% OR quality_score < 0.80",
            Or((ERRORS, QUALITY)),
            "error_rate > 2% OR quality_score < 0.8",
        ),
        (
            "error_rate>2%and quality_score<.8",
            And((ERRORS, QUALITY)),
            "error_rate > 2% AND quality_score < 0.8",
        ),
        (
            "json_valid <= 50e-2 or error_rate > 2 % AND quality_score < 0.8",
            Or((VALID, And((ERRORS, QUALITY)))),
            "json_valid <= 0.5 OR error_rate > 2% AND quality_score < 0.8",
        ),
        (
            "(json_valid <= 0.5 Or ((error_rate > 2%))) AND quality_score < 0.8",
            And((Or((VALID, ERRORS)), QUALITY)),
            "(json_valid <= 0.5 OR error_rate > 2%) AND quality_score < 0.8",
        ),
        (
            "error_rate > 2% OR (json_valid <= 0.5 OR quality_score < 0.8)",
            Or((ERRORS, VALID, QUALITY)),
            "error_rate > 2% OR json_valid <= 0.5 OR quality_score < 0.8",
        ),
    ],
)
def test_and_binds_closer_than_or(text: str, tree: Expression, canonical: str) -> None:
    assert parse_trigger(text) == tree
    assert str(tree) == canonical
    assert parse_trigger(canonical) == tree


@pytest.mark.parametrize(
    ("text", "says", "under"),
    [
        ("", "expected a metric such as error_rate, or '(', found the end", ""),
        ("error_rate > OR quality_score < 0.8", "expected a number such as 2% or 0.8, found 'OR'", "OR"),
        ("error_rate 2%", "expected one of < <= > >=, found '2'", "2%"),
        (
            "error_rate > 2% quality_score < 1%",
            "expected AND, OR or the end, found 'quality_score'",
            "quality",
        ),
        ("(error_rate > 2%", "expected AND, OR or ')', found the end", ""),
        ("error_rate = 2%", "'=' has no meaning here", "="),
        ("error_rate > 2% && quality_score < 1%", "'&' has no meaning here", "&&"),
        ("Error_Rate > 2%", "a metric is written in lower case: error_rate", "Error"),
        ("error_rate > 2", "must lie between 0 and 1 (0% and 100%), both excluded; did you mean 2%?", "2"),
        ("error_rate > 0%", "must lie between 0 and 1", "0%"),
        ("error_rate > 200%", "must lie between 0 and 1", "200%"),
        ("quality_score < 1e999", "must lie between 0 and 1", "1e999"),
        ("latency_p95 > 0.5", "'latency_p95' is measured but can't be decided on yet", "latency"),
        ("output_tokens > 0.5", "'output_tokens' is measured but can't be decided on yet", "output"),
        ("error_rate > 2% OR cost > 0.5", "'cost' is measured but can't be decided on yet", "cost"),
        ("time_to_answer > 800ms", "a threshold in 'ms' can't be decided on yet", "ms"),
        ("(" * 40 + "error_rate > 2%" + ")" * 40, "nested deeper than 32", "(" * 8 + "error"),
    ],
)
def test_an_error_points_at_the_character_and_says_what_to_write(text: str, says: str, under: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_trigger(text)
    message, shown, caret = str(caught.value).split("\n")
    assert says in message
    assert shown == "    " + text
    assert text[caret.index("^") - 4 :].startswith(under)
    assert caret.index("^") - 4 == len(text) or under


def test_criteria_keep_their_order_and_their_units() -> None:
    criteria = parse_criteria({"error_rate": "<0.5%", "quality_score": " >= 0.90 ", "json_valid": ">99%"})
    assert [str(c) for c in criteria] == ["error_rate < 0.5%", "quality_score >= 0.9", "json_valid > 99%"]
    assert [c.value for c in criteria] == [0.005, 0.9, 0.99]


@pytest.mark.parametrize(
    ("criteria", "says"),
    [
        ({"quality_score": 0.9}, "success_criteria.quality_score: 0.9 is no comparison; write one in quotes"),
        ({"quality_score": "0.9"}, "expected one of < <= > >="),
        ({"quality_score": ">0.9 OR"}, "expected the end, found 'OR'"),
        ({"Quality": ">0.9"}, "success_criteria.Quality: 'Quality' is no metric"),
        ({"or": ">0.9"}, "'or' is no metric"),
        ({"latency_p95": "<0.8"}, "can't be decided on yet"),
        ({"error_rate": "<200ms"}, "a threshold in 'ms' can't be decided on yet"),
    ],
)
def test_a_criterion_that_means_nothing_is_refused(criteria: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_criteria(criteria)
    assert says in str(caught.value)


def test_an_unknown_metric_is_refused_with_the_likely_one() -> None:
    known = ["error_rate", "quality_score", "json_valid"]
    check_metrics([parse_trigger("error_rate > 2% OR json_valid < 0.9")], known, "trigger")
    with pytest.raises(ConfigError, match="did you mean 'json_valid'"):
        check_metrics([parse_trigger("error_rate > 2% OR jsonvalid < 0.9")], known, "trigger")
    with pytest.raises(ConfigError, match="there are: error_rate, json_valid, quality_score"):
        check_metrics([parse_trigger("zzz > 2%")], known, "trigger")


def test_comparisons_come_from_left_to_right() -> None:
    tree = parse_trigger("(json_valid <= 0.5 OR error_rate > 2%) AND quality_score < 0.8")
    assert list(comparisons(tree)) == [VALID, ERRORS, QUALITY]
