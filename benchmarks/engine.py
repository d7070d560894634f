"""The whole engine, simulated: how often its verdicts are wrong, and how soon they come.

Every line is thousands of stages, looked at after every bucket: every metric, every slice, their shared error budget,
every starting time of the roll back. Where a verdict would be wrong, each true mean lies exactly on the boundary of
its null hypothesis, which is the worst case. In each line some stages go through the real fold besides, and must have
the same evidence (``apart``: the largest difference of log E), also after it was written down and read again.

- *false roll backs*: errors at 2% and at odds of 1.5 against the stable version's, quality at 0.80 and 0.02 below;
- *sessions*: 6 pairs each, of which three in ten sessions are all alike: as units, and, to show why, pair by pair;
- *rare failures*: an answer in 500 that is worth nothing, without an error;
- *a shared outage*: for an hour most requests fail, in both arms; with the trigger on the candidate's own error rate,
  which asks for a roll back in just that case, and without it;
- *false promotions*: a candidate that is at fault in one thing alone, exactly at its threshold;
- *late changes*: after 30,000 good pairs; and in one slice of five alone.

    python -m benchmarks.engine
"""

import zlib
from collections.abc import Callable, Sequence
from functools import partial
from math import sqrt
from operator import le
from typing import Any, TypeAlias

import numpy as np

from shadowlane.evaluators.gates.expressions import parse_criteria, parse_trigger
from shadowlane.evaluators.gates.rules import Rules
from shadowlane.rollout.simulation.bounds import Bound, bound
from shadowlane.rollout.simulation.engine import Ints, Layout
from shadowlane.rollout.simulation.kinds import Errors, Kind, Mix, Quality, pair_kinds
from shadowlane.rollout.simulation.traffic import Cell, Sessions, Traffic

Line: TypeAlias = Callable[[np.random.Generator], Bound]

RUNS = 3_000
LATE_RUNS = 400
CRITERIA = parse_criteria({"error_rate": "<0.5%", "quality_score": ">0.90"})
TRIGGER = parse_trigger("error_rate > 2% OR quality_score < 0.80")
FEARED = Rules(trigger=TRIGGER)
AGREES = 1e-9
GOOD_PAIRS = 30_000
NO_SLICES = (Cell((), 1.0),)

# Exactly on every null hypothesis that rolls back.
FAILING, STABLE_FAILING = 0.02, 0.02 / 0.98 / 1.5 / (1 + 0.02 / 0.98 / 1.5)


def run() -> dict[str, Any]:
    """All figures; prints them as tables. Some minutes on one core."""
    found = {
        "assumed": {"runs": RUNS, "late_runs": LATE_RUNS, "alpha_roll_back": 0.01, "alpha_promote": 0.05},
        "false roll backs": _false_roll_backs(),
        "a shared outage": _shared_outage(),
        "false promotions": _false_promotions(),
        "late changes": _late(),
        "a total outage": _total_outage(),
    }
    return found


def at_the_boundary(*, rare: float = 0.0, sd: float = 0.15) -> Mix:
    """Traffic with every mean exactly on the null hypothesis of a roll back; ``rare`` answers are worth nothing."""
    quality = Quality(0.80 / (1 - FAILING), 0.82 / (1 - STABLE_FAILING), sd, sd, rare, rare)
    return Mix(pair_kinds(Errors.sharing(FAILING, STABLE_FAILING, 0.0), quality))


def good(*, to_errors: float = 0.003, to_quality: float = 0.85) -> Mix:
    """A stable version that fails in 0.3% and has a quality of 0.85, and a candidate that has these.

    The difference has a standard deviation of 0.15.
    """
    return Mix(pair_kinds(Errors.sharing(to_errors, 0.003, 0.0), Quality(to_quality, 0.85, 0.106, 0.15)))


def slices(number: int) -> tuple[Cell, ...]:
    """So many slices of the same size; one cell without any for 0."""
    return tuple(Cell((f"tenant={n:02}",), 1 / number) for n in range(number)) or NO_SLICES


