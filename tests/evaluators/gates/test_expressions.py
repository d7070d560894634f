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
from shadowlane.evaluators.gates.measures import LEAST_TIMES, MOST_TIMES, Unit

ERRORS = Comparison("error_rate", Operator.MORE, 2.0, Unit.PERCENT)
QUALITY = Comparison("quality_score", Operator.LESS, 0.8)
VALID = Comparison("json_valid", Operator.AT_MOST, 0.5)

SCORES = st.from_regex(r"[a-z_][a-z0-9_.]{0,12}", fullmatch=True).filter(
    lambda name: (
        name not in ("and", "or")
        and not name.startswith(("latency", "ttft", "cost", "tokens", "input_tokens", "output_tokens"))
    )
)
INSIDE = st.floats(1e-6, 1 - 1e-6)
POSITIVE = st.floats(1e-9, 1e9)
RATIOS = st.floats(LEAST_TIMES, MOST_TIMES)
TIMES = st.builds("{}_p{}".format, st.sampled_from(["latency", "ttft"]), st.integers(1, 99))
COSTS = st.builds("cost_p{}".format, st.integers(1, 99))
MEANS = st.sampled_from(["cost", "input_tokens", "output_tokens"])


def leaves() -> st.SearchStrategy[Expression]:
    kinds: list[tuple[st.SearchStrategy[str], st.SearchStrategy[float], list[Unit]]] = [
        (SCORES, INSIDE, [Unit.NONE]),
        (SCORES, st.floats(0.001, 99.9), [Unit.PERCENT]),
        (TIMES, POSITIVE, [Unit.MS, Unit.SECONDS, Unit.TIMES]),
        (COSTS, POSITIVE, [Unit.USD, Unit.TIMES]),
        (st.just("cost"), POSITIVE, [Unit.USD]),
        (MEANS, RATIOS, [Unit.TIMES]),
    ]
    operators = st.sampled_from(Operator)
    return st.one_of(
        *(
            st.builds(Comparison, metrics, operators, numbers, st.sampled_from(units))
            for metrics, numbers, units in kinds
        )
    )


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
    st.text(alphabet=st.sampled_from("error_rate quality ANDORandor<>=%().0123456789e-+\n\té🙂"))
    | st.lists(
        st.sampled_from(
            ["latency_p95", "cost", "output_tokens", "<", ">=", "1.5", "9", "ms", "s", "usd", "X", "%"]
        )
    ).map(" ".join)
    | st.text()
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
        ("error_rate > 5e-324", "must be at least 1e-06 away from 0 and 1", "5e-324"),
        ("quality_score < 1e999", "must lie between 0 and 1", "1e999"),
        (
            "latency > 0.5",
            "no test for 'latency': write a percentile, from latency_p1 to latency_p99",
            "latency",
        ),
        ("latency_p100 > 1s", "no test for 'latency_p100': write a percentile", "latency"),
        (
            "error_rate > 2% OR ttft_ms > 5ms",
            "no test for 'ttft_ms': write a percentile, from ttft_p1",
            "ttft",
        ),
        ("cost_usd > 1usd", "no test for 'cost_usd': write cost, the mean of a request, or a perc", "cost"),
        ("tokens > 2x", "no test for 'tokens': write input_tokens or output_tokens", "tokens"),
        ("output_tokens_p95 > 2x", "no test for 'output_tokens_p95': write output_tokens", "output"),
        ("latency_p95 > 0.5", "latency_p95 takes ms, s or x: write 800ms or 1.2x, or so", "0.5"),
        ("latency_p95 > 80%", "'%' does not fit: latency_p95 takes ms, s or x", "%"),
        ("latency_p95 > 800 sec", "'sec' is no unit: latency_p95 takes ms, s or x", "sec"),
        ("cost > 1", "cost takes usd or x: write 0.002usd or 1.1x, or so", "1"),
        ("cost_p95 > 1s", "'s' does not fit: cost_p95 takes usd or x", "s"),
        ("output_tokens > 500", "output_tokens takes x: write 1.1x, or so", "500"),
        ("time_to_answer > 800ms", "'ms' does not fit: time_to_answer takes a plain number or %", "ms"),
        ("error_rate > 2% AND quality_score < 1x", "'x' does not fit: quality_score takes a plain", "x"),
        ("cost > 3x", "a multiple of the stable version's must lie between 0.37x and 2.7x", "3x"),
        ("cost > 0usd", "a threshold must be more than 0, from 1e-09", "0usd"),
        ("latency_p95 > 1e999s", "a threshold must be more than 0, from 1e-09", "1e999s"),
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


def test_a_threshold_has_its_value_in_the_unit_that_is_measured() -> None:
    trigger = (
        "latency_p95 > 0.8S OR ttft_p50 > 200 ms OR latency_p99 > 1.50x OR cost > 0.0020USD OR cost > 1.1X"
    )
    assert [(c.value, str(c)) for c in comparisons(parse_trigger(trigger))] == [
        (800, "latency_p95 > 0.8s"),
        (200, "ttft_p50 > 200ms"),
        (1.5, "latency_p99 > 1.5x"),
        (0.002, "cost > 0.002usd"),
        (1.1, "cost > 1.1x"),
    ]


@pytest.mark.parametrize(
    ("criteria", "says"),
    [
        ({"quality_score": 0.9}, "success_criteria.quality_score: 0.9 is no comparison; write one in quotes"),
        ({"quality_score": "0.9"}, "expected one of < <= > >="),
        ({"quality_score": ">0.9 OR"}, "expected the end, found 'OR'"),
        ({"Quality": ">0.9"}, "success_criteria.Quality: 'Quality' is no metric"),
        ({"or": ">0.9"}, "'or' is no metric"),
        (
            {"latency": "<800ms"},
            "success_criteria.latency: there is no test for 'latency': write a percentile",
        ),
        ({"latency_p95": "<0.8"}, "success_criteria.latency_p95: latency_p95 takes ms, s or x"),
        (
            {"error_rate": "<200ms"},
            "success_criteria.error_rate: 'ms' does not fit: error_rate takes a plain",
        ),
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


def test_what_is_measured_needs_no_scorer_but_for_its_cost() -> None:
    measured = [parse_trigger("latency_p95 > 2s OR output_tokens > 1.5x")]
    check_metrics(measured, ["error_rate"], "trigger")
    cost = [parse_trigger("error_rate > 2% OR cost_p95 > 1usd")]
    with pytest.raises(ConfigError, match=r"'cost_p95' is measured by the scorer 'cost'.*add {name: cost}"):
        check_metrics(cost, ["error_rate"], "trigger")
    check_metrics(cost, ["error_rate", "cost"], "trigger")


def test_a_measure_is_no_score_even_where_a_scorer_has_its_name() -> None:
    with pytest.raises(ConfigError, match="there is no test for 'latency'"):
        parse_trigger("latency > 2%")


def test_comparisons_come_from_left_to_right() -> None:
    tree = parse_trigger("(json_valid <= 0.5 OR error_rate > 2%) AND quality_score < 0.8")
    assert list(comparisons(tree)) == [VALID, ERRORS, QUALITY]
