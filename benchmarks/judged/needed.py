"""How many pairs each claim about a recorded upgrade takes, as the pairs' order falls. No servers; a minute.

    python benchmarks/judged/needed.py

The engine's own tests and error budgets, folded pair by pair over the recordings in ORDERS orders: what a stage would
take if its buckets had one pair each and it had no shortest stay. docs/recorded.md has it beside what was measured.
"""

import random
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from math import log
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# Found where the script is run from:
from benchmarks.judged.recorded_win import prompts_of, recording_of
from benchmarks.judged.recordings import PROMPTS, RECORDINGS
from benchmarks.judged.staged import Judged, rollout_of
from benchmarks.judged.table import JUDGED
from shadowlane.evaluators.check import rules_of
from shadowlane.evaluators.gates.hypotheses import Hypothesis, quality_kept, quality_worse
from shadowlane.evaluators.gates.kernel import AT_ONCE, SPREAD, Schedule, Wealth, log_sums
from shadowlane.evaluators.gates.slices import budget_share
from shadowlane.schemas.config import Rollout

ORDERS = 100
MOST = 8000
ALL, SECOND_SLICE = 0, 2  # places in the error budget; koala is the second slice by name

Pair = tuple[str, float]
"""A prompt's slice, and the difference of the two answers' wins."""


def main() -> int:
    versions = {"stable": "s", "candidate": "c"}
    rollout = Rollout.model_validate(rollout_of(versions, {"stable": 1, "candidate": 2}, [], "whole"))
    rules = rules_of(rollout)
    kept, worse = quality_kept(rules.margin), quality_worse(rules.margin)
    (no_errors,) = (h for h in rules.required if h.name != kept.name)
    promote = log(1 / rules.alpha_promote)

    def roll_back(place: int) -> float:
        return log(len(rules.causes) / rules.alpha_roll_back / budget_share(place, sliced=True))

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("stable", "candidate", "quality kept", "worse", "worse on koala", "koala's own"):
        table.add_column(column, justify="left" if column in ("stable", "candidate") else "right")
    upgrades = dict.fromkeys(replace(line.upgrade, slices="whole") for line in JUDGED)
    for upgrade in upgrades:
        pairs = pairs_of(upgrade)
        orders = [list(order(pairs, seed)) for seed in range(ORDERS)]
        whole = [[x for _, x in each] for each in orders]
        koala = [[(n, x) for n, (part, x) in enumerate(each, 1) if part == "koala"] for each in orders]
        in_koala = [first(worse, SPREAD, roll_back(SECOND_SLICE), (x for _, x in each)) for each in koala]
        of_all = [None if n is None else each[n - 1][0] for n, each in zip(in_koala, koala, strict=True)]
        table.add_row(
            upgrade.stable,
            upgrade.candidate
            + (f" ({upgrade.worse_on[1]} on {upgrade.worse_on[0]})" if upgrade.worse_on else ""),
            said([first(kept, AT_ONCE, promote, each) for each in whole]),
            said([first(worse, SPREAD, roll_back(ALL), each) for each in whole]),
            said(of_all),
            said(in_koala),
        )
    Console(width=150).print(table)
    without = first(no_errors, AT_ONCE, promote, (0.0 for _ in range(MOST)))
    print(f"{no_errors.claim}: {without} pairs without an error")
    return 0


def pairs_of(upgrade: Judged) -> list[Pair]:
    models = [RECORDINGS / "models"]
    ours, theirs = recording_of(upgrade.stable, models), recording_of(upgrade.candidate, models)
    part, other = upgrade.worse_on or ("", upgrade.stable)
    there = recording_of(other, models)
    pairs = []
    for row in prompts_of(PROMPTS):
        one, two = ours[row["id"]].win, (there if row["slice"] == part else theirs)[row["id"]].win
        if one is not None and two is not None:
            pairs.append((row["slice"], two - one))
    return pairs


def order(pairs: list[Pair], seed: int) -> Iterator[Pair]:
    """MOST pairs: all of them in turn, each time in another order, as the service asks."""
    drawn = random.Random(seed)
    for _ in range(0, MOST, len(pairs)):
        drawn.shuffle(pairs)
        yield from pairs


def first(hypothesis: Hypothesis, schedule: Schedule, level: float, values: Iterable[float]) -> int | None:
    """After how many values log E is ``level``; None where it never is."""
    sums: tuple[float, ...] = (0.0,) * len(hypothesis.bets)
    for n, x in zip(count(1), values, strict=False):
        more = log_sums(hypothesis.bets, hypothesis.null_mean, [x])
        sums = tuple(map(float.__add__, sums, more))
        if Wealth.start(schedule, len(sums)).fold(sums).log_e >= level:
            return n
    return None


def said(found: list[int | None]) -> str:
    """Median and 90th percentile over the orders; how many came to it, where not all did."""
    reached = sorted(n for n in found if n is not None)
    if not reached:
        return "never"
    share = "" if len(reached) == len(found) else f" in {len(reached)} of {len(found)}"
    return f"{statistics.median_low(reached):,} ({reached[(len(reached) * 9) // 10]:,}){share}"


if __name__ == "__main__":
    sys.exit(main())
