"""What one stage needs, and what it can tell: `shadowlane.rollout.plan` puts the stages together.

Each bet's wealth grows by what a pair is expected to add, so that a claim is shown after about log(1/α)/g pairs
(`shadowlane.evaluators.gates.evidence.pairs_to_go`). Half of all runs take longer than that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log

from shadowlane.evaluators.check import longest_hours
from shadowlane.evaluators.gates.buckets import ALL, Moments
from shadowlane.evaluators.gates.evidence import pairs_to_go
from shadowlane.evaluators.gates.hypotheses import ERROR_RATE, ERRORS_WORSE, Hypothesis
from shadowlane.evaluators.gates.kernel import AT_ONCE, SPREAD, Schedule, Wealth
from shadowlane.evaluators.gates.rules import Cause, Rules
from shadowlane.evaluators.gates.slices import budget_share
from shadowlane.rollout.recent import Recent
from shadowlane.rollout.simulation.baseline import Level
from shadowlane.rollout.simulation.effects import Change, Effect
from shadowlane.rollout.simulation.kinds import Mix
from shadowlane.rollout.simulation.model import mix_of, moments_of
from shadowlane.rollout.simulation.stages import paired
from shadowlane.schemas.config import Rollout, Stage

_SEEN = 10**9  # as many pairs as the moments are of: any number that is large
_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim that a stage must show (``decides`` promote), or that rolls it back, in one slice ('' is all traffic).

    ``mean`` and ``sd`` are what a candidate that is as good as the stable version has, in ``part`` of the pairs. Of a
    promotion, ``pairs`` and ``hours`` are what it takes then: of all the stage's traffic, None for never. ``in_stay``
    and ``in_stage`` are the mean nearest to the threshold that is still decided within ``duration_hours``, and until
    ``max_hours``: the worst that is still shown, or the least harm that is still caught. None: not even the extreme.
    Of the claim that errors are more likely than with stable, these are error rates of the candidate.
    """

    slice: str
    decides: str
    claim: str
    threshold: float
    mean: float
    sd: float
    part: float
    pairs: int | None
    hours: float | None
    in_stay: float | None
    in_stage: float | None


