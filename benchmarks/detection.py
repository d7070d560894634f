"""How many pairs it takes to see a change: the kernel beside Wald's test, which knows both means beforehand.

No kernel can do better on average than Wald's sequential probability ratio test at the two means it was told;
ours is told neither. Simulated, medians, looked at after every pair:

- *quality*: differences drawn from a normal distribution with standard deviation 0.15, clipped to [-1, 1];
- *errors, relative*: both arms fail independently; only the pairs where one side alone failed count;
- *errors, absolute*: the candidate's failures alone;
- the null mean is "no change" (margin 0, odds ratio 1, the old rate), error probability 0.05 either way.

Then late changes: 30,000 good pairs first, ten a bucket, looked at after every bucket. And the roll back as a
stage really runs it: margin 0.02, odds ratio 1.5, trigger 2%, error budget 0.01 shared by four causes, after 0
and after 30,000 good pairs; each answer's quality 0.15 above or below the stable one's, as often.

    python -m benchmarks.detection
"""

from collections.abc import Callable, Sequence
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

from shadowlane.evaluators.gates.expressions import parse_trigger
from shadowlane.evaluators.gates.hypotheses import Hypothesis, errors_worse, quality_worse
from shadowlane.evaluators.gates.kernel import AT_ONCE, SPREAD, Schedule
from shadowlane.evaluators.gates.rules import Rules

Floats = npt.NDArray[np.float64]
Pairs = Callable[[tuple[int, int]], dict[str, Floats]]
"""Draws (runs, pairs of a bucket) of each observable by name; NaN where a pair hasn't it."""

SD = 0.15
ALPHA = 0.05
RUNS = 1_000
LATE_RUNS = 500
PER_BUCKET = 10
GOOD_PAIRS = 30_000
LONGEST_DELAY = 6_000


def run() -> dict[str, Any]:
    """All numbers, in pairs (medians); prints them as tables. Takes well under a minute on one core."""
    rng = np.random.default_rng(20_240_601)
    found = {
        "assumed": {"sd": SD, "distribution": "normal, clipped to [-1, 1]", "alpha": ALPHA, "runs": RUNS},
        "immediate": {
            "quality -1 point": _quality(rng, 0.01),
            "quality -2 points": _quality(rng, 0.02),
            "errors 0.3% to 1%, relative": _relative(rng, 0.003, 0.01),
            "errors 0.5% to 5%, absolute": _absolute(rng, "0.5%", 0.05),
        },
        "late": _late(rng),
        "as a stage runs it": _stage(rng),
    }
    _print(found)
    return found


def _beside_wald(median: float, wald: float) -> dict[str, float]:
    return {"kernel": median, "wald": round(wald, 1), "ratio": round(median / wald, 2)}


def _quality(rng: np.random.Generator, drop: float) -> dict[str, float]:
    draws = rng.normal(-drop, SD, (RUNS, int(60 * SD**2 / drop**2 * 0.5))).clip(-1, 1)
    first = _first_reach(quality_worse(0.0), draws, 1 / ALPHA)
    return _beside_wald(float(np.median(first)), _wald(drop**2 / (2 * SD**2)))


def _relative(rng: np.random.Generator, stable: float, candidate: float) -> dict[str, float]:
    only_candidate, only_stable = candidate * (1 - stable), stable * (1 - candidate)
    discordant = only_candidate + only_stable
    share = only_candidate / discordant
    draws = (rng.random((RUNS, 400)) < share).astype(float)
    first = _first_reach(errors_worse(1.0), draws, 1 / ALPHA)
    arrived = rng.geometric(discordant, draws.shape).cumsum(axis=1)
    pairs = np.where(
        np.isinf(first), np.inf, arrived[np.arange(RUNS), np.minimum(first, 400).astype(int) - 1]
    )
    return _beside_wald(float(np.median(pairs)), _wald(_divergence(share, 0.5)) / discordant)


def _absolute(rng: np.random.Generator, old: str, new: float) -> dict[str, float]:
    (hypothesis,) = [c.test for c in Rules(trigger=parse_trigger(f"error_rate > {old}")).causes][2:]
    assert isinstance(hypothesis, Hypothesis)
    draws = (rng.random((RUNS, 1_000)) < new).astype(float)
    first = _first_reach(hypothesis, draws, 1 / ALPHA)
    return _beside_wald(float(np.median(first)), _wald(_divergence(new, hypothesis.null_mean)))


def _first_reach(hypothesis: Hypothesis, draws: Floats, level: float) -> Floats:
    """The number of draws after which E = the mean of the bets' products first reaches ``level``, or inf."""
    bets = np.array(hypothesis.bets)
    logs = np.log1p(bets[:, None, None] * (draws - hypothesis.null_mean)).cumsum(axis=2)
    reached = np.logaddexp.reduce(logs, axis=0) - log(len(bets)) >= log(level)
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)


def _wald(information: float) -> float:
    """The expected number of draws of Wald's test under the alternative, both error probabilities ALPHA.

    Wald, "Sequential tests of statistical hypotheses" (1945), without the overshoot; ``information`` is the
    Kullback-Leibler divergence of the alternative from the null hypothesis, per draw.
    """
    bound = log((1 - ALPHA) / ALPHA)
    return ((1 - ALPHA) * bound - ALPHA * bound) / information


