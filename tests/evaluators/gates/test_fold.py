"""The fold: however it is cut, kept and gone on from, it is the same; slices share one error budget."""

from dataclasses import replace
from datetime import timedelta
from math import exp, fsum, inf, log
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowlane.errors import StoreError
from shadowlane.evaluators.gates.buckets import MOST_SLICES, UNTRACKED, Bucket
from shadowlane.evaluators.gates.evidence import latch
from shadowlane.evaluators.gates.expressions import parse_trigger
from shadowlane.evaluators.gates.fold import Fold, digest, evidence_rows, fold
from shadowlane.evaluators.gates.kernel import SPREAD, Wealth
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.scope import Baseline
from shadowlane.evaluators.gates.slices import SliceFold, budget_share
from tests.evaluators.gates.building import FAILED, START, Pair, bucket, folded, usual_rules
from tests.evaluators.gates.stored import at, scope

RULES = usual_rules()
FINE = Pair()
WORSE = Pair(0.76, 0.96)
KINDS = [FINE, WORSE, FAILED, Pair(None, None), Pair(0.99, 0.5), Pair(0.9, 0.0, "", "timeout")]


def minute(number: int, parts: dict[str, list[Pair]]) -> list[Bucket]:
    """A minute's buckets: of each slice, and of all traffic."""
    everything = [pair for pairs in parts.values() for pair in pairs]
    sliced = [replace(bucket(RULES, number, pairs), slice=name) for name, pairs in parts.items() if pairs]
    return [bucket(RULES, number, everything), *sliced] if everything else []


PAIRS = st.lists(st.sampled_from(KINDS), max_size=8)
STAGES = st.lists(st.dictionaries(st.sampled_from(["a=x", "a=y", "b=*", "b="]), PAIRS), max_size=9)


def stage(parts: list[dict[str, list[Pair]]]) -> list[Bucket]:
    return [b for number, of_minute in enumerate(parts) for b in minute(number, of_minute)]


@settings(deadline=None, max_examples=60)
@given(STAGES, st.lists(st.integers(0, 9)))
def test_cut_kept_and_gone_on_from_it_is_the_same(
    parts: list[dict[str, list[Pair]]], cuts: list[int]
) -> None:
    found = stage(parts)
    at_once = fold(RULES, Fold.start(START, sliced=True), found, at(10))
    state = Fold.start(START, sliced=True)
    for end in [*sorted(cuts), 10]:
        part = [b for b in found if state.until <= b.start < at(end)]
        state = Fold.load(fold(RULES, state, part, at(end)).dump())
    assert state == at_once
    assert state.pairs == sum(len(pairs) for of_minute in parts for pairs in of_minute.values())


@settings(deadline=None, max_examples=30)
@given(STAGES, st.randoms(use_true_random=False))
def test_buckets_of_one_time_come_in_any_order(parts: list[dict[str, list[Pair]]], luck: Random) -> None:
    expected = fold(RULES, Fold.start(START, sliced=True), stage(parts), at(10))
    shuffled = []
    for number, of_minute in enumerate(parts):
        together = minute(number, of_minute)
        luck.shuffle(together)
        shuffled += together
    found = fold(RULES, Fold.start(START, sliced=True), shuffled, at(10))
    assert found == expected
    assert list(found.slices) == list(expected.slices)


def test_what_is_not_yet_folded_and_what_is_infinite_survives_too() -> None:
    empty = Fold.start(START, sliced=True)
    assert Fold.load(empty.dump()) == empty
    whole = SliceFold.start(RULES, "")
    state = replace(
        empty,
        slices={"": whole},
        baselines={"latency_p95": Baseline(0.1 + 0.2, at(3))},
        sampled={"ttft_p50": 17},
    )
    loaded = Fold.load(state.dump())
    assert loaded == state
    assert loaded.slices[""].alarms["quality_worse"].log_wealth[0] == -inf


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 0}', "null", '{"format": 1}'])
def test_what_is_no_fold_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="compute it again"):
        Fold.load(text)


def test_out_of_order_out_of_time_and_unasked_slices_are_refused() -> None:
    first, second = bucket(RULES, 0, [FINE]), bucket(RULES, 1, [FINE])
    for wrong in ([second, first], [first, second, first]):
        with pytest.raises(ValueError, match="in order of time"):
            fold(RULES, Fold.start(START), wrong, at(5))
    with pytest.raises(ValueError, match="in order of time"):
        fold(RULES, Fold.start(START), [second], at(1))
    with pytest.raises(ValueError, match="in order of time"):
        fold(RULES, folded(RULES, [first]), [first], at(5))
    with pytest.raises(ValueError, match="without slices"):
        fold(RULES, Fold.start(START), minute(0, {"a=x": [FINE]}), at(5))
    with pytest.raises(ValueError, match="not all traffic"):
        fold(RULES, Fold.start(START, sliced=True), minute(0, {"a=x": [FINE]})[1:], at(5))


def test_a_slice_that_appears_late_starts_its_own_test_then() -> None:
    before = [b for n in range(5) for b in minute(n, {"a=x": [FINE] * 5})]
    late = [b for n in range(5, 9) for b in minute(n, {"a=y": [WORSE] * 5})]
    state = fold(RULES, Fold.start(START, sliced=True), [*before, *late], at(9))
    alone = fold(RULES, Fold.start(at(5), sliced=True), late, at(9))
    assert list(state.slices) == ["", "a=x", "a=y"]
    assert state.slices["a=y"] == alone.slices["a=y"]
    assert state.slices["a=y"].alarms["quality_worse"].buckets == 4


