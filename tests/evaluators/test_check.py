"""What the check of a configuration refuses, where it says so, and what it warns of."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shadowlane.errors import ConfigError
from shadowlane.evaluators.cautions import warnings
from shadowlane.evaluators.check import check, rules_of
from shadowlane.schemas.config import Settings, load

# Stages and rollback as a first rollout file has them, without a shadow stage or an alert channel.
AS_ASKED = """\
rollouts:
  - name: gpt-4o
    stable: {model: gpt-4-0613, base_url: "https://api.openai.com/v1"}
    candidate: {model: gpt-4o-2024-08-06, base_url: "https://api.openai.com/v1"}
    stages:
      - name: canary
        traffic_pct: 5
        duration_hours: 4
        success_criteria:
          error_rate: "<0.5%"
          quality_score: ">0.90"
      - name: partial
        traffic_pct: 25
        duration_hours: 12
        success_criteria:
          error_rate: "<0.5%"
          quality_score: ">0.90"
      - name: majority
        traffic_pct: 75
        success_criteria:
          error_rate: "<0.5%"
          quality_score: ">0.90"
      - name: full
        traffic_pct: 100
        duration_hours: 0
    auto_rollback:
      enabled: true
      trigger: "error_rate > 2% OR quality_score < 0.80"
      target: previous_stable_version
