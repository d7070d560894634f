"""What the demo shows of a rollout as it goes."""

from typing import Any

from examples.support_desk.traffic import Desk
from examples.support_desk.walk import AFTERWARDS, Progress


def state(seq: int, stage: str, pct: float, phase: str = "running") -> dict[str, Any]:
    return {"seq": seq, "stage": stage, "traffic_pct": pct, "phase": phase}


def told(progress: Progress) -> list[str]:
    found = [progress.line(before, 75, after).plain for before, after in progress.left]
    progress.left.clear()
    return found


def test_a_stage_is_told_of_once_it_is_over() -> None:
    desk = Desk("")
    progress = Progress("desk-2", desk)
    progress.heard(state(1, "shadow", 0.0))
    desk.answers["shadow", "C-1", "desk-1"] = 400
    progress.heard(state(1, "shadow", 0.0))
    assert told(progress) == []
    progress.heard(state(2, "canary", 5.0))
    assert told(progress) == [
        "   1:15  desk-2       shadow        0%      400  ░░░░░░░░░░░░░░░░░░░░   0.0%  → canary"
    ]
    desk.answers["canary", "C-1", "desk-1"] = 300
    desk.answers["canary", "C-2", "desk-2"] = 100
    progress.heard(state(3, "full", 100.0, "completed"))
    assert told(progress) == [
        "   1:15  desk-2       canary        5%      400  █████░░░░░░░░░░░░░░░  25.0%  → full"
    ]


def test_customers_write_on_for_a_while_after_the_decision() -> None:
    desk = Desk("")
    progress = Progress("desk-2-mini", desk)
    progress.heard(state(1, "shadow", 0.0))
    desk.answers["shadow", "C-1", "desk-1"] = 500
    assert not progress.is_shown
    progress.heard(state(2, "shadow", 0.0, "rolled_back"))
    assert told(progress)[0].endswith("rolled back")
    assert not progress.is_shown
    desk.answers["shadow", "C-1", "desk-1"] += AFTERWARDS
    progress.heard(state(2, "shadow", 0.0, "rolled_back"))
    assert progress.is_shown
