"""What the outbox reads and writes in the store: alerts in ``rollout_log``, attempts in ``alert_log``."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import orjson
from pydantic import TypeAdapter, ValidationError

from shadowlane.rollout.alerts.plan import Known, Tries
from shadowlane.rollout.state import Alert
from shadowlane.rollout.store import Rows

log = logging.getLogger("shadowlane.alerts")

WINDOW_MS = 7 * 24 * 3_600_000
"""How far back alerts are looked for: longer than any weekend without a controller. Incidents that are open are
found whatever their age, for one day they will be resolved."""

_ALERT = TypeAdapter(Alert)

# The alerts of the window, and from before it the triggers that no resolve came after. By one thread, since it comes at
# every poll and is small (100,000 decisions: 50 ms).
_ALERTS = """
WITH chosen AS (
    SELECT rollout, n, alert, alert_id FROM (
        SELECT
            *, maxIf(n, action = 'resolve' AND told_at < {since:Int64}) OVER (PARTITION BY rollout, incident) AS over
        FROM (
            SELECT
                rollout, at AS told_at, seq * 1000 + place AS n, alert,
                JSONExtractString(alert, 'alert_id') AS alert_id,
                JSONExtractString(alert, 'incident') AS incident,
                JSONExtractString(alert, 'action') AS action
            FROM rollout_log
            ARRAY JOIN JSONExtractArrayRaw(alerts) AS alert, arrayEnumerate(JSONExtractArrayRaw(alerts)) AS place
            WHERE length(alerts) > 2
        )
    )
    WHERE told_at >= {since:Int64} OR (action = 'trigger' AND n > over)
)
SELECT chosen.alert_id AS alert_id, alert, tries
FROM chosen
LEFT JOIN (
    SELECT alert_id, groupArray((channel, attempts, last_outcome, first_at, last_at)) AS tries
    FROM (
        SELECT
            alert_id, channel, max(attempt) AS attempts,
            if(countIf(outcome = 'sent') > 0, 'sent', argMax(outcome, attempt)) AS last_outcome,
            min(at) AS first_at, max(at) AS last_at
        FROM alert_log
        WHERE alert_id IN (SELECT alert_id FROM chosen)
        GROUP BY alert_id, channel
    )
    GROUP BY alert_id
) AS told ON chosen.alert_id = told.alert_id
ORDER BY rollout, n
SETTINGS max_threads = 1
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One row of ``alert_log``. ``at`` is in Unix ms; ``outcome`` sent, failed, refused or gave_up."""

    alert_id: str
    channel: str
    attempt: int
    at: int
    outcome: str
    status: int
    message: str

    @property
    def line(self) -> bytes:
        return orjson.dumps(self)

    @property
    def token(self) -> str:
        return f"{self.alert_id}:{self.channel}:{self.attempt}"


def read(rows: Rows, now: int) -> tuple[list[Alert], dict[tuple[str, str], Tries]]:
    """The alerts that may still have to be sent, in the order in which they were written, and their tries.

    Raises:
        StoreError: as ``rows`` does.
    """
    alerts: list[Alert] = []
    known: dict[tuple[str, str], Tries] = {}
    for row in rows(_ALERTS, {"since": now - WINDOW_MS}):
        try:
            alerts.append(_ALERT.validate_json(row["alert"]))
        except ValidationError as exc:
            where = f"{row['alert_id'] or '(no id)'} in rollout_log"
            log.error("alert %s can't be read, and is not sent: %s", where, exc.errors(include_input=False))
        for channel, attempts, outcome, first_at, last_at in row["tries"]:
            known[row["alert_id"], channel] = Tries(attempts, outcome, first_at, last_at)
    return alerts, known


def with_attempts(known: Known, attempts: Iterable[Attempt]) -> dict[tuple[str, str], Tries]:
    """The tries with those that the store does not have yet."""
    all_known = dict(known)
    for attempt in attempts:
        place = (attempt.alert_id, attempt.channel)
        before = all_known.get(place, Tries(0, "failed", attempt.at, attempt.at))
        all_known[place] = Tries(
            max(before.attempts, attempt.attempt),
            "sent" if before.outcome == "sent" else attempt.outcome,
            before.first_at,
            max(before.last_at, attempt.at),
        )
    return all_known
