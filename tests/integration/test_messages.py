"""What came with the newest failure of each kind, read from a real store."""

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any

from shadowlane.processors.store import connect, insert_lines
from shadowlane.rollout.measured import messages
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import Rollout
from shadowlane.schemas.events import Pair
from tests.databases import migrated
from tests.services import ClickHouseAddress

ROLLOUT = Rollout.model_validate({"name": "r", "candidate": {"base_url": "http://127.0.0.1:1"}})
PAIR = Pair(
    pair_id="",
    request_id="",
    rollout="r",
    epoch=ROLLOUT.epoch,
    stage="shadow",
    service="s",
    route="/",
    ts=1,
    completed_at=2,
    outcome="scored",
)


def test_the_newest_of_each_kind(clickhouse: ClickHouseAddress) -> None:
    refused = {"candidate_error": "rejected_parameter"}
    stopped = {"outcome": "abstained", "reason": "stopped"}
    pairs: list[dict[str, Any]] = [
        {"ts": 20, **refused, "candidate_error_message": "it does not take top_p"},
        {"ts": 10, **refused, "candidate_error_message": "it does not take seed"},
        {"ts": 30, **refused},  # says nothing
        {"ts": 40, **stopped, "candidate_error": "stopped", "candidate_error_message": "by ann"},
        {
            "ts": 50,
            **stopped,
            "stable_error": "stopped",
            "stable_error_message": "by bob",
        },  # it was the shadow
        {"ts": 60, "outcome": "abstained", "reason": "arms_disagree"},
        {"ts": 70, **refused, "candidate_error_message": "of another epoch", "epoch": "e"},
    ]
    with migrated(clickhouse) as settings:
        client = connect(settings)
        lines = [
            encode(dataclasses.replace(PAIR, pair_id=str(number), request_id=str(number), **changes))
            for number, changes in enumerate(pairs)
        ]
        insert_lines(client, settings, "pair_log", b"\n".join(lines), uuid.uuid4().hex)

        def rows(query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
            return list(client.query(query, parameters=dict(parameters)).named_results())

        found = messages(rows, ROLLOUT)
        client.close()
    assert found == {"rejected_parameter": "it does not take top_p", "stopped": "by bob"}
