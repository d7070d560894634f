"""Where the candidate would have gone another way, over the sessions of a rollout: docs/agents.md."""

from dataclasses import dataclass

from shadowlane.rollout.store import Rows
from shadowlane.schemas.config import Rollout

# Without a tool call nothing diverges, and the steps, which are put in order for every pair, need not be asked for.
CALLED = """
SELECT 1 FROM pairs
WHERE rollout = {rollout:String} AND epoch = {epoch:String}
    AND (stable_tool_calls NOT IN ('', '[]', 'null') OR candidate_tool_calls NOT IN ('', '[]', 'null'))
LIMIT 1
"""
STEPS = """
SELECT
    uniqExact(session) AS sessions,
    uniqExactIf(session, steps.diverged) AS another_way,
    countIf(outcome = 'scored') AS compared,
    countIf(steps.diverged) AS diverged,
    countIf(outcome = 'scored' AND after_divergence) AS compared_after,
    countIf(steps.diverged AND after_divergence) AS diverged_after
FROM steps_of(by = {by:String}, rollout = {rollout:String}, epoch = {epoch:String}) AS steps
"""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Of the sessions in which a model called tools: in how many the candidate would have called others, at least once;
    how many steps were compared, and with other calls; and how many of both came after such a step of their session, in
    a context that is not the candidate's own."""

    sessions: int
    another_way: int
    compared: int
    diverged: int
    compared_after: int
    diverged_after: int


def read_sessions(rows: Rows, rollout: Rollout) -> Sessions | None:
    """Of the present epoch; None where no answer called a tool, or nothing names a session. Raises StoreError."""
    parameters = {"rollout": rollout.name, "epoch": rollout.epoch}
    if not rows(CALLED, parameters):
        return None
    by = rollout.sessions.by if rollout.sessions else ""
    (row,) = rows(STEPS, parameters | {"by": by})
    found = Sessions(**{name: int(row[name]) for name in Sessions.__slots__})
    return found if found.sessions else None