def _divergence(p: float, q: float) -> float:
    return p * log(p / q) + (1 - p) * log((1 - p) / (1 - q))


def _late(rng: np.random.Generator) -> dict[str, float]:
    """A drop of five points after good pairs with mean 0: with the spread starting times, and without."""
    tests = (quality_worse(0.0),)

    def pairs(mean: float) -> Pairs:
        return lambda shape: {"quality_difference": rng.normal(mean, SD, shape).clip(-1, 1)}

    def delay(good_pairs: int, schedule: Schedule) -> float:
        return _delay(
            tests, pairs(0), pairs(-0.05), good_pairs // PER_BUCKET, PER_BUCKET, schedule, 1 / ALPHA
        )

    return {
        "immediate": delay(0, SPREAD),
        "late": delay(GOOD_PAIRS, SPREAD),
        "late, without the spread": delay(GOOD_PAIRS, AT_ONCE),
    }


def _stage(rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """The roll back of the usual rules: all causes together, each with its share of the error budget.

    Stable's quality is 0.85; the candidate's is 0.15 more or less, as often, shifted. Both fail in 0.3%.
    """
    rules = Rules(trigger=parse_trigger("error_rate > 2% OR quality_score < 0.80"))

    def pairs(shift: float, failing: float) -> Pairs:
        def draw(shape: tuple[int, int]) -> dict[str, Floats]:
            candidate_failed, stable_failed = rng.random(shape) < failing, rng.random(shape) < 0.003
            stable = np.where(stable_failed, 0, 0.85)
            candidate = np.where(candidate_failed, 0, 0.85 + shift + SD * rng.choice([-1, 1], shape))
            alone = np.where(candidate_failed != stable_failed, candidate_failed, np.nan)
            return {
                "quality_difference": candidate - stable,
                "candidate_quality": candidate,
                "candidate_error": candidate_failed.astype(float),
                "discordant_error": alone,
            }

        return draw

    def delay(good_pairs: int, bad: Pairs) -> float:
        good = pairs(0, 0.003)
        level = 1 / rules.alpha_roll_back / rules.weight
        return _delay(rules.watched, good, bad, good_pairs // PER_BUCKET, PER_BUCKET, SPREAD, level)

    changes = {
        "quality -5 points": pairs(-0.05, 0.003),
        "quality -10 points": pairs(-0.1, 0.003),
        "errors 0.3% to 5%": pairs(0, 0.05),
        "errors 0.3% to 100%": pairs(0, 1.0),
    }
    return {
        name: {"immediate": delay(0, bad), "late": delay(GOOD_PAIRS, bad)} for name, bad in changes.items()
    }


def _delay(
    tests: Sequence[Hypothesis],
    good: Pairs,
    bad: Pairs,
    good_buckets: int,
    per_bucket: int,
    schedule: Schedule,
    level: float,
) -> float:
    """The median number of bad pairs until the tests' evidence sums to ``level``, at the ends of buckets.

    Runs that reached it before the change are left out: they are the false alarms, not the delays.
    """
    wealth = [np.zeros((LATE_RUNS, len(test.bets))) for test in tests]
    early, delay = np.zeros(LATE_RUNS, dtype=bool), np.full(LATE_RUNS, np.inf)
    for bucket in range(good_buckets + LONGEST_DELAY // per_bucket):
        pairs = (bad if bucket >= good_buckets else good)((LATE_RUNS, per_bucket))
        evidence = np.zeros(LATE_RUNS)
        for i, test in enumerate(tests):
            steps = np.nan_to_num(pairs[test.observable.name] - test.null_mean)
            started = wealth[i] + schedule.share(bucket) / len(test.bets)
            # The product of ten factors is far from overflow.
            factors = (1 + np.array(test.bets) * steps[..., None]).prod(axis=1)
            wealth[i] = factors * started
            evidence += wealth[i].sum(axis=1) + schedule.reserve(bucket)
        reached = evidence >= level
        if bucket < good_buckets:
            early |= reached
            continue
        delay[reached & np.isinf(delay)] = (bucket - good_buckets + 1) * per_bucket
        if not np.isinf(delay[~early]).any():
            break
    return float(np.median(delay[~early]))


def _print(found: dict[str, Any]) -> None:
    print(f"Pairs to see a change, medians of {RUNS} runs, standard deviation {SD}, alpha {ALPHA}")
    print(f"{'':32}{'kernel':>10}{'Wald':>10}{'ratio':>8}")
    for name, row in found["immediate"].items():
        print(f"{name:32}{row['kernel']:>10,.0f}{row['wald']:>10,.0f}{row['ratio']:>8.2f}")
    late = found["late"]
    print(f"\nA drop of 5 points after {GOOD_PAIRS:,} good pairs, {PER_BUCKET} a bucket")
    for name, pairs in late.items():
        print(f"{name:32}{pairs:>10,.0f}")
    print("\nThe roll back as a stage runs it: margin 0.02, error budget 0.01 over four causes")
    print(f"{'':32}{'at once':>10}{'late':>10}{'ratio':>8}")
    for name, row in found["as a stage runs it"].items():
        ratio = row["late"] / row["immediate"]
        print(f"{name:32}{row['immediate']:>10,.0f}{row['late']:>10,.0f}{ratio:>8.2f}")


if __name__ == "__main__":
    run()
