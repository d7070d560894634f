"""The rules of a stage: which tests they make, and which rules are refused."""

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
