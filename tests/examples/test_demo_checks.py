"""The demo is not content with less than it claims."""

import json
from typing import Any

import pytest

from examples.support_desk import checks, demo
from examples.support_desk.traffic import Desk
from shadowlane.rollout.routing import candidate_serves
from shadowlane.schemas.config import Rollout, load
from shadowlane.schemas.fingerprint import fingerprint
from tests.examples.questions import TICKETS, response

PARAMETERS = {"temperature": 0, "response_format": {"type": "json_object"}}
LEDGER = {"eligible": 9, "in_flight": 0, "adds_up": True}
STATE = {"phase": "completed", "in_charge": "desk-2", "traffic_pct": 100.0, "stage": "full"}


@pytest.fixture(scope="module")
def rollout() -> Rollout:
    return load(demo.HERE / "shadowlane.yaml").rollout("desk-2")


def walked(rollout: Rollout) -> Desk:
    """What customers get, who all write once in each stage."""
    desk = Desk("")
    for stage in rollout.stages:
        for ticket in TICKETS.values():
            moved = candidate_serves(rollout.name, ticket["customer"], stage.traffic_pct)
            model = rollout.candidate.model if moved else rollout.stable.model
            desk.answers[stage.name, ticket["customer"], model] += 1
    return desk


def pair(stage: str, served_arm: str, number: str = "T-0001") -> dict[str, Any]:
    """A row of the store."""
    shadowed = "desk-1" if served_arm == "candidate" else "desk-2"
    found = {
        "stage": stage,
        "served_arm": served_arm,
        "language": TICKETS[number]["language"],
        "request": json.dumps({"model": shadowed, "messages": [], **PARAMETERS}),
    }
    for arm, model in (("stable", "desk-1"), ("candidate", "desk-2")):
        found |= {
            f"{arm}_model": model,
            f"{arm}_fingerprint": fingerprint({"model": model, **PARAMETERS}),
            f"{arm}_error": "",
            f"{arm}_output": response(model, TICKETS[number]).output,
        }
    return found


def stored(desk: Desk) -> list[dict[str, Any]]:
    return [
        pair(stage, "candidate" if model == "desk-2" else "stable")
        for (stage, _, model), count in desk.answers.items()
        for _ in range(count)
    ]


def test_the_outcome() -> None:
    assert checks.outcome("desk-2", STATE, {"ledger": LEDGER}, 9).faults == ()
    for change in (
        {"phase": "running"},
        {"stage": "partial"},
        {"in_charge": "desk-1"},
        {"traffic_pct": 25.0},
    ):
        (fault,) = checks.outcome("desk-2", STATE | change, {"ledger": LEDGER}, 9).faults
        assert fault.startswith("desk-2: ")
    for odd in ({"eligible": 8}, {"in_flight": 1}, {"adds_up": False}):
        assert len(checks.outcome("desk-2", STATE, {"ledger": LEDGER | odd}, 9).faults) == 1
    assert checks.outcome("desk-2-mini", STATE, {"ledger": LEDGER}, 9).faults


def test_the_shares(rollout: Rollout) -> None:
    desk = walked(rollout)
    claim = checks.shares(rollout, desk, stored(desk))
    assert claim.faults == ()
    assert "0.0% in shadow, 5.9% in canary, 27.8% in partial, 100.0% in full" in claim.says


@pytest.mark.parametrize("stage", ["shadow", "canary", "partial", "full"])
def test_a_share_that_is_another_stages(rollout: Rollout, stage: str) -> None:
    desk = walked(rollout)
    for name, customer, model in list(desk.answers):
        if name == stage:
            del desk.answers[name, customer, model]
    for number, ticket in enumerate(TICKETS.values()):
        desk.answers[stage, ticket["customer"], "desk-2" if number % 2 else "desk-1"] += 1
    (fault,) = checks.shares(rollout, desk, stored(desk)).faults
    assert f"in {stage}" in fault


def test_a_store_that_says_something_else(rollout: Rollout) -> None:
    desk = walked(rollout)
    (fault,) = checks.shares(rollout, desk, stored(desk)[1:]).faults
    assert "the store has" in fault


def test_stickiness(rollout: Rollout) -> None:
    desk = walked(rollout)
    assert checks.sticky(rollout, desk).faults == ()
    moved = next(
        who for who in (t["customer"] for t in TICKETS.values()) if candidate_serves("desk-2", who, 5)
    )
    desk.answers["canary", moved, "desk-1"] += 1
    (fault,) = checks.sticky(rollout, desk).faults
    assert fault == "desk-2: in canary 1 customers were answered by both versions"
    del desk.answers["canary", moved, "desk-1"], desk.answers["partial", moved, "desk-2"]
    desk.answers["partial", moved, "desk-1"] += 1
    (fault,) = checks.sticky(rollout, desk).faults
    assert fault == "desk-2: in partial 1 customers were moved back to desk-1"


def test_nobody_had_an_answer_of_a_candidate_in_the_shadow_stage(rollout: Rollout) -> None:
    desk = Desk("")
    desk.answers["shadow", "C-1", "desk-1"] += 1
    assert checks.sticky(rollout, desk).says == "desk-2: no customer ever had an answer of it"


@pytest.mark.parametrize("served_arm", ["stable", "candidate"])
def test_the_arms(rollout: Rollout, served_arm: str) -> None:
    good = [pair("canary", served_arm, number) for number in TICKETS]
    assert checks.arms(rollout, good).faults == ()
    for change, said in (
        ({"stable_model": "desk-2"}, "the stable was desk-2"),
        ({"candidate_fingerprint": fingerprint({"model": "desk-2", "temperature": 1})}, "fingerprint"),
        ({"request": '{"model": "desk-1", "temperature": 1}'}, "fingerprint"),
        ({"stable_output": good[0]["candidate_output"]}, "none that desk-1 gives"),
    ):
        faults = checks.arms(rollout, [*good, good[0] | change]).faults
        assert faults
        assert all(said in fault and "in 1 pairs" in fault for fault in faults)


def test_a_failure_speaks_for_no_model(rollout: Rollout) -> None:
    failed = pair("canary", "stable") | {"candidate_output": "", "candidate_error": "timeout"}
    assert checks.arms(rollout, [failed]).faults == ()


def test_the_page() -> None:
    page = {
        "type": "shadowlane.rollout.triggered",
        "data": {"rollout": "desk-2-mini", "cause": "regression"},
    }
    other = {"type": page["type"], "data": {"rollout": "desk-2", "cause": "undecided"}}
    assert checks.paged([page]).faults == ()
    for pages in ([], [page, page], [page, other], [other]):
        assert len(checks.paged(pages).faults) == 1
