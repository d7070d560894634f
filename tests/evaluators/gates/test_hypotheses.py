"""The tests of what is measured: which numbers they look at, against which mean, with which bets."""

import subprocess
import sys
from math import inf, isclose, log
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest
from hypothesis import given

from shadowlane.evaluators.gates.expressions import Comparison, Expression, parse_trigger
from shadowlane.evaluators.gates.hypotheses import absolute
from shadowlane.evaluators.gates.observables import Observable, metric_of
from tests.evaluators.gates.simulation import at_most
from tests.evaluators.gates.test_expressions import leaves


def comparison(text: str) -> Comparison:
    parsed = parse_trigger(text)
    assert isinstance(parsed, Comparison)
    return parsed


@pytest.mark.parametrize(
    ("text", "observable", "between", "null_mean", "upward"),
    [
        ("latency_p95 < 800ms", "candidate.latency>800ms", (0, 1), 0.05, False),
        ("ttft_p50 > 2s", "candidate.ttft>2s", (0, 1), 0.5, True),
        ("cost_p99 > 1usd", "candidate.cost>1usd", (0, 1), 0.01, True),
        ("latency_p95 < 1.2x", "difference.latency>1.2x_p95", (-1, 1), 0, False),
        ("cost_p90 > 1.5x", "difference.cost>1.5x_p90", (-1, 1), 0, True),
        ("cost < 0.002usd", "candidate.cost<=0.04usd", (0, 0.04), 0.002, False),
        ("cost < 1.1x", "ratio.cost", (-1, 1), log(1.1), False),
        ("output_tokens > 1.5x", "ratio.output_tokens", (-1, 1), log(1.5), True),
        ("input_tokens < 0.5x", "ratio.input_tokens", (-1, 1), log(0.5), False),
    ],
)
def test_what_each_rule_looks_at(
    text: str, observable: str, between: tuple[float, float], null_mean: float, upward: bool
) -> None:
    test = absolute(comparison(text))
    assert test.name == test.claim == text
    assert test.observable.name == observable
    assert (test.observable.lo, test.observable.hi) == pytest.approx(between)
    assert test.null_mean == pytest.approx(null_mean)
    assert test.upward is upward
    assert test.observable.binary == (observable.startswith("candidate") and ">" in observable)


def test_a_multiple_of_a_percentile_names_the_baseline_that_it_needs() -> None:
    relative = absolute(comparison("ttft_p90 < 1.2x")).observable
    assert (relative.baseline, relative.quantile, relative.factor) == ("ttft_p90", 0.9, 1.2)
    assert "stable_ttft_ms" in relative.column
    assert relative.threshold is None
    plain = absolute(comparison("ttft_p90 < 0.3s")).observable
    assert (plain.baseline, plain.threshold) == ("", 300)


@given(leaves())
def test_no_bet_can_lose_everything_on_one_pair(rule: Expression) -> None:
    assert isinstance(rule, Comparison)
    test = absolute(rule)
    lo, hi, mean = test.observable.lo, test.observable.hi, test.null_mean
    assert lo < mean < hi
    for bet in test.bets:
        assert min(1 + bet * (lo - mean), 1 + bet * (hi - mean)) > 0.04
        assert (bet > 0) == test.upward
    assert len(test.bets) < 50


@given(leaves(), leaves())
def test_what_differs_has_another_name(one: Expression, other: Expression) -> None:
    assert isinstance(one, Comparison)
    assert isinstance(other, Comparison)
    sides = [
        o for c in (one, other) for m in [metric_of(c)] for o in (m.stable, m.candidate, m.difference) if o
    ]
    assert len({o.name for o in sides}) == len(set(sides))


# Everything that a side can be: measured, failed, waited for, without a price, free of charge, cut without tokens.
SIDES: list[dict[str, Any]] = [
    {"error": "", "latency_ms": 900.0, "ttft_ms": 350.0, "output_tokens": 120, "cost": 0.003},
    {"error": "", "latency_ms": 800.0, "ttft_ms": 200.0, "output_tokens": 100, "cost": 0.002},
    {"error": "", "latency_ms": 700.0, "ttft_ms": None, "output_tokens": 0, "cost": 0.0},
    {"error": "", "latency_ms": 10.0, "ttft_ms": 5.0, "output_tokens": 4000, "cost": 1.0},
    {"error": "timeout", "latency_ms": 60000.0, "ttft_ms": None, "output_tokens": None, "cost": None},
    {"error": "http", "latency_ms": 3.0, "ttft_ms": None, "output_tokens": None, "cost": None},
    {"error": "connection", "latency_ms": None, "ttft_ms": None, "output_tokens": 7, "cost": 0.001},
]
PAIRS = [(stable, candidate) for stable in SIDES for candidate in SIDES]

