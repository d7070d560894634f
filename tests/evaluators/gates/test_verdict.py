"""The verdict: which of the four answers, when, and what it says."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowlane.evaluators.gates.buckets import Moments
from shadowlane.evaluators.gates.estimates import metric_reports, slice_reports
from shadowlane.evaluators.gates.evidence import pairs_to_go
from shadowlane.evaluators.gates.expressions import parse_trigger
from shadowlane.evaluators.gates.fold import Fold
from shadowlane.evaluators.gates.intervals import interval
from shadowlane.evaluators.gates.kernel import AT_ONCE, Wealth
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.verdict import Decision, Verdict, decide
from tests.evaluators.gates.building import FAILED, START, Pair, bucket, buckets, folded, moments, usual_rules

NO_WAIT: dict[str, Any] = {"traffic_cycle": timedelta(0)}
SAME = Pair(0.96, 0.96)
WORSE = Pair(0.86, 0.96)
MINUTE = timedelta(minutes=1)


def verdict_on(rules: Rules, minutes: Sequence[Sequence[Pair]], after: timedelta | None = None) -> Verdict:
    now = START + (len(minutes) * MINUTE if after is None else after)
    return decide(rules, folded(rules, buckets(rules, minutes)), started=START, now=now)


def test_a_candidate_as_good_as_the_stable_version_is_promoted() -> None:
    verdict = verdict_on(usual_rules(**NO_WAIT), [[SAME] * 100] * 20)
    assert verdict.verdict is Decision.PROMOTE
    assert verdict.missing == ()
    assert verdict.pairs_needed == 0
    assert verdict.reason.startswith(
        "shown on 2,000 pairs: quality is not worse than stable's by 0.02 or more"
    )


def test_a_worse_one_is_rolled_back_and_the_cause_is_named() -> None:
    verdict = verdict_on(usual_rules(**NO_WAIT), [[SAME] * 20] * 3 + [[WORSE] * 20] * 30)
    assert verdict.verdict is Decision.ROLL_BACK
    assert verdict.roll_back is not None
    assert [e.name for e in verdict.roll_back.leading] == ["quality_worse"]
    assert "quality is worse than stable's by more than 0.02 (" in verdict.reason
    assert "09:" in verdict.reason


def test_errors_are_named_as_the_cause_where_they_are_it() -> None:
    minutes = [[SAME] * 18 + [FAILED] + [Pair(0.96, 0.0, "", "timeout")]] * 40
    verdict = verdict_on(Rules(trigger=parse_trigger("error_rate > 2%")), minutes)
    assert verdict.roll_back is not None
    assert [e.name for e in verdict.roll_back.leading] == ["error_rate > 2%"]
    assert verdict.roll_back.leading[0].mean == pytest.approx(0.05)


def test_a_roll_back_stays_whatever_comes_after() -> None:
    rules = usual_rules(**NO_WAIT)
    bad = [[WORSE] * 20] * 15
    before = verdict_on(rules, bad).roll_back
    after = verdict_on(rules, [*bad, *[[Pair(1.0, 0.9)] * 100] * 40])
    assert before is not None
    assert after.verdict is Decision.ROLL_BACK
    assert after.roll_back == before
    assert sum(e.share * e.e for e in after.alarms) < 100


@pytest.mark.parametrize(
    ("settings", "minutes", "after", "says"),
    [
        ({}, 20, None, "the pairs span 19 min 59 s of a traffic cycle of 1 d"),
        ({"min_stay": timedelta(hours=2)}, 20, None, "the stage lasts at least 2 h, 1 h 40 min more"),
        ({"min_pairs": 3_000}, 20, None, "2000 of at least 3000 pairs"),
        ({}, 5, None, "not shown: error_rate < 0.5% (evidence "),
    ],
)
def test_it_holds_and_says_what_is_missing(
    settings: dict[str, Any], minutes: int, after: timedelta | None, says: str
) -> None:
    verdict = verdict_on(usual_rules(**settings), [[SAME] * 100] * minutes, after)
    assert verdict.verdict is Decision.HOLD
    assert any(text.startswith(says) for text in verdict.missing), verdict.missing
    assert all(text in verdict.reason for text in verdict.missing)


def test_nothing_measured_is_hold_then_inconclusive() -> None:
    rules = usual_rules(duration=timedelta(days=2))
    verdict = verdict_on(rules, [], timedelta(days=1))
    assert verdict.verdict is Decision.HOLD
    assert verdict.pairs_needed is None
    assert metric_reports(rules, folded(rules, []).whole(rules))[0].candidate is None
    assert "no pair has this metric" in verdict.reason
    over = verdict_on(rules, [], timedelta(days=2))
    assert over.verdict is Decision.INCONCLUSIVE
    assert over.reason.startswith("the stage is over (2 d) and undecided: ")


def test_time_alone_never_promotes() -> None:
    rules = usual_rules(duration=timedelta(hours=1), **NO_WAIT)
    assert verdict_on(rules, [[SAME] * 10] * 3, timedelta(days=30)).verdict is Decision.INCONCLUSIVE


def test_what_is_shown_by_the_stages_end_is_promoted_and_what_rolls_back_does() -> None:
    rules = usual_rules(duration=timedelta(minutes=10), **NO_WAIT)
    assert verdict_on(rules, [[SAME] * 100] * 20).verdict is Decision.PROMOTE
    assert verdict_on(rules, [[FAILED] * 20]).verdict is Decision.ROLL_BACK


def test_a_pair_without_a_grade_is_no_evidence_of_quality() -> None:
    verdict = verdict_on(usual_rules(**NO_WAIT), [[Pair(None, None)] * 100] * 20)
    assert verdict.verdict is Decision.HOLD
    by_name = {e.name: e for e in verdict.promote}
    assert (by_name["quality_kept"].n, by_name["quality_kept"].e) == (0, 1)
    assert by_name["error_rate < 0.5%"].reached


def test_and_needs_both_and_or_needs_either() -> None:
    def with_scores(a: float, b: float) -> Pair:
        return Pair(0.96, 0.96, candidate_scores={"a": a, "b": b})

    both, either = (Rules(trigger=parse_trigger(f"a < 0.5 {word} b < 0.5")) for word in ("AND", "OR"))
    only_a, a_and_b = [[with_scores(0.2, 0.9)] * 50] * 10, [[with_scores(0.2, 0.2)] * 50] * 10
    assert verdict_on(both, only_a).verdict is Decision.HOLD
    assert verdict_on(both, a_and_b).verdict is Decision.ROLL_BACK
    verdict = verdict_on(either, only_a)
    assert verdict.roll_back is not None
    assert [e.name for e in verdict.roll_back.leading] == ["a < 0.5"]


def test_the_weakest_side_of_an_and_is_its_evidence_and_the_mean_that_of_an_inner_or() -> None:
    pair = Pair(candidate_scores={"a": 0.2, "b": 0.6, "c": 0.4})
    minutes = [[pair] * 10] * 3

    def log_e(trigger: str) -> float:
        rules = Rules(trigger=parse_trigger(trigger))
        return verdict_on(rules, minutes).alarms[-1].log_e

    a, b, c = (log_e(f"{name} < 0.5") for name in "abc")
    assert log_e("a < 0.5 AND c < 0.5 AND b < 0.5") == pytest.approx(min(a, b, c))
    inner = math.log((math.exp(b) + math.exp(c)) / 2)
    assert log_e("a < 0.5 AND (b < 0.5 OR c < 0.5)") == pytest.approx(min(a, inner))


PAIRS = st.sampled_from(
    [SAME, WORSE, FAILED, Pair(None, None), Pair(0.99, 0.5), Pair(0.9, 0.0, "", "timeout")]
)
MINUTES = st.lists(st.lists(PAIRS, min_size=1, max_size=30), max_size=8)


@settings(deadline=None)
@given(MINUTES)
def test_order_within_a_minute_changes_nothing(minutes: list[list[Pair]]) -> None:
    rules = usual_rules()
    there, back = verdict_on(rules, minutes), verdict_on(rules, [m[::-1] for m in minutes])
    assert there.verdict == back.verdict
    assert [e.log_e for e in there.promote] == pytest.approx([e.log_e for e in back.promote], abs=1e-9)
    assert [e.log_e for e in there.alarms] == pytest.approx([e.log_e for e in back.alarms], abs=1e-9)


@settings(deadline=None)
@given(MINUTES, MINUTES)
def test_once_rolled_back_always_rolled_back(minutes: list[list[Pair]], later: list[list[Pair]]) -> None:
    rules = usual_rules()
    now, then = verdict_on(rules, minutes).roll_back, verdict_on(rules, [*minutes, *later]).roll_back
    assert now is None or then == now


@settings(deadline=None)
@given(MINUTES)
def test_a_verdict_is_json_and_its_causes_add_up(minutes: list[list[Pair]]) -> None:
    rules = usual_rules(**NO_WAIT)
    verdict = verdict_on(rules, minutes)
    text = orjson.loads(orjson.dumps(verdict))
    assert text["verdict"] in ("promote", "hold", "roll_back", "inconclusive")
    assert (verdict.verdict is Decision.ROLL_BACK) == (verdict.roll_back is not None)
    assert text["pairs"] == sum(map(len, minutes))
    if verdict.roll_back:
        assert sum(e.share * e.e for e in verdict.roll_back.leading) >= 100 * (1 - 1e-9)
        assert verdict.roll_back.e >= 100 * (1 - 1e-9)


@pytest.mark.parametrize("total", [400, 600])
def test_the_pairs_needed_are_about_those_it_takes(total: int) -> None:
    rules = usual_rules(**NO_WAIT)
    stage = [[SAME] * 10] * (total // 10)
    estimate = verdict_on(rules, stage).pairs_needed
    assert estimate is not None
    taken = 0
    while verdict_on(rules, stage).verdict is not Decision.PROMOTE:
        stage.append([SAME] * 10)
        taken += 10
    assert estimate == pytest.approx(taken, rel=0.1, abs=20)


def test_never_is_said_where_the_effect_points_the_other_way() -> None:
    rules = usual_rules()
    verdict = verdict_on(rules, [[SAME] * 99 + [FAILED]] * 3)
    assert verdict.pairs_needed is None
    assert any("never at the 0.01 seen so far" in text for text in verdict.missing)


def test_one_bet_grows_by_the_formula() -> None:
    """With its whole wealth in one bet, what is missing over what a pair adds."""
    kept, low_errors = (replace(h, bets=h.bets[:1]) for h in usual_rules().required[:2])
    start = Wealth(AT_ONCE, (0.0,), 1)
    growth = 0.9693877551020408 * 0.02 - 0.9693877551020408**2 * 0.0104 / 2
    assert pairs_to_go(kept, start, moments([0.1, -0.1] * 50), 3.0) == pytest.approx(3 / growth)
    (bet,) = low_errors.bets
    assert pairs_to_go(low_errors, start, moments([0.0] * 100), 3.0) == pytest.approx(
        3 / math.log1p(-bet * 0.005)
    )
    assert pairs_to_go(low_errors, start, moments([0.0] * 99 + [1.0]), 3.0) is None
    assert pairs_to_go(low_errors, start, moments([]), 3.0) is None


def test_the_report_has_both_arms_and_their_difference() -> None:
    rules = usual_rules()
    fold = folded(rules, buckets(rules, [[SAME] * 18 + [WORSE] * 2] * 50))
    quality = metric_reports(rules, fold.whole(rules))[1]
    assert quality.name == "quality_score"
    assert quality.stable is not None
    assert quality.candidate is not None
    assert quality.difference is not None
    assert quality.stable.mean == pytest.approx(0.96)
    assert quality.candidate.mean == pytest.approx(0.95)
    assert quality.difference.mean == pytest.approx(-0.01)
    assert quality.difference.low < -0.01 < quality.difference.high
    assert quality.difference.n == 1_000


# --- slices, other stages, the guard ---------------------------------------------------------------------------


def sliced(minutes: int, parts: dict[str, list[Pair]], rules: Rules) -> Fold:
    """So many equal minutes, in which each slice has these pairs."""
    found = []
    for number in range(minutes):
        found.append(bucket(rules, number, [pair for pairs in parts.values() for pair in pairs]))
        found += [replace(bucket(rules, number, pairs), slice=name) for name, pairs in parts.items()]
    return folded(rules, found)


def test_a_major_slice_must_show_everything_by_itself_and_a_minor_one_need_not() -> None:
    rules = usual_rules(**NO_WAIT)
    slightly_worse = Pair(0.925, 0.96)
    fold = sliced(
        20, {"language=en": [SAME] * 90, "language=de": [slightly_worse] * 10, "tenant=a": [SAME] * 50}, rules
    )

    def decided(major: dict[str, float]) -> Verdict:
        return decide(rules, fold, started=START, now=START + 20 * MINUTE, major=major)

    assert decided({}).verdict is Decision.PROMOTE
    assert decided({"language": 0.25, "tenant": 0.25}).verdict is Decision.PROMOTE
    held = decided({"language": 0.05})
    assert held.verdict is Decision.HOLD
    assert held.pairs_needed is None
    assert all(" in language=de: " in text for text in held.missing)
    assert [e.slice for e in held.promote] == ["", "", "", *["language=de"] * 3, *["language=en"] * 3]


def test_a_major_slices_pairs_come_with_all_the_others() -> None:
    rules = usual_rules(**NO_WAIT)
    fold = sliced(10, {"language=en": [SAME] * 80, "language=de": [SAME] * 20}, rules)
    verdict = decide(rules, fold, started=START, now=START, major={"language": 0.1})
    small = [e.pairs_needed for e in verdict.promote if e.slice == "language=de" and e.pairs_needed]
    assert verdict.pairs_needed == 5 * max(small)


def test_the_slice_that_rolls_back_is_named() -> None:
    rules = usual_rules(**NO_WAIT)
    fold = sliced(40, {"language=en": [SAME] * 96, "language=de": [WORSE] * 4}, rules)
    verdict = decide(rules, fold, started=START, now=START + 40 * MINUTE)
    assert verdict.roll_back is not None
    assert verdict.roll_back.alone == "language=de"
    assert verdict.reason.startswith(
        "quality is worse than stable's by more than 0.02 in language=de (-0.1 over "
    )
    assert "language=de by itself" in verdict.reason
    assert {e.slice for e in verdict.alarms} == {"", "language=en", "language=de"}
    assert [(r.name, r.pairs, r.share) for r in slice_reports(rules, fold)] == [
        ("language=de", 40 * 4, 0.04),
        ("language=en", 40 * 96, 0.96),
    ]
    assert slice_reports(rules, Fold.start(START)) == ()


def test_a_traffic_cycle_may_have_begun_in_an_earlier_stage() -> None:
    whole = usual_rules(traffic_cycle=timedelta(hours=24), whole_epoch=True)
    own = replace(whole, whole_epoch=False)
    fold = folded(whole, buckets(whole, [[SAME] * 100] * 20))
    day_before = START - timedelta(hours=23, minutes=50)
    for rules, covered_from, verdict in (
        (whole, None, Decision.HOLD),
        (whole, START, Decision.HOLD),
        (whole, day_before, Decision.PROMOTE),
        (
            own,
            day_before,
            Decision.HOLD,
        ),  # a stage whose pairs stopped after 20 minutes says nothing of its day
    ):
        now = START + timedelta(minutes=20)
        assert decide(rules, fold, started=START, now=now, covered_from=covered_from).verdict is verdict


def test_on_guard_it_rolls_back_or_holds() -> None:
    rules = usual_rules(duration=timedelta(minutes=5), **NO_WAIT)
    good, bad = (folded(rules, buckets(rules, [[pair] * 100] * 20)) for pair in (SAME, FAILED))
    now = START + timedelta(days=3)
    held = decide(rules, good, started=START, now=now, guard=True)
    assert (held.verdict, held.missing, held.pairs_needed) == (Decision.HOLD, (), None)
    assert decide(rules, bad, started=START, now=now, guard=True).verdict is Decision.ROLL_BACK
    assert decide(rules, Fold.start(START), started=START, now=now, guard=True).verdict is Decision.HOLD


def test_an_outage_of_both_arms_speaks_against_neither() -> None:
    """Without a trigger there are the comparisons with the stable version alone."""
    rules, both = Rules(), Pair(0.0, 0.0, "timeout", "timeout")
    minutes = [[SAME] * 20] * 30 + [[both] * 20] * 120
    verdict = verdict_on(rules, minutes)
    assert verdict.roll_back is None
    assert all(e.e <= 1 for e in verdict.alarms)


def test_means_of_sessions_are_no_counts() -> None:
    """Half of each session failed: neither an interval for counts nor its growth holds."""
    rules = usual_rules()
    halves = Moments(40, 20.0, 10.0)
    one = replace(bucket(rules, 0, [SAME] * 80), moments={o.name: halves for o in rules.observables})
    error = metric_reports(rules, folded(rules, [one]).whole(rules))[0].candidate
    assert error is not None
    assert (error.n, error.mean) == (40, 0.5)
    assert error.high - error.low > 0.3  # not that of 20 ones among 40, of Beta(½, ½)
    assert (error.low, error.high) == pytest.approx(interval([halves], 0, 1, guess=0))


def test_what_is_a_session_is_not_called_a_pair() -> None:
    rules = usual_rules()
    verdict = decide(
        rules, folded(rules, buckets(rules, [[FAILED] * 20])), started=START, now=START, unit="sessions"
    )
    assert "(1 over 20 sessions)" in verdict.reason
