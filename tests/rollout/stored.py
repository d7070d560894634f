"""A store whose clock a test holds, and pairs put into it."""

import uuid
from dataclasses import dataclass, field
from typing import Any

import orjson

from shadowlane.rollout.state import Entry
from shadowlane.rollout.store import ClickHouseStore
from shadowlane.schemas.config import ClickHouse, Confirm, Rollout, Settings
from shadowlane.schemas.events import Pair, RolloutState, pair_id
from tests.rollout.making import NOW


class ClockedStore(ClickHouseStore):
    """The real store, at the time that the test says."""

    at: int = NOW

    def now(self) -> int:
        return self.at


def settings(clickhouse: ClickHouse, *rollouts: Rollout, **changes: Any) -> Settings:
    """Buckets of a minute, closed as they end."""
    content = {
        "controller": {"close_after_s": 0, "bucket_s": 60, "lease_s": 30, "blind_after_s": 0}
    } | changes
    return Settings(clickhouse=clickhouse, rollouts=list(rollouts), **content)


def put(
    store: ClickHouseStore,
    rollout: Rollout,
    at: int,
    count: int,
    *,
    failed: int = 0,
    stable_failed: int = 0,
    quality: float = 0.95,
    served_arm: str = "stable",
    attributes: dict[str, str] | None = None,
    name: str = "",
    stored: int | None = None,
    **fields: Any,
) -> None:
    """``count`` scored pairs of ``at`` (Unix ms), the first ``failed`` of which the candidate failed.

    ``fields`` are the pairs' own. They are stored at once, or when ``stored`` says; with a ``name`` their ids are the
    same each time.
    """
    name = name or uuid.uuid4().hex[:8]
    lines = []
    for number in range(count):
        request_id = f"{at:013d}-{name}-{number:06d}"
        bad, stable_bad = number < failed, number < stable_failed
        pair = Pair(
            pair_id=pair_id(request_id, rollout.name, rollout.epoch),
            request_id=request_id,
            rollout=rollout.name,
            epoch=rollout.epoch,
            stage="",
            service="desk",
            route="chat",
            ts=at,
            completed_at=at,
            outcome="scored",
            served_arm=served_arm,
            attributes=attributes or {},
            candidate_error="http" if bad else "",
            stable_error="http" if stable_bad else "",
            stable_quality=0.0 if stable_bad else quality,
            candidate_quality=0.0 if bad else quality,
            quality_difference=(0.0 if bad else quality) - (0.0 if stable_bad else quality),
            **fields,
        )
        lines.append(orjson.dumps({**orjson.loads(orjson.dumps(pair)), "stored_at": stored or at}))
    store.insert("pair_log", b"\n".join(lines), uuid.uuid4().hex)


@dataclass
class Routers:
    """What routers were told, in order: each state once, and all of it, repetitions too."""

    told: list[RolloutState] = field(default_factory=list)
    heard: list[RolloutState] = field(default_factory=list)

    def publish(self, states: list[RolloutState]) -> None:
        self.told += [state for state in states if state not in self.heard]
        self.heard += states


@dataclass
class NoAlerts:
    """An outbox that sends nothing."""

    steps: int = 0

    def step(self, now: int) -> None:
        self.steps += 1


def always_yes(gate: Confirm, entry: Entry, stage: str) -> tuple[bool, str]:
    return True, "yes"