def test_only_the_first_two_hundred_slices_are_followed() -> None:
    first = minute(0, {f"a={n:03}": [FINE] for n in range(150)})
    second = minute(1, {f"b={n:03}": [FINE] for n in range(100)} | {"a=000": [FINE]})
    unnamed = replace(bucket(RULES, 1, [FINE] * 7), slice=UNTRACKED)
    state = fold(RULES, Fold.start(START, sliced=True), [*first, *second, unnamed], at(2))
    assert list(state.slices)[1:] == [f"a={n:03}" for n in range(150)] + [f"b={n:03}" for n in range(50)]
    assert len(state.slices) == MOST_SLICES + 1
    assert state.untracked == 50 + 7
    assert state.slices["a=000"].pairs == 2


@given(st.integers(0, 2_000), st.booleans())
def test_the_shares_of_the_error_budget_never_exceed_it(slices: int, sliced: bool) -> None:
    shares = [budget_share(place, sliced=sliced) for place in range(slices + 1)]
    assert fsum(shares) <= 1
    assert sliced or shares[0] == 1


def test_the_causes_of_all_slices_add_up_as_documented() -> None:
    state = fold(
        RULES, Fold.start(START, sliced=True), minute(0, {"a=x": [WORSE] * 3, "a=y": [FINE] * 3}), at(1)
    )
    rows = evidence_rows(RULES, state)
    assert [(r.slice, r.decides) for r in rows[:: len(rows) // 3]] == [
        ("", "promote"),
        ("a=x", "promote"),
        ("a=y", "promote"),
    ]
    causes = len(RULES.causes)
    for name, share in (("", 1 / 2), ("a=x", 1 / 4), ("a=y", 1 / 12)):
        own = [r for r in rows if r.slice == name and r.decides == "roll_back"]
        assert [r.log_needed for r in own] == pytest.approx([log(100 * causes / share)] * causes)
        mean = sum(exp(r.log_e) for r in own) / causes
        assert state.slices[name].log_alarm == pytest.approx(log(mean))
    assert all(r.log_needed == pytest.approx(log(20)) for r in rows if r.decides == "promote")
    kept = next(r for r in rows if r.slice == "a=x" and r.claim.startswith("quality is worse"))
    assert kept.pairs == 3
    assert kept.mean == pytest.approx(-0.2)


def test_a_slice_that_is_enough_by_itself_is_named() -> None:
    parts = {"language=en": [FINE] * 60, "language=de": [Pair(0.86, 0.96)] * 4, "tenant=a": [FINE] * 30}
    state = fold(
        RULES, Fold.start(START, sliced=True), [b for n in range(40) for b in minute(n, parts)], at(40)
    )
    assert state.latch is not None
    assert state.latch.alone == "language=de"
    assert [(e.slice, e.name) for e in state.latch.leading] == [("language=de", "quality_worse")]
    unsliced = fold(RULES, Fold.start(START), [minute(n, parts)[0] for n in range(40)], at(40))
    assert unsliced.latch is None


def test_where_all_traffic_is_enough_no_slice_is_to_blame() -> None:
    parts = {"language=en": [FAILED] * 20, "language=de": [FAILED] * 20}
    state = fold(RULES, Fold.start(START, sliced=True), minute(0, parts), at(1))
    assert state.latch is not None
    assert state.latch.alone == ""
    assert state.latch.leading[0].slice == ""


def test_slices_decide_together_what_none_decides_alone() -> None:
    """Each of two slices has not quite enough by itself."""

    def slice_with(name: str, log_alarm: float) -> SliceFold:
        start = SliceFold.start(RULES, name)
        alarms = {h.name: Wealth(SPREAD, (log_alarm,) * len(h.bets), 20_000) for h in RULES.watched}
        return replace(start, alarms=alarms, log_alarm=log_alarm + log(len(RULES.watched[0].bets)))

    whole = slice_with("", -20)
    each = {name: slice_with(name, 0.0) for name in ("a=x", "a=y")}
    by_share = [
        replace(state, log_alarm=log(60 / budget_share(place, sliced=True)))
        for place, state in enumerate(each.values(), start=1)
    ]
    together = {"": whole} | {state.name: state for state in by_share}
    found = latch(RULES, together, sliced=True, start=START)
    assert found is not None
    assert found.e == pytest.approx(120, rel=1e-6)
    assert found.alone == ""
    del together["a=y"]
    assert latch(RULES, together, sliced=True, start=START) is None


def test_the_latch_stays_as_it_was() -> None:
    bad = [b for n in range(10) for b in minute(n, {"a=x": [WORSE] * 10})]
    good = [b for n in range(10, 20) for b in minute(n, {"a=x": [Pair(1.0, 0.5)] * 10})]
    state = fold(RULES, Fold.start(START, sliced=True), bad, at(10))
    assert state.latch is not None
    assert fold(RULES, state, good, at(20)).latch == state.latch


def test_a_fold_goes_on_under_the_same_rules_and_units_alone() -> None:
    of = scope(5, slices=("a",), sessions_by="key")
    same = replace(of, since=at(1), until=at(9), baselines={"x": Baseline(1.0, at(0))})
    assert digest(RULES, of) == digest(usual_rules(min_pairs=7, min_stay=timedelta(hours=1)), same)
    others = [
        digest(Rules(trigger=parse_trigger("error_rate > 3%")), of),
        digest(RULES, replace(of, slices=("b",))),
        digest(RULES, replace(of, sessions_by="")),
        digest(RULES, replace(of, session_minutes=3.0)),
        digest(RULES, replace(of, bucket_s=30)),
        digest(RULES, replace(of, excluded=("a=b",))),
    ]
    assert len({digest(RULES, of), *others}) == len(others) + 1
