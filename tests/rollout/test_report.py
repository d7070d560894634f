"""The report as a whole; its numbers are tested on a real store, in tests/integration and tests/e2e."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shadowlane.rollout.report import LEDGER, build
from shadowlane.schemas.config import Candidate, Rollout, Settings

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_the_ledger_is_read_before_the_pairs() -> None:
    """Between two queries more pairs are stored: read the other way round, scored would exceed the pairs."""
    asked: list[str] = []

    def rows(query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        asked.append(query)
        return []

    rollout = Rollout(name="r", candidate=Candidate(base_url="http://127.0.0.1:1/v1"))
    report = build(rows, Settings(rollouts=[rollout]), rollout, NOW)
    assert asked[0] == LEDGER
    assert len(asked) > 1
    assert (report.verdict, report.ledger["eligible"], report.ledger["adds_up"]) == ("hold", 0, True)
