"""What a rule like ``1.2x`` holds the candidate to: a percentile of the stable version, frozen as a stage starts.

It is taken over the stage's pairs up to the end of the first bucket at which `BASELINE_PAIRS` have the number, and
those pairs are not tested themselves. So it is the same however often the evidence is computed again, and nothing
that the test sees has a part in what it is held to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from shadowlane.evaluators.gates.rules import Rules
from shadowlane.evaluators.gates.scope import Query, Scope
from shadowlane.evaluators.gates.units import SETTINGS, lines, scope_parameters, source

BASELINE_PAIRS = 200
"""So that ten of them lie above a 95th percentile."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a baseline is made of: the ``quantile`` of ``column``, an expression over pair_log that may be NULL."""

    name: str
    column: str
    quantile: float


def wanted(rules: Rules) -> list[Sample]:
    """The baselines that ``rules`` need, each once."""
    samples = (Sample(o.baseline, o.column, o.quantile) for o in rules.observables if o.baseline)
    return list({sample.name: sample for sample in samples}.values())


def sample_query(samples: Sequence[Sample], scope: Scope) -> Query:
    """How many pairs have the number of each of ``samples`` (``n0``, ``n1``, …), one row for each bucket, in order."""
    pairs = _pairs(scope)
    columns = ["stored_at", *(f"{sample.column} AS c{i}" for i, sample in enumerate(samples))]
    counts = [f"countIf(isFinite(c{i})) AS n{i}" for i in range(len(samples))]
    text = f"""SELECT
    intDiv(stored_at, {{size_ms:Int64}}) * {{size_ms:Int64}} AS bucket_ms,
    {lines(counts, 4)}
FROM ({source(columns, pairs)})
GROUP BY bucket_ms
ORDER BY bucket_ms
{SETTINGS}"""  # noqa: S608 — only names and numbers of our own are put in
    return Query(text, scope_parameters(pairs))


def frozen_query(sample: Sample, scope: Scope) -> Query:
    """One row: the baseline as ``value``, over all of the scope's pairs."""
    pairs = _pairs(scope)
    text = f"""SELECT quantileExactIf({sample.quantile!r})(assumeNotNull(c), isFinite(c)) AS value
FROM ({source([f"{sample.column} AS c"], pairs)})
{SETTINGS}"""  # noqa: S608 — as above
    return Query(text, scope_parameters(pairs))


def _pairs(scope: Scope) -> Scope:
    """Whatever the unit of the tests is, a baseline is of pairs."""
    return replace(scope, slices=(), sessions_by="")
