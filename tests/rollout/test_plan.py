"""`shadowlane plan`: what it says is what simulated runs need, and what can't be decided is said in words."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from shadowlane.errors import ConfigError
from shadowlane.evaluators.gates.buckets import ALL
from shadowlane.rollout.plan import Claim, Plan, plan
from shadowlane.rollout.recent import Recent
from shadowlane.rollout.simulate import simulate
from shadowlane.rollout.simulation.baseline import Baseline, Level, Sessions, Share
from shadowlane.rollout.simulation.effects import parse_effect
from shadowlane.schemas.config import Candidate, Rollout, Stable, Stage

URL = "http://127.0.0.1:1/v1"
LEVEL = Level(error_rate=0.001)
LANGUAGES = {"language=en": 0.6, "language=de": 0.39, "language=fr": 0.01}


def rollout(**changes: Any) -> Rollout:
    return Rollout(
        **{
            "name": "support",
            "stable": Stable(base_url=URL),
            "candidate": Candidate(base_url=URL),
            "stages": [
                Stage(name="canary", traffic_pct=5, duration_hours=4),
                Stage(name="full", traffic_pct=100, duration_hours=0),
            ],
            **changes,
        }
    )


def traffic(level: Level = LEVEL, per_hour: float = 600, sessions: Sessions | None = None) -> Recent:
    shares = tuple(Share((name,), part) for name, part in LANGUAGES.items())
    pairs = {ALL: 10_000} | {name: round(10_000 * part) for name, part in LANGUAGES.items()}
    baseline = Baseline("10,000 pairs", per_hour, level, shares, sessions)
    return Recent(baseline, "e", None, None, pairs, dict.fromkeys(pairs, level))


def planned(*effects: str, level: Level = LEVEL, per_hour: float = 600, **changes: Any) -> Plan:
    return plan(rollout(**changes), traffic(level, per_hour), [parse_effect(e) for e in effects])


def claim(found: Plan, text: str, name: str = ALL) -> Claim:
    (one,) = (c for c in found.stages[0].claims if text in c.claim and c.slice == name)
    return one


def test_no_error_at_all_takes_930_pairs() -> None:
    shown = claim(planned(level=Level(error_rate=0)), "error_rate < 0.5%")
    assert shown.pairs == pytest.approx(930, abs=10)
    assert shown.hours == pytest.approx(930 / 600, rel=0.02)


def test_what_a_candidate_as_good_as_stable_never_shows_is_said() -> None:
    found = planned(level=Level(error_rate=0.006))
    assert claim(found, "error_rate < 0.5%").pairs is None
    assert found.hours is None
    assert found.stages[0].hours is None
    assert any("error_rate < 0.5% is never shown" in warning for warning in found.warnings)


def test_what_takes_longer_than_the_stage_is_said_with_its_pairs() -> None:
    found = planned(level=Level(error_rate=0.004))
    shown = claim(found, "error_rate < 0.5%")
    assert shown.hours is not None
    assert shown.hours > found.stages[0].max_hours
    assert any("without a verdict" in warning for warning in found.warnings)
    assert not planned(level=Level(error_rate=0)).warnings


def test_a_stage_waits_for_what_takes_longest() -> None:
    fast = planned(level=Level(error_rate=0), per_hour=60_000)
    assert (fast.stages[0].waits_for, fast.stages[0].hours) == ("the traffic cycle", 24)
    short = planned(level=Level(error_rate=0), per_hour=60_000, traffic_cycle_hours=2)
    assert (short.stages[0].waits_for, short.stages[0].hours) == ("its shortest stay", 4)
    slow = planned(level=Level(error_rate=0), per_hour=10, traffic_cycle_hours=2)
    assert slow.stages[0].waits_for == "error_rate < 0.5%"


def test_the_traffic_cycle_is_waited_for_once() -> None:
    stages = [Stage(name=f"s{n}", traffic_pct=5, duration_hours=10) for n in range(2)]
    found = planned(
        level=Level(error_rate=0),
        per_hour=60_000,
        stages=[*stages, Stage(name="full", traffic_pct=100, duration_hours=0)],
    )
    assert [stage.hours for stage in found.stages] == [10, 14]
    assert found.hours == 24


EFFECTS = (
    "error_rate +1%",
    "quality_score -0.05 in language=de",
    "quality_score -0.03",
    "quality_score -0.10",
)


def test_it_is_what_simulated_runs_take() -> None:
    """Medians of 60 runs, to within a third: their standard error is about a tenth."""
    rules = rollout(slices=["language"], traffic_cycle_hours=0)
    effects = [parse_effect(e) for e in EFFECTS]
    expected = plan(rules, traffic(), effects)
    simulated = simulate(rules, effects, 60, traffic().baseline, guard_hours=0, replays=0)
    hours = expected.stages[0].hours
    assert hours is not None
    assert simulated.effects[0].stages[0].hours.median == pytest.approx(hours, rel=1 / 3)
    for detection, outcome in zip(expected.stages[0].detections, simulated.effects[1:], strict=True):
        assert outcome.pairs.median == pytest.approx(detection.pairs, rel=1 / 3), detection.effect
    assert expected.stages[0].detections[1].slice == "language=de"


def test_what_is_seen_in_time_lies_between_the_threshold_and_the_extreme() -> None:
    found = planned(slices=["language"])
    for one in found.stages[0].claims:
        if one.in_stay is not None:
            assert one.in_stage is not None
            assert abs(one.in_stay - one.threshold) > abs(one.in_stage - one.threshold) > 0
    # A smaller slice has less to tell, and a smaller share of the error budget.
    drops = [
        claim(found, "quality is worse", name).in_stage
        for name in (ALL, "language=en", "language=de", "language=fr")
    ]
    assert all(drop is not None for drop in drops)
    assert drops == sorted(drops, key=lambda drop: -(drop or 0))


def test_an_effect_at_the_edge_of_what_is_seen_is_seen_just_in_time() -> None:
    edge = claim(planned(), "quality is worse").in_stage
    assert edge is not None
    just, below = (
        planned(f"quality_score -{-edge + d:.6f}").stages[0].detections[0] for d in (0.0005, -0.0005)
    )
    assert just.in_stage
    assert not below.in_stage


def test_errors_that_are_caught_are_error_rates() -> None:
    worse = claim(planned(), "errors are more than 1.5 times")
    assert worse.mean == 0.001
    assert worse.threshold == pytest.approx(0.0015, rel=0.01)
    assert worse.in_stage is not None
    detection = planned(f"error_rate +{100 * (worse.in_stage - 0.001) + 0.01:.4f}%").stages[0].detections[0]
    assert detection.in_stage


def test_slices_major_and_too_small() -> None:
    found = planned(slices=["language"], per_hour=60)
    assert [(s.name, s.major, s.too_small) for s in found.slices] == [
        ("language=en", True, False),
        ("language=de", True, False),
        ("language=fr", False, True),
    ]
    assert any("slice language=fr" in warning for warning in found.warnings)
    assert {c.slice for c in found.stages[0].claims if c.decides == "promote"} == {
        ALL,
        "language=en",
        "language=de",
    }


def test_slices_that_nobody_has_are_said() -> None:
    assert "slices: no recent pair has the attribute tenant" in planned(slices=["tenant"]).warnings


def test_sessions_that_are_alike_need_more_pairs() -> None:
    alone = claim(plan(rollout(), traffic()), "quality is not worse").pairs
    alike = claim(plan(rollout(), traffic(sessions=Sessions(5, 0.8))), "quality is not worse").pairs
    apart = claim(plan(rollout(), traffic(sessions=Sessions(5, 0.0))), "quality is not worse").pairs
    assert alone is not None
    assert alike is not None
    assert apart is not None
    # Sessions whose pairs have nothing in common cost too: no bet can be as bold as the mean of five deserves.
    assert alone < apart < alike


def test_without_the_stable_version_to_ask_a_stage_at_100_percent_has_no_pairs() -> None:
    stages = [Stage(name="all", traffic_pct=100, duration_hours=4)]
    found = planned(stages=stages, stable=Stable())
    assert found.stages[0].pairs_per_hour == 0
    assert any("stable.base_url" in warning for warning in found.warnings)


def test_a_trigger_of_several_tests_is_left_out_and_that_is_said() -> None:
    found = planned(auto_rollback={"trigger": "error_rate > 2% AND quality_score < 0.80"})
    assert not any("AND" in c.claim for c in found.stages[0].claims)
    assert any("'error_rate > 2% AND quality_score < 0.8'" in warning for warning in found.warnings)


def test_without_pairs_it_says_that_it_assumes() -> None:
    assumed = replace(
        traffic(), levels={}, pairs={}, baseline=Baseline("no pairs yet; 500 mirrored requests", 500)
    )
    assert plan(rollout(), assumed).warnings[0].startswith("reckoned from little: no pairs yet")


def test_an_effect_that_no_rule_looks_at_is_refused() -> None:
    with pytest.raises(ConfigError, match="no rule of this rollout looks at cost"):
        planned("cost +10%")


def test_latency_and_cost_are_reckoned_too() -> None:
    found = planned(
        "latency +50%",
        "cost +30%",
        success_criteria={"latency_p95": "<1.3x", "cost": "<1.1x", "error_rate": "<0.5%"},
        auto_rollback={"trigger": "latency_p95 > 1.2x OR cost > 1.2x"},
        scorers=[{"name": "answered", "quality_weight": 1.0}, {"name": "cost"}],
    )
    assert claim(found, "latency_p95 < 1.3x").pairs is not None
    assert claim(found, "cost < 1.1x").pairs is not None
    assert [d.claim for d in found.stages[0].detections] == ["latency_p95 > 1.2x", "cost > 1.2x"]


def test_it_is_json() -> None:
    document = orjson.loads(orjson.dumps(planned("error_rate +1%", slices=["language"])))
    assert document["stages"][0]["claims"][0]["decides"] == "promote"
    assert document["stages"][0]["detections"][0]["effect"] == "error_rate +1%"