def _false_roll_backs() -> dict[str, Any]:
    print(f"False roll backs, {RUNS:,} stages each, every mean on the boundary (goal: at most 1%)")
    plain, sessions = at_the_boundary(), Sessions(6, 0.3)
    lines: dict[str, Line] = {
        "a week, 5 pairs a minute, rare failures": lambda rng: _bound(
            rng, at_the_boundary(rare=0.002), 5, 10_080
        ),
        "1,000 minutes, 20 slices, 40 pairs a minute": lambda rng: _bound(
            rng, plain, 40, 1_000, slices=slices(20)
        ),
        "a day, 5 slices, rare failures": lambda rng: _bound(
            rng, at_the_boundary(rare=0.002), 20, 1_440, slices=slices(5)
        ),
        "a day of sessions, sessions as units": lambda rng: _bound(rng, plain, 12, 1_440, sessions=sessions),
        "the same, 5 slices": lambda rng: _bound(rng, plain, 12, 1_440, sessions=sessions, slices=slices(5)),
        "the same, pairs as units (not valid)": lambda rng: _bound(
            rng, plain, 12, 1_440, sessions=Sessions(6, 0.3, units=False)
        ),
    }
    return {name: _share(name, line(_seeded(name)).rolled_back) for name, line in lines.items()}


def _shared_outage() -> dict[str, Any]:
    """Two hours of good traffic, then an hour in which 6 of 10 requests fail in both arms and 5% in either alone."""
    print(f"\nA shared outage of an hour, both arms failing alike, {RUNS:,} stages")
    outage = Mix(pair_kinds(Errors(0.65, 0.65, 0.6), Quality(0.85, 0.85, 0.106, 0.15)))

    def hour(rules: Rules) -> Line:
        return lambda rng: _bound(
            rng, good(), 20, 360, rules=rules, to=outage, changed=lambda n: 120 <= n < 180, slices=slices(5)
        )

    lines = {
        "by the relative tests (goal: at most 1%)": hour(Rules()),
        "with the trigger error_rate > 2%": hour(FEARED),
    }
    return {name: _share(name, line(_seeded(name)).rolled_back) for name, line in lines.items()}


def _false_promotions() -> dict[str, Any]:
    print(
        f"\nFalse promotions, {RUNS:,} stages of a day each, at fault in one thing alone (goal: at most 5%)"
    )
    sd = 0.05
    none = Errors(0.0, 0.0, 0.0)
    faults = {
        "errors at 0.5%": pair_kinds(Errors.sharing(0.005, 0.005, 0.0), Quality(0.96, 0.96, sd, sd)),
        "quality 0.02 below stable's": pair_kinds(none, Quality(0.95, 0.97, sd, sd)),
        "the same, rare failures": pair_kinds(none, Quality(0.95, 0.97, sd, sd, worthless=0.002)),
        "quality at 0.90, rare failures": pair_kinds(none, Quality(0.90, 0.90, 0.1, 0.1, 0.002, 0.002)),
    }
    return {name: _share(name, _fixed(kinds)(_seeded(name)).shown) for name, kinds in faults.items()}


def _fixed(kinds: Sequence[Kind]) -> Line:
    return lambda rng: _bound(rng, Mix(kinds), 20, 1_440, rules=Rules(CRITERIA), promotions=True)


def _late() -> dict[str, Any]:
    """In buckets of 10 pairs on average, from the change to the roll back; medians of the runs that were not before."""
    print(
        f"\nLate changes: pairs until the roll back, medians of {LATE_RUNS} stages (goal: at most twice as many)"
    )
    print(f"{'':44}{'at once':>10}{'late':>10}{'ratio':>8}")
    changed = {
        "quality -5 points": good(to_quality=0.80),
        "quality -10 points": good(to_quality=0.75),
        "errors 0.3% to 5%": good(to_errors=0.05),
    }
    found = {}
    for name, mix in changed.items():
        for where, cells, hit in (
            ("", slices(0), None),
            (", 5 slices", slices(5), None),
            (", in 1 of 5", slices(5), [0]),
        ):
            found[name + where] = _delays(name + where, mix, cells, hit)
    return found