@dataclass(frozen=True, slots=True)
class Detection:
    """When an effect that is there from a stage's start is rolled back, and by which claim where; None: never."""

    effect: str
    slice: str
    claim: str
    pairs: int | None
    hours: float | None
    in_stage: bool


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage. ``pairs_per_hour`` are those of all traffic in it.

    ``hours`` is how long it takes a candidate that is as good as the stable version, None where it is never promoted;
    ``waits_for`` is what takes longest of all. ``pairs`` is what its claims need.
    """

    stage: str
    traffic_pct: float
    pairs_per_hour: float
    duration_hours: float
    max_hours: float
    traffic_cycle_hours: float
    pairs: int | None
    hours: float | None
    waits_for: str
    claims: tuple[Claim, ...]
    detections: tuple[Detection, ...]


@dataclass(frozen=True, slots=True)
class SlicePlan:
    """A slice's part of the traffic. ``major``: it must show all criteria by itself.

    ``too_small``: a drop of ten points of quality in it would be seen in no stage.
    """

    name: str
    share: float
    pairs_per_hour: float
    major: bool
    too_small: bool


class Reckoning:
    """One stage: what is asked, of what traffic."""

    def __init__(
        self,
        rollout: Rollout,
        stage: Stage,
        rules: Rules,
        traffic: Recent,
        slices: Sequence[SlicePlan],
    ) -> None:
        self._rollout, self._stage, self._rules = rollout, stage, rules
        self._traffic, self._slices = traffic, slices
        self._longest = longest_hours(rollout, stage)
        self._rate = traffic.baseline.pairs_per_hour * paired(rollout, stage.traffic_pct)
        self._sliced = bool(rollout.slices)

    def plan(self, began: float, effects: Sequence[Effect]) -> StagePlan:
        places = {ALL: 0} | {s.name: place for place, s in enumerate(self._slices, start=1)}
        asked = [ALL, *(s.name for s in self._slices if s.major)]
        claims = [
            *(self._promotes(name, h) for name in asked for h in self._rules.required),
            *(
                self._rolls_back(name, place, cause)
                for name, place in places.items()
                for cause in self._rules.causes
                if isinstance(cause.test, Hypothesis)
            ),
        ]
        pairs, hours, waits_for = self._promotion(claims, began)
        return StagePlan(
            self._stage.name,
            self._stage.traffic_pct,
            self._rate,
            self._stage.duration_hours,
            self._longest,
            self._rules.traffic_cycle.total_seconds() / 3600,
            pairs,
            hours,
            waits_for,
            tuple(claims),
            tuple(self._detects(effect, places) for effect in effects),
        )

    def _promotion(self, claims: Sequence[Claim], began: float) -> tuple[int | None, float | None, str]:
        """Pairs, hours, and what they are spent waiting for."""
        required = [claim for claim in claims if claim.decides == "promote"]
        never = [claim for claim in required if claim.hours is None]
        if never:
            return None, None, f"{never[0].claim}{within(never[0].slice)}, which is never shown"
        cycle = self._rules.traffic_cycle.total_seconds() / 3600
        waits = {
            f"{self._rules.min_pairs} pairs": self._hours(self._rules.min_pairs),
            "its shortest stay": self._stage.duration_hours,
            "the traffic cycle": max(cycle - began, 0.0) if self._rules.whole_epoch else cycle,
            **{claim.claim + within(claim.slice): claim.hours or 0.0 for claim in required},
        }
        longest = max(waits, key=lambda what: waits[what])
        pairs = max([self._rules.min_pairs, *(claim.pairs or 0 for claim in required)])
        return pairs, waits[longest], longest

    def _promotes(self, name: str, hypothesis: Hypothesis) -> Claim:
        needed = -log(self._rules.alpha_promote)
        mix = self._mix(name)
        part, mean, sd = moments_of(mix, hypothesis.observable.name)
        pairs = self._pairs(hypothesis, AT_ONCE, needed, part, mean, sd, name)
        limits = [
            self._limit(hypothesis, AT_ONCE, needed, part, sd, name, hours)
            for hours in (self._stage.duration_hours, self._longest)
        ]
        return Claim(
            name,
            "promote",
            hypothesis.claim,
            hypothesis.null_mean,
            mean,
            sd,
            part,
            pairs,
            None if pairs is None else self._hours(pairs),
            *limits,
        )

    def _rolls_back(self, name: str, place: int, cause: Cause) -> Claim:
        hypothesis = cause.test
        assert isinstance(hypothesis, Hypothesis)
        needed = self._needed(place)
        times = (self._stage.duration_hours, self._longest)
        if hypothesis.name == ERRORS_WORSE:
            rate = self._level(name).error_rate
            odds = self._rules.odds_ratio * rate / (1 - rate) if rate < 1 else 1.0
            part, limits = (
                1.0,
                [self._error_limit(hypothesis, needed, name, odds / (1 + odds), hours) for hours in times],
            )
            threshold, mean, sd = odds / (1 + odds), rate, (rate * (1 - rate)) ** 0.5
        else:
            part, mean, sd = moments_of(self._mix(name), hypothesis.observable.name)
            limits = [self._limit(hypothesis, SPREAD, needed, part, sd, name, hours) for hours in times]
            threshold = hypothesis.null_mean
        return Claim(name, "roll_back", cause.claim, threshold, mean, sd, part, None, None, *limits)

    def _error_limit(
        self, hypothesis: Hypothesis, needed: float, name: str, threshold: float, hours: float
    ) -> float | None:
        """The candidate's smallest error rate that is caught within ``hours``: with it come more discordant pairs."""
        level = self._level(name)

        def in_time(rate: float) -> bool:
            more = (Change(ERROR_RATE, rate - level.error_rate),)
            mix = mix_of(level, self._rules.hypotheses, more)
            part, mean, sd = moments_of(mix, hypothesis.observable.name)
            pairs = self._pairs(hypothesis, SPREAD, needed, part, mean, sd, name)
            return pairs is not None and self._hours(pairs) <= hours

        return _nearest(in_time, threshold, 1.0)

    def _detects(self, effect: Effect, places: Mapping[str, int]) -> Detection:
        found: list[tuple[int, str, str]] = []
        for name, place in places.items():
            # An effect in one slice is diluted in all traffic; of slices by another attribute nothing is reckoned.
            hit = (
                1.0
                if not effect.slice
                else self._share(effect.slice)
                if name == ALL
                else float(name == effect.slice)
            )
            if not hit:
                continue
            plain, changed = self._mix(name), self._mix(name, effect)
            for cause in self._rules.causes:
                if not isinstance(cause.test, Hypothesis):
                    continue
                part, mean, sd = _diluted(plain, changed, cause.test.observable.name, hit)
                pairs = self._pairs(cause.test, SPREAD, self._needed(place), part, mean, sd, name)
                if pairs is not None:
                    found.append((pairs, name, cause.claim))
        if not found:
            return Detection(effect.text, effect.slice, "", None, None, False)
        pairs, name, claim = min(found)
        hours = self._hours(pairs)
        return Detection(effect.text, name, claim, pairs, hours, hours <= self._longest)

    def _needed(self, place: int) -> float:
        """log E that a single cause of a slice needs to decide by itself."""
        share = budget_share(place, sliced=self._sliced) / len(self._rules.causes)
        return -log(self._rules.alpha_roll_back) - log(share)

    def _limit(
        self,
        hypothesis: Hypothesis,
        schedule: Schedule,
        needed: float,
        part: float,
        sd: float,
        name: str,
        hours: float,
    ) -> float | None:
        """The mean nearest to the null hypothesis's at which the claim is decided within ``hours``."""
        observable = hypothesis.observable
        extreme = observable.hi if hypothesis.upward else observable.lo

        def in_time(mean: float) -> bool:
            spread = (mean * (1 - mean)) ** 0.5 if observable.binary else sd
            pairs = self._pairs(hypothesis, schedule, needed, part, mean, spread, name)
            return pairs is not None and self._hours(pairs) <= hours

        return _nearest(in_time, hypothesis.null_mean, extreme)

    def _pairs(
        self,
        hypothesis: Hypothesis,
        schedule: Schedule,
        needed: float,
        part: float,
        mean: float,
        sd: float,
        name: str,
    ) -> int | None:
        """Of all the stage's traffic, until log E reaches ``needed``; None for never."""
        share = part * self._share(name)
        if share <= 0:
            return None
        start = log(schedule.first / len(hypothesis.bets))
        wealth = Wealth(schedule, (start,) * len(hypothesis.bets), 1)
        moments, length = self._units(hypothesis, mean, sd)
        units = pairs_to_go(hypothesis, wealth, moments, needed)
        return None if units is None else ceil(units * length / share)

    def _units(self, hypothesis: Hypothesis, mean: float, sd: float) -> tuple[Moments, float]:
        """The moments of one unit, and how many pairs it is: a session's mean varies less than a pair."""
        sessions = self._traffic.baseline.sessions
        # Of errors on one side alone a session rarely has more than one: each is nearly a unit of its own.
        if sessions is None or sessions.pairs <= 1 or hypothesis.name == ERRORS_WORSE:
            square = mean if hypothesis.observable.binary else sd * sd + mean * mean
            return Moments(_SEEN, _SEEN * mean, _SEEN * square), 1.0
        varies = sessions.alike + (1 - sessions.alike) / sessions.pairs
        return Moments(_SEEN, _SEEN * mean, _SEEN * (sd * sd * varies + mean * mean)), sessions.pairs

    def _level(self, name: str) -> Level:
        return self._traffic.levels.get(name, self._traffic.baseline.level)

    def _mix(self, name: str, effect: Effect | None = None) -> Mix:
        return mix_of(self._level(name), self._rules.hypotheses, effect.changes if effect else ())

    def _share(self, name: str) -> float:
        return next((s.share for s in self._slices if s.name == name), 1.0 if name == ALL else 0.0)

    def _hours(self, pairs: float) -> float:
        return pairs / self._rate if self._rate > 0 else float("inf")


def _nearest(in_time: Callable[[float], bool], null_mean: float, extreme: float) -> float | None:
    """Between the null hypothesis's mean and the extreme: the nearest to it that is decided in time."""
    if not in_time(extreme):
        return None
    near, far = null_mean, extreme
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        near, far = (near, middle) if in_time(middle) else (middle, far)
    return far


def _diluted(plain: Mix, changed: Mix, observable: str, hit: float) -> tuple[float, float, float]:
    """Part, mean and standard deviation of a number where ``hit`` of the traffic is changed."""
    parts = [(1 - hit, moments_of(plain, observable)), (hit, moments_of(changed, observable))]
    there = sum(w * part for w, (part, _, _) in parts)
    if not there:
        return 0.0, 0.0, 0.0
    mean = sum(w * part * m for w, (part, m, _) in parts) / there
    square = sum(w * part * (sd * sd + m * m) for w, (part, m, sd) in parts) / there
    return there, mean, max(square - mean * mean, 0.0) ** 0.5


def within(name: str) -> str:
    return f" in {name}" if name else ""
