"""The rules of a stage: which tests they make, and which rules are refused."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.errors import ConfigError
from shadowlane.evaluators.gates.expressions import parse_criteria, parse_trigger
from shadowlane.evaluators.gates.hypotheses import Hypothesis
from shadowlane.evaluators.gates.rules import AllOf, AnyOf, Rules
from tests.evaluators.gates.building import usual_rules


def test_the_usual_rules_make_three_tests_to_promote_and_four_causes_to_roll_back() -> None:
    rules = usual_rules()
    assert [h.name for h in rules.required] == ["quality_kept", "error_rate < 0.5%", "quality_score > 0.9"]
    assert [c.name for c in rules.causes] == [
        "quality_worse", "errors_worse", "error_rate > 2%", "quality_score < 0.8",
    ]  # fmt: skip
    assert rules.weight * len(rules.causes) == 1
    assert [(h.null_mean, h.upward) for h in rules.hypotheses] == [
        (-0.02, True), (0.005, False), (0.9, True), (-0.02, False), (0.6, True), (0.02, True), (0.8, False),
    ]  # fmt: skip


def test_every_side_of_the_outermost_or_is_a_cause_of_its_own() -> None:
    rules = Rules(
        trigger=parse_trigger("error_rate > 2% OR a < 0.5 AND (b < 0.5 OR c < 0.5) OR error_rate > 2%")
    )
    assert [c.name for c in rules.causes][2:] == ["error_rate > 2%", "a < 0.5 AND (b < 0.5 OR c < 0.5)"]
    compound = rules.causes[-1].test
    assert isinstance(compound, AllOf)
    assert isinstance(compound.tests[0], Hypothesis)
    assert isinstance(compound.tests[1], AnyOf)


def test_a_comparison_that_is_criterion_and_trigger_is_one_test() -> None:
    rules = Rules(parse_criteria({"refusal": "<0.1"}), parse_trigger("refusal < 0.1"))
    assert [h.name for h in rules.hypotheses].count("refusal < 0.1") == 1


def test_no_scorer_needs_a_rule_to_be_compared() -> None:
    rules = Rules()
    assert [h.name for h in rules.required] == ["quality_kept"]
    assert [c.name for c in rules.causes] == ["quality_worse", "errors_worse"]
    assert [m.name for m in rules.metrics] == ["error_rate", "quality_score"]


def test_what_is_measured_is_shown_by_threshold_with_the_tests_that_look_at_it() -> None:
    rules = Rules(
        parse_criteria({"error_rate": "<1%", "latency_p95": "<1.2x", "cost": "<1.1x"}),
        parse_trigger(
            "latency_p99 > 2s OR latency_p95 > 2s OR cost > 1usd OR output_tokens > 2x AND a < 0.5"
        ),
    )
    shown = {metric.name: metric for metric in rules.metrics}
    assert {name: (metric.unit, metric.tests) for name, metric in shown.items()} == {
        "error_rate": ("%", ("error_rate < 1%", "errors_worse")),
        "quality_score": ("", ("quality_kept", "quality_worse")),
        "latency over 1.2x p95": ("%", ("latency_p95 < 1.2x",)),
        "cost, candidate / stable": ("x", ("cost < 1.1x",)),
        "latency over 2s": ("%", ("latency_p99 > 2s", "latency_p95 > 2s")),
        "cost up to 20usd": ("usd", ("cost > 1usd",)),
        "output_tokens, candidate / stable": ("x", ("output_tokens > 2x",)),
        "a": ("", ("a < 0.5",)),
    }
    assert shown["cost, candidate / stable"].stable is None
    names = [observable.name for observable in rules.observables]
    assert len(names) == len(set(names))


def test_the_digest_is_of_all_that_evidence_is_made_of_and_of_nothing_else() -> None:
    criteria, trigger = parse_criteria({"quality_score": ">0.9"}), parse_trigger("a < 0.5 AND b < 0.5")
    rules = Rules(criteria, trigger)
    assert len(rules.digest) == 12
    for same in (Rules(criteria, trigger), Rules(criteria, trigger, min_pairs=9, traffic_cycle=timedelta(0))):
        assert same.digest == rules.digest
    others = [
        Rules(criteria, parse_trigger("a < 0.5 OR b < 0.5")),
        Rules(criteria, parse_trigger("a < 0.5 AND b < 0.4")),
        Rules(parse_criteria({"quality_score": ">0.8"}), trigger),
        Rules((), trigger),
        Rules(criteria, trigger, margin=0.03),
        Rules(criteria, trigger, odds_ratio=2),
        Rules(criteria, trigger, alpha_roll_back=0.02),
    ]
    assert len({rules.digest, *(other.digest for other in others)}) == 1 + len(others)


@given(st.floats(0.001, 0.5))
def test_better_and_worse_can_not_both_be_true(margin: float) -> None:
    rules = Rules(margin=margin)
    kept, worse = rules.hypotheses[0], rules.hypotheses[1]
    assert kept.null_mean == worse.null_mean
    assert kept.upward != worse.upward


@pytest.mark.parametrize(
    ("criteria", "trigger", "says"),
    [
        ({"error_rate": ">0.5%"}, None, "success_criteria: 'error_rate > 0.5%' points the wrong way: "),
        ({"quality_score": "<0.9"}, None, "quality_score is better higher; write >"),
        ({}, "error_rate < 2%", "auto_rollback.trigger: 'error_rate < 2%' points the wrong way"),
        ({"latency_p95": ">1.2x"}, None, "latency_p95 is better lower; write <"),
        ({}, "cost < 1usd", "cost is better lower; write >"),
        ({}, "error_rate > 2% OR output_tokens < 1.5x", "output_tokens is better lower; write >"),
        ({}, "quality_score > 0.8 AND error_rate > 2%", "quality_score is better higher; write <"),
    ],
)
def test_a_sign_the_wrong_way_round_is_refused(
    criteria: dict[str, object], trigger: str | None, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Rules(parse_criteria(criteria), parse_trigger(trigger) if trigger else None)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [{"margin": 0.0}, {"margin": 1.0}, {"alpha_promote": 0.0}, {"alpha_roll_back": 1.0}, {"odds_ratio": 0.9}],
)
def test_a_setting_without_meaning_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        usual_rules(**settings)
