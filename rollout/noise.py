"""The noise baseline of a rollout as a report has it: the candidate's scores beside the stable version's own."""

from collections.abc import Iterable
from dataclasses import dataclass

from shadowlane.evaluators.gates.expressions import Comparison
from shadowlane.evaluators.gates.observables import QUALITY
from shadowlane.evaluators.noise import AgainstNoise, against_noise, unmet
from shadowlane.evaluators.scorers import units
from shadowlane.rollout.store import Rows
from shadowlane.schemas.config import Rollout

OUTCOMES = """
SELECT outcome, reason, count() AS requests
FROM noise_pairs
WHERE rollout = {rollout:String} AND epoch = {epoch:String}
GROUP BY outcome, reason
ORDER BY outcome, reason
"""

SCORES = """
SELECT
    scorer,
    count() AS pairs,
    sum(candidate) AS candidate,
    sum(again) AS again,
    sum(difference * difference) AS squares
FROM noise_scores
WHERE rollout = {rollout:String} AND epoch = {epoch:String}
GROUP BY scorer
"""


@dataclass(frozen=True, slots=True)
class Noise:
    """What came of asking the stable version again, in the present epoch.

    ``rate`` is the configured one; ``requests`` were asked twice, and became ``scored``, or by their reasons
    ``abstained`` and ``unpaired``. ``scores`` are by scorer, quality_score first, over the requests of which the
    candidate has a scored pair too. ``unmet`` are the stage's criteria that the stable version does not meet itself.
    """

    rate: float
    requests: int
    scored: int
    abstained: dict[str, int]
    unpaired: dict[str, int]
    scores: dict[str, AgainstNoise]
    unmet: tuple[str, ...] = ()


def read_noise(rows: Rows, rollout: Rollout, criteria: Iterable[Comparison] = ()) -> Noise | None:
    """``criteria`` are the stage's. None where no request was asked twice, nor is to be. Raises StoreError."""
    parameters = {"rollout": rollout.name, "epoch": rollout.epoch}
    counts = {(str(r["outcome"]), str(r["reason"])): int(r["requests"]) for r in rows(OUTCOMES, parameters)}
    if not counts and not rollout.noise.rate:
        return None

    def of(outcome: str) -> dict[str, int]:
        return {reason: n for (each, reason), n in counts.items() if each == outcome}

    sums = {str(row["scorer"]): row for row in rows(SCORES, parameters)} if counts else {}
    scores = {}
    for name, unit in ({QUALITY: "score"} | units(rollout)).items():
        if (row := sums.get(name)) is not None:
            against = against_noise(
                unit, int(row["pairs"]), row["candidate"], row["again"], row["squares"], rollout.margin
            )
            if against is not None:
                scores[name] = against
    return Noise(
        rate=rollout.noise.rate,
        requests=sum(counts.values()),
        scored=sum(of("scored").values()),
        abstained=of("abstained"),
        unpaired=of("unpaired"),
        scores=scores,
        unmet=unmet(criteria, scores),
    )