def _delays(name: str, mix: Mix, cells: Sequence[Cell], hit: Sequence[int] | None) -> dict[str, float]:
    def delay(good_buckets: int) -> float:
        ended = _bound(
            np.random.default_rng(good_buckets),
            good(),
            10,
            good_buckets + 4_000,
            runs=LATE_RUNS,
            to=mix,
            hit=hit,
            changed=lambda n: n >= good_buckets,
            until=lambda rolled: bool((rolled > 0).mean() > 0.6),
            slices=cells,
        ).rolled_back
        met = ended[(ended == 0) | (ended > good_buckets)]
        return float(np.median(np.where(met == 0, np.inf, met - good_buckets))) * 10

    at_once, late = delay(0), delay(GOOD_PAIRS // 10)
    print(f"{name:44}{at_once:>10,.0f}{late:>10,.0f}{late / at_once:>8.2f}")
    return {"immediate": at_once, "late": late, "ratio": round(late / at_once, 2)}


def _total_outage() -> dict[str, Any]:
    """The candidate fails every request: the share of stages rolled back with the first bucket that it is in."""
    print(
        f"\nA total outage, 20 pairs a minute: rolled back with the first closed bucket, of {LATE_RUNS} stages"
    )
    outage = good(to_errors=1.0)
    found = {}
    for name, before, cells, hit in (
        ("at once", 0, slices(0), None),
        ("after 30,000 good pairs", GOOD_PAIRS // 20, slices(0), None),
        ("after 30,000 good pairs, 20 slices", GOOD_PAIRS // 20, slices(20), None),
        ("after 30,000 good pairs, in 1 of 5 slices", GOOD_PAIRS // 20, slices(5), [2]),
    ):
        rng = np.random.default_rng(before)
        ended = _bound(
            rng,
            good(),
            20,
            before + 10,
            runs=LATE_RUNS,
            to=outage,
            hit=hit,
            changed=partial(le, before),
            slices=cells,
        )
        met = ended.rolled_back[(ended.rolled_back == 0) | (ended.rolled_back > before)]
        first, second = ((met <= before + k).mean() for k in (1, 2))
        print(f"{name:44}{first:>10.1%}, with the second {second:.1%}")
        found[name] = {"first": float(first), "second": float(second)}
    return found


def _bound(
    rng: np.random.Generator,
    mix: Mix,
    per_bucket: float,
    buckets: int,
    *,
    rules: Rules = FEARED,
    runs: int = RUNS,
    to: Mix | None = None,
    hit: Sequence[int] | None = None,
    slices: Sequence[Cell] = NO_SLICES,
    sessions: Sessions | None = None,
    promotions: bool = False,
    changed: Callable[[int], bool] = lambda _: False,
    until: Callable[[Ints], bool] = lambda _: False,
) -> Bound:
    traffic = Traffic(Layout(rules.hypotheses), per_bucket, mix, to, cells=slices, hit=hit, sessions=sessions)
    found = bound(rules, traffic, runs, buckets, rng, changed=changed, until=until, promotions=promotions)
    if found.apart > AGREES or not found.restarted:
        raise AssertionError(
            f"log E is {found.apart:.3g} apart from the real fold's, or a restart changed it"
        )
    return found


def _seeded(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _share(name: str, reached: Ints) -> dict[str, float]:
    share = float((reached > 0).mean())
    error = sqrt(max(share, 1 / len(reached)) * (1 - share) / len(reached))
    print(f"{name:44}{share:>10.2%}  ± {error:.2%}")
    return {"share": round(share, 5), "standard_error": round(error, 5)}


if __name__ == "__main__":
    run()