"""


def test_the_file_that_was_asked_for_is_right_and_does_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "rollout.yaml"
    path.write_text(AS_ASKED, encoding="utf-8")
    settings = load(path)
    check(settings)
    rollout = settings.rollouts[0]
    assert [(s.name, s.traffic_pct, s.duration_hours) for s in rollout.stages] == [
        ("canary", 5, 4),
        ("partial", 25, 12),
        ("majority", 75, 1),
        ("full", 100, 0),
    ]
    for stage in rollout.stages:
        rules = rules_of(rollout, stage)
        assert [str(c) for c in rules.success_criteria] == ["error_rate < 0.5%", "quality_score > 0.9"]
        assert [c.name for c in rules.causes][2:] == ["error_rate > 2%", "quality_score < 0.8"]
    assert [rules_of(rollout, stage).traffic_cycle.total_seconds() / 3600 for stage in rollout.stages] == [
        4,
        12,
        24,  # all of the cycle before the step to 100%
        0,
    ]
    assert [rules_of(rollout, s).whole_epoch for s in rollout.stages] == [False, False, True, False]
    said = warnings(settings)
    assert [line.split(": ")[0] for line in said] == ["rollouts[0].stages[0].traffic_pct", "rollouts[0]"]


def settings_of(**rollout: Any) -> Settings:
    """One rollout that nothing is to be said of, but for ``rollout``, and keys of the settings after two lines."""
    top = {key.removeprefix("top_"): rollout.pop(key) for key in list(rollout) if key.startswith("top_")}
    version = {"base_url": "http://models/v1"}
    declared = {
        "name": "to-b",
        "stable": {"model": "a"} | version,
        "candidate": {"model": "b"} | version,
        "stages": [{"name": "shadow"}, {"name": "canary", "traffic_pct": 5}],
    }
    return Settings(
        **{
            "prices": {name: {"input": 1, "output": 2} for name in ("a", "b")},
            "alerts": [{"name": "pager", "kind": "pagerduty", "key_env": "KEY"}],
            "rollouts": [declared | rollout],
        }
        | top
    )


def test_nothing_is_said_of_a_rollout_as_it_should_be() -> None:
    settings = settings_of()
    check(settings)
    assert warnings(settings) == []


@pytest.mark.parametrize(
    ("rollout", "said"),
    [
        (
            {"stages": [{"name": "a"}, {"name": "b", "success_criteria": {"error_rate": "<5"}}]},
            r"rollouts\[0\].stages\[1\].success_criteria.error_rate: a threshold must lie",
        ),
        (
            {"stages": [{"name": "a", "success_criteria": {"latency": "<1s"}}]},
            r"rollouts\[0\].stages\[0\].success_criteria.latency: there is no test for 'latency'",
        ),
        (
            {"stages": [{"name": "a", "success_criteria": {"error_rate": ">1%"}}]},
            r"rollouts\[0\].stages\[0\].success_criteria.error_rate: 'error_rate > 1%' points the wrong way",
        ),
        (
            {"auto_rollback": {"trigger": "latency_p95 < 2s"}},
            r"rollouts\[0\].auto_rollback.trigger: 'latency_p95 < 2s' points the wrong way",
        ),
        (
            {"auto_rollback": {"trigger": "cost > 1.2x"}, "scorers": [{"name": "answered"}]},
            r"trigger: 'cost' is measured by the scorer 'cost', which is not among the rollout's scorers",
        ),
        (
            {"auto_rollback": {"trigger": "cost > 1.2x"}, "top_prices": {"b": {"input": 1, "output": 2}}},
            "trigger: 'cost' needs the price of 'a', which is not among the prices; add a: {input: …",
        ),
        (
            {"success_criteria": {"cost": "<1usd"}, "top_prices": {"a": {"input": 1, "output": 2}}},
            r"rollouts\[0\].success_criteria.cost: 'cost' needs the price of 'b'",
        ),
        (
            {"success_criteria": {"exakt": ">0.5"}},
            r"success_criteria.exakt: no scorer gives the metric 'exakt'; did you mean 'exact'",
        ),
    ],
)
def test_what_can_not_work_is_refused_with_its_place(rollout: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(settings_of(**rollout))


def test_a_threshold_on_cost_needs_the_candidates_price_alone() -> None:
    check(settings_of(success_criteria={"cost": "<1usd"}, top_prices={"b": {"input": 1, "output": 2}}))


def test_every_fault_is_told_at_once() -> None:
    broken = settings_of(
        success_criteria={"error_rate": "<5", "nothing": ">0.5"},
        auto_rollback={"trigger": "error_rate >"},
        stages=[{"name": "a", "success_criteria": {"cost": "<1"}}],
    )
    with pytest.raises(ConfigError) as refused:
        check(broken)
    assert len(re.findall(r"^rollouts\[0\]", str(refused.value), re.MULTILINE)) == 4


CANARY = [{"name": "shadow"}, {"name": "canary", "traffic_pct": 5}]
FULL = [{"name": "shadow"}, {"name": "full", "traffic_pct": 100}]


@pytest.mark.parametrize(
    ("rollout", "where", "said"),
    [
        (
            {"stages": CANARY[1:]},
            "stages[0].traffic_pct",
            "'canary' gives 5% of the users an answer of which",
        ),
        ({"stable": {"model": "a"}}, "stable", "has no base_url"),
        (
            {"stable": {"model": "b", "base_url": "http://m"}},
            "candidate.model",
            "does not differ from stable",
        ),
        (
            {"candidate": {"base_url": "http://m"}},
            "candidate.model",
            "does not differ from stable.model by name",
        ),
        ({"stages": FULL, "keep_previous_hours": 0}, "keep_previous_hours", "no version to go back to"),
        ({"top_alerts": []}, "", "nobody is told of a roll back"),
        (
            {"alerts": [], "auto_rollback": {"enabled": False}},
            "auto_rollback.enabled",
            "there is no alert channel",
        ),
        (
            {"stages": [{"name": "shadow", "max_hours": 5, "traffic_cycle_hours": 8}, CANARY[1]]},
            "stages[0].max_hours",
            "'shadow' ends before its pairs can span the traffic cycle of 8 h: it never promotes",
        ),
        (
            {
                "stages": [
                    {"name": "shadow", "max_hours": 5},
                    {"name": "half", "traffic_pct": 50, "max_hours": 6},
                ]
            },
            "stages[1].max_hours",
            "'half' ends before its pairs can span the traffic cycle of 24 h",
        ),
        (
            {"stages": [{"name": "shadow", "confirm": {"url": "http://gate"}}, CANARY[1]]},
            "stages[0].confirm",
            "is not asked",
        ),
        (
            {"slices": ["lang"], "match": {"attributes": {"lang": "de"}}},
            "slices[0]",
            "is one slice, of all requests: match takes those of lang=de alone",
        ),
        ({"auto_rollback": {"slices": "alone"}}, "auto_rollback.slices", "there are no slices"),
        ({"scorers": [{"name": "fuzzy"}]}, "scorers", "none has a quality_weight"),
        (
            {"scorers": [{"name": "fuzzy", "quality_weight": 1}]},
            "scorers",
            "(fuzzy) none grades both sides, so that quality can't be shown to be kept",
        ),
        (
            {"success_criteria": {"quality_score": ">0.7"}},
            "success_criteria.quality_score",
            "quality_score > 0.7 may hold while the trigger 'quality_score < 0.8' does",
        ),
        (
            {
                "stages": [{"name": "shadow", "success_criteria": {"latency_p95": "<3s"}}, CANARY[1]],
                "auto_rollback": {"trigger": "latency_p95 > 2500ms OR latency_p95 > 1.5x"},
            },
            "stages[0].success_criteria.latency_p95",
            "latency_p95 < 3s may hold while the trigger 'latency_p95 > 2500ms' does",
        ),
    ],
)
def test_what_is_right_and_hardly_meant_is_warned_of_with_its_place(
    rollout: dict[str, Any], where: str, said: str
) -> None:
    settings = settings_of(**rollout)
    check(settings)
    (line,) = warnings(settings)
    place, _, text = line.partition(": ")
    assert place == f"rollouts[0].{where}".removesuffix(".")
    assert said in text


def test_costs_of_a_model_that_only_the_request_names_are_warned_of() -> None:
    version = {"base_url": "http://models/v1"}
    settings = settings_of(
        stable=version, candidate=version, success_criteria={"cost": "<1usd"}, stages=CANARY[:1]
    )
    check(settings)
    assert [line.split(": ")[0] for line in warnings(settings)] == ["rollouts[0].success_criteria.cost"]


def test_a_lease_that_one_late_poll_breaks_is_warned_of() -> None:
    (line,) = warnings(settings_of(top_controller={"lease_s": 15}))
    assert line.startswith("controller.lease_s: a leader that is late by one poll (10 s)")


def test_a_rollout_that_nothing_ever_reaches_is_warned_of() -> None:
    declared = yaml.safe_load(AS_ASKED)["rollouts"][0] | {"alerts": []}
    stages = [{"name": "shadow"}]
    rollouts = [
        declared | {"name": "one", "match": {"service": "desk"}, "stages": stages},
        declared | {"name": "two", "match": {"route": "/x"}, "stages": stages},
        declared
        | {"name": "three", "match": {"service": "desk", "attributes": {"a": "b"}}, "stages": stages},
    ]
    (line,) = warnings(Settings(rollouts=rollouts))
    assert line == "rollouts[2].match: no request ever comes here: 'one', before it, takes them all"
