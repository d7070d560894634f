"""`shadowlane simulate`: what is done to the candidate is seen, and what is not done is not."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shadowlane.errors import ConfigError
from shadowlane.evaluators.check import rules_of
from shadowlane.evaluators.gates.buckets import Moments
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.rollout.simulate import GUARD, EffectOutcome, Simulation, simulate
from shadowlane.rollout.simulation.baseline import Baseline, Level, Sessions, Share, level_of
from shadowlane.rollout.simulation.bounds import bound
from shadowlane.rollout.simulation.effects import Change, Effect, parse_effect
from shadowlane.rollout.simulation.engine import Layout
from shadowlane.rollout.simulation.kinds import Errors, Quality, pair_kinds, two_points
from shadowlane.rollout.simulation.model import mix_of, moments_of
from shadowlane.rollout.simulation.plot import spark, spark_axis, svg
from shadowlane.rollout.simulation.traffic import Cell, Traffic
from shadowlane.rollout.simulation.traffic import Sessions as Spans
from shadowlane.schemas.config import Candidate, Rollout, Stable, Stage

URL = "http://127.0.0.1:1/v1"
LANGUAGES = (Share(("language=en",), 0.6), Share(("language=de",), 0.3), Share(("language=fr",), 0.1))
BASELINE = Baseline("stated", 3_000, Level(error_rate=0.001))


def rollout(**changes: Any) -> Rollout:
    """Two stages of an hour, then everything."""
    return Rollout(
        **{
            "name": "support",
            "stable": Stable(base_url=URL),
            "candidate": Candidate(base_url=URL),
            "traffic_cycle_hours": 2,
            "stages": [
                Stage(name="canary", traffic_pct=5, duration_hours=1),
                Stage(name="half", traffic_pct=50, duration_hours=1),
                Stage(name="full", traffic_pct=100, duration_hours=0),
            ],
            **changes,
        }
    )


def simulated(*effects: str, runs: int = 40, baseline: Baseline = BASELINE, **changes: Any) -> Simulation:
    found = map(parse_effect, effects)
    return simulate(rollout(**changes), list(found), runs, baseline, guard_hours=3)


class TestEffects:
    @pytest.mark.parametrize(
        ("text", "effect"),
        [
            ("error_rate +1%", ((Change("error_rate", 0.01),), "", 0)),
            ("quality_score -0.02 in language=de", ((Change("quality_score", -0.02),), "language=de", 0)),
            ("latency_p95 +20% after 3h", ((Change("latency", 0.2),), "", 180)),
            (
                "error_rate + 1 %, cost -10% in tenant=a b after 90 m",
                ((Change("error_rate", 0.01), Change("cost", -0.1)), "tenant=a b", 90),
            ),
        ],
    )
    def test_are_read(self, text: str, effect: tuple[tuple[Change, ...], str, int]) -> None:
        changes, where, minutes = effect
        assert parse_effect(text) == Effect(text, changes, where, timedelta(minutes=minutes))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "worse",
            "error_rate 1%",
            "latency +20",
            "latency -100%",
            "error_rate +1%, error_rate +2%",
            "quality_score -2",
        ],
    )
    def test_or_refused_with_the_text(self, text: str) -> None:
        with pytest.raises(
            ConfigError, match=r"no effect|no change|twice|percentage|between 0 and 1|fall by all"
        ):
            parse_effect(text)

    def test_on_what_no_rule_looks_at_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="no rule of this rollout looks at latency"):
            simulated("latency +20%", runs=1)
        with pytest.raises(ConfigError, match="does not look at slices by language"):
            simulated("error_rate +1% in language=de", runs=1)
        with pytest.raises(ConfigError, match="no traffic is in language=it"):
            simulated(
                "error_rate +1% in language=it",
                runs=1,
                slices=["language"],
                baseline=replace(BASELINE, shares=LANGUAGES),
            )


class TestTraffic:
    @given(st.floats(0, 1), st.floats(0, 0.5))
    def test_two_points_have_the_mean_and_at_most_the_spread(self, mean: float, sd: float) -> None:
        points = two_points(mean, sd)
        assert all(-1e-12 <= x <= 1 + 1e-12 for _, x in points)
        assert sum(p * x for p, x in points) == pytest.approx(mean, abs=1e-9)
        spread = sum(p * (x - mean) ** 2 for p, x in points) ** 0.5
        assert spread == pytest.approx(min(sd, (mean * (1 - mean)) ** 0.5), abs=1e-6)

    @given(
        st.floats(0, 0.3),
        st.floats(0, 0.3),
        st.floats(0, 1),
        st.floats(0.3, 0.9),
        st.floats(-0.2, 0.1),
        st.floats(0, 0.1),
    )
    def test_pairs_have_the_rates_and_means_that_are_asked_for(
        self, candidate: float, stable: float, shared: float, quality: float, change: float, worthless: float
    ) -> None:
        errors = Errors.sharing(candidate, stable, shared)
        kinds = pair_kinds(errors, Quality(quality + change, quality, 0.2, 0.1, worthless * quality))
        mix = replace(mix_of(Level(), ()), kinds=kinds)
        assert sum(kind.probability for kind in kinds) == pytest.approx(1)
        assert mix.mean("candidate_error") == pytest.approx(candidate, abs=1e-12)
        assert mix.mean("stable_error") == pytest.approx(stable, abs=1e-12)
        assert mix.mean("candidate_quality") == pytest.approx((quality + change) * (1 - candidate))

    @given(
        st.floats(0.001, 0.2),
        st.floats(0, 0.9),
        st.floats(0.4, 0.9),
        st.floats(0.05, 0.2),
        st.floats(0.02, 0.2),
    )
    def test_a_level_is_found_again_in_the_moments_of_its_pairs(
        self, errors: float, shared: float, quality: float, sd: float, apart: float
    ) -> None:
        rules = rules_of(rollout())
        level = Level(errors, max(shared, errors), quality, sd, min(apart, sd))
        mix = mix_of(level, rules.hypotheses)
        seen = {}
        for o in rules.observables:
            part, mean, spread = moments_of(mix, o.name)
            n = round(1e6 * part)
            seen[o.name] = Moments(n, n * mean, n * (mean * mean + spread * spread))
        found = level_of(seen, rules.metrics, [h.observable for h in rules.hypotheses])
        assert found.error_rate == pytest.approx(level.error_rate, rel=1e-6)
        assert found.shared_errors == pytest.approx(level.shared_errors, rel=1e-3)
        assert found.quality == pytest.approx(level.quality, rel=1e-6)
        assert found.quality_sd == pytest.approx(level.quality_sd, rel=1e-3)
        assert found.difference_sd == pytest.approx(level.difference_sd, rel=0.1)

    @given(
        st.integers(0, 10_000),
        st.integers(1, 4),
        st.sampled_from([None, Spans(3, 0.5), Spans(4, 0.2, units=False)]),
    )
    @example(569, 3, Spans(4, 0.2, units=False))  # a bucket in which no run has a session
    @settings(max_examples=12, deadline=None)
    def test_whatever_it_is_its_evidence_is_that_of_the_real_fold(
        self, seed: int, slices: int, sessions: Spans | None
    ) -> None:
        rules = rules_of(
            rollout(
                success_criteria={"error_rate": "<1%", "latency_p95": "<1.2x", "json_valid": ">0.9"},
                auto_rollback={"trigger": "error_rate > 3% AND quality_score < 0.8 OR latency_p95 > 1.5x"},
            )
        )
        cells = [Cell((f"l={n}", f"t={n % 2}"), 1 / slices) for n in range(slices)]
        mix = mix_of(Level(error_rate=0.05), rules.hypotheses, [Change("latency", 0.1)])
        traffic = Traffic(Layout(rules.hypotheses), 6, mix, cells=cells, sessions=sessions)
        found = bound(rules, traffic, 5, 40, np.random.default_rng(seed), checked=3)
        assert found.apart < 1e-9
        assert found.restarted


class TestSimulation:
    def test_without_an_effect_the_candidate_is_promoted_through_every_stage(self) -> None:
        (none,) = simulated().effects
        assert (none.promoted, none.rolled_back, none.slices) == (1, 0, {})
        assert [stage.stage for stage in none.stages] == ["canary", "half", GUARD]
        assert [stage.promoted for stage in none.stages] == [1, 1, 1]
        assert none.stages[0].hours.median is not None
        assert none.stages[0].hours.median >= 1  # never before the shortest stay
        # The step to 100% waits for the whole traffic cycle, of all stages together.
        assert none.stages[1].hours.median is not None
        assert none.stages[0].hours.median + none.stages[1].hours.median >= 2

    def test_an_effect_is_seen_and_a_large_one_sooner(self) -> None:
        found = simulated("error_rate +2%", "error_rate +20%", "error_rate +100%")
        small, large, outage = found.effects[1:]
        for outcome in (small, large, outage):
            assert outcome.rolled_back == 1
        assert outage.hours.p90 == pytest.approx(1 / 60)
        assert small.hours.median is not None
        assert large.hours.median is not None
        assert small.hours.median > 2 * large.hours.median
        assert found.replayed == 4

    def test_what_is_too_small_to_see_and_too_bad_to_promote_is_inconclusive(self) -> None:
        stages = [Stage(name="canary", duration_hours=1, max_hours=2)]
        baseline = replace(BASELINE, level=Level(error_rate=0.003))
        (_, outcome) = simulated("error_rate +0.15%", stages=stages, baseline=baseline).effects
        assert outcome.inconclusive > 0.9
        assert outcome.hours.median is None

    def test_one_slice_is_named_and_what_comes_late_is_seen_late(self) -> None:
        found = simulated(
            "quality_score -0.2 in language=de after 150m",
            slices=["language"],
            baseline=replace(BASELINE, shares=LANGUAGES),
        )
        outcome = found.effects[1]
        assert outcome.rolled_back == 1
        assert outcome.early == 0
        assert set(outcome.slices) == {"language=de"}
        assert outcome.stages[0].promoted > 0.5
        assert outcome.hours.median is not None
        assert outcome.hours.median < 1

    def test_the_guard_goes_on_after_the_last_stage(self) -> None:
        (_, outcome) = simulated("error_rate +100% after 4h").effects
        assert outcome.stages[-1].rolled_back == 1
        (_, outcome) = simulated("error_rate +100% after 4h", keep_previous_hours=0).effects
        assert outcome.promoted == 1

    def test_without_the_stable_version_to_ask_fewer_pairs_come(self) -> None:
        both, one = (simulated(stable=Stable(base_url=url)).effects[0] for url in (URL, ""))
        assert [stage.stage for stage in one.stages] == ["canary", "half"]  # at 100% nothing to guard with
        assert one.promoted == both.promoted == 1

    def test_sessions_are_units(self) -> None:
        level = replace(BASELINE, sessions=Sessions(5, 0.5))
        (_, outcome) = simulated("quality_score -0.1", baseline=level, sessions={"by": "key"}).effects
        (_, single) = simulated("quality_score -0.1").effects
        assert outcome.rolled_back == 1
        assert outcome.pairs.median is not None
        assert single.pairs.median is not None
        assert outcome.pairs.median > single.pairs.median

    def test_the_same_seed_gives_the_same(self) -> None:
        assert simulated("error_rate +5%", runs=10) == simulated("error_rate +5%", runs=10)

    def test_parts_sum_to_one_and_it_is_json(self) -> None:
        found = simulated("error_rate +2%, quality_score -0.01")
        for outcome in found.effects:
            assert outcome.promoted + outcome.rolled_back + outcome.inconclusive == pytest.approx(1)
        document = orjson.loads(orjson.dumps(found))
        assert document["effects"][1]["hours"]["median"] > 0


class TestPlot:
    def test_is_a_picture_of_every_effect_and_nothing_in_it_is_markup(self) -> None:
        found = simulated("error_rate +5%", runs=10)
        hostile = replace(found, rollout="<script>&", effects=(*found.effects, named(found, "x in a=<b>")))
        root = ET.fromstring(svg(hostile))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {"no effect", "error_rate +5%", "x in a=<b>"} <= set(texts)
        assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 2

    def test_without_anything_seen_has_no_axes(self) -> None:
        root = ET.fromstring(svg(simulated(runs=5)))
        assert not list(root.iter("{http://www.w3.org/2000/svg}polyline"))

    def test_in_a_terminal_later_is_further_right(self) -> None:
        found = simulated("error_rate +5%", "error_rate +100%", runs=10)
        none, slow, fast = (spark(outcome) for outcome in found.effects)
        assert not none.strip()
        assert fast.index("█") < slow.index("█")
        assert len(fast) == len(slow) == 48
        assert spark_axis().startswith("1 min")


def named(simulation: Simulation, name: str) -> EffectOutcome:
    return replace(simulation.effects[1], effect=name)


def test_the_rules_of_a_simulated_stage_are_the_rollouts_own() -> None:
    """A stage with criteria of its own is simulated by these."""
    stages = [Stage(name="canary", duration_hours=1, max_hours=2, success_criteria={"error_rate": "<0.05%"})]
    assert isinstance(rules_of(rollout(stages=stages)), Rules)
    (outcome,) = simulated(stages=stages).effects
    assert outcome.inconclusive > 0.9