# One process may hold one chDB; other tests in this one may need it.
ENGINE = """
import sys, chdb, orjson
given = orjson.loads(sys.stdin.buffer.read())
store = chdb.connect(":memory:")
columns = ", ".join(
    f"{arm}_error String, {arm}_latency_ms Nullable(Float64), {arm}_ttft_ms Nullable(Float64),"
    f" {arm}_output_tokens Nullable(UInt64), {arm}_scores Map(LowCardinality(String), Nullable(Float64))"
    for arm in ("stable", "candidate")
)
store.query(f"CREATE TABLE pairs (number UInt32, {columns}) ENGINE = Memory")
store.query("INSERT INTO pairs FORMAT JSONEachRow " + given["rows"])
text = f"SELECT {', '.join(given['expressions'])} FROM pairs ORDER BY number"
sys.stdout.write(str(store.query(text, "JSONCompactEachRow")))
"""


def by_sql(observables: list[Observable], thresholds: list[float]) -> list[list[float | None]]:
    """The value of each observable for each pair. Shape (observables, pairs)."""
    rows = []
    for number, sides in enumerate(PAIRS):
        row: dict[str, Any] = {"number": number}
        for arm, side in zip(("stable", "candidate"), sides, strict=True):
            row |= {f"{arm}_{name}": value for name, value in side.items() if name != "cost"}
            row[f"{arm}_scores"] = {} if side["cost"] is None else {"cost": side["cost"]}
        rows.append(orjson.dumps(row))
    given = {
        "rows": b"\n".join(rows).decode(),
        "expressions": [
            o.sql.replace("{threshold}", repr(threshold))
            for o, threshold in zip(observables, thresholds, strict=True)
        ],
    }
    done = subprocess.run(
        [sys.executable, "-c", ENGINE], input=orjson.dumps(given), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    values = [orjson.loads(line) for line in done.stdout.splitlines()]
    return [list(column) for column in zip(*values, strict=True)]


def slower(side: dict[str, Any], name: str, than: float) -> float | None:
    measured = side[name]
    if measured is None or (name != "cost" and side["error"] not in ("", "timeout")):
        return None
    return float(measured > than)


def difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def ratio(stable: dict[str, Any], candidate: dict[str, Any], name: str) -> float | None:
    if stable["error"] or candidate["error"] or not (stable[name] or candidate[name]):
        return None
    if stable[name] and candidate[name]:
        return max(-1.0, min(1.0, log(candidate[name] / stable[name])))
    return 1.0 if candidate[name] else -1.0


def test_clickhouse_sees_what_the_words_say() -> None:
    """With the baseline at 750 ms, so that 1.2x is 900 ms."""
    rules = [
        "latency_p95 < 800ms",
        "ttft_p50 > 0.3s",
        "latency_p95 < 1.2x",
        "cost < 0.001usd",
        "cost_p50 < 2.5usd",
    ]
    metrics = [metric_of(comparison(rule)) for rule in rules]
    looked_at = [o for m in metrics for o in (m.stable, m.candidate, m.difference) if o]
    looked_at += [absolute(comparison(rule)).observable for rule in ("cost < 1.1x", "output_tokens < 2x")]
    thresholds = [
        o.threshold if o.threshold is not None else 750 * o.factor if o.baseline else inf for o in looked_at
    ]
    found = dict(zip((o.name for o in looked_at), by_sql(looked_at, thresholds), strict=True))

    def expect(name: str, values: list[float | None]) -> None:
        for at, (ours, theirs) in enumerate(zip(values, found.pop(name), strict=True)):
            same = ours is theirs is None or (
                ours is not None and theirs is not None and isclose(ours, theirs, abs_tol=1e-12)
            )
            assert same, (name, PAIRS[at], ours, theirs)

    for name, at, than in (
        ("latency_ms", "latency>800ms", 800),
        ("ttft_ms", "ttft>0.3s", 300),
        ("cost", "cost>2.5usd", 2.5),
    ):
        ours = [(slower(s, name, than), slower(c, name, than)) for s, c in PAIRS]
        expect(f"stable.{at}", [s for s, _ in ours])
        expect(f"candidate.{at}", [c for _, c in ours])
        expect(f"difference.{at}", [difference(c, s) for s, c in ours])
    times = [(slower(s, "latency_ms", 750), slower(c, "latency_ms", 900)) for s, c in PAIRS]
    expect("stable.latency>p95", [s for s, _ in times])
    expect("candidate.latency>1.2x_p95", [c for _, c in times])
    expect("difference.latency>1.2x_p95", [difference(c, s) for s, c in times])
    costs = [
        (
            None if s["cost"] is None else min(s["cost"], 0.02),
            None if c["cost"] is None else min(c["cost"], 0.02),
        )
        for s, c in PAIRS
    ]
    expect("stable.cost<=0.02usd", [s for s, _ in costs])
    expect("candidate.cost<=0.02usd", [c for _, c in costs])
    expect("difference.cost<=0.02usd", [difference(c, s) for s, c in costs])
    expect("ratio.cost", [ratio(s, c, "cost") for s, c in PAIRS])
    expect("ratio.output_tokens", [ratio(s, c, "output_tokens") for s, c in PAIRS])
    assert not found


Floats = npt.NDArray[np.float64]
RUNS, PAIRS_A_RUN, BASELINE = 1_000, 4_000, 200
MOST = (
    20  # of RUNS, at 1% each: exceeded by chance in fewer than 1 of 100; by a test wrong in 3% nearly always
)


def highest(rule: str, x: Floats) -> Floats:
    """The highest evidence for ``rule`` in each run, looked at after every pair. ``x`` has shape (runs, pairs)."""
    test = absolute(comparison(rule))
    log_wealth = [np.cumsum(np.log1p(bet * (x - test.null_mean)), axis=1) for bet in test.bets]
    evidence: Floats = np.mean(np.exp(log_wealth), axis=0).max(axis=1)
    return evidence


def test_the_bound_would_see_a_test_that_breaks_its_goal() -> None:
    assert at_most(MOST, RUNS, 0.03) < 0.05
    assert at_most(MOST, RUNS, 0.01) > 0.99


@pytest.mark.parametrize("percentile", [95, 99])
def test_a_candidate_as_slow_as_the_stable_version_is_not_called_slower(percentile: int) -> None:
    """At the boundary (1x), by a percentile that 200 pairs tell badly, while every second hour is slow for both.

    The share above a frozen percentile, held against 1 − NN/100, would call it slower in most runs.
    """
    rng = np.random.default_rng(percentile)
    stable, candidate = rng.lognormal(0, 0.5, size=(2, RUNS, BASELINE + PAIRS_A_RUN))
    slow = np.where(np.arange(BASELINE + PAIRS_A_RUN) // 500 % 2, 1.3, 1.0)
    stable, candidate = stable * slow, candidate * slow
    frozen = np.quantile(stable[:, :BASELINE], percentile / 100, axis=1, keepdims=True)
    above, above_stable = candidate[:, BASELINE:] > frozen, stable[:, BASELINE:] > frozen
    paired = above.astype(float) - above_stable
    assert (highest(f"latency_p{percentile} > 1x", paired) >= 100).sum() <= MOST
    assert (highest(f"latency_p{percentile} > 1ms", above.astype(float)) >= 100).sum() > RUNS / 2


def test_a_slower_candidate_is_called_slower() -> None:
    rng = np.random.default_rng(7)
    stable, candidate = rng.lognormal(0, 0.5, size=(2, 200, PAIRS_A_RUN))
    frozen = float(np.exp(1.645 * 0.5))
    paired = (1.5 * candidate > 1.1 * frozen).astype(float) - (stable > frozen)
    assert (highest("latency_p95 > 1.1x", paired) >= 100).mean() > 0.95
    kept = (candidate > 1.3 * frozen).astype(float) - (stable > frozen)
    assert (highest("latency_p95 < 1.3x", kept) >= 20).mean() > 0.95


def test_costs_at_the_threshold_are_neither_too_high_nor_low_enough() -> None:
    """The mean of the clipped cost is exactly the threshold; one request in 50 costs 20 times as much."""
    rng = np.random.default_rng(3)
    dear = rng.random((RUNS, PAIRS_A_RUN)) < 0.02
    costs = np.where(dear, 0.04, 0.002 * (1 - 0.02 * 20) / 0.98)
    assert (highest("cost > 0.002usd", costs) >= 100).sum() <= MOST
    assert (highest("cost < 0.002usd", costs) >= 100).sum() <= MOST


def test_costs_beyond_the_threshold_are_seen() -> None:
    """Costs are lognormal, with a standard deviation 1.3 times their mean."""
    costs = np.random.default_rng(4).lognormal(log(0.002) - 0.5, 1, size=(200, PAIRS_A_RUN))
    cheap, dear = np.minimum(costs * 0.8, 0.04), np.minimum(costs * 1.25, 0.04)
    assert (highest("cost < 0.002usd", cheap) >= 20).mean() > 0.95
    assert (highest("cost > 0.002usd", dear) >= 100).mean() > 0.95
