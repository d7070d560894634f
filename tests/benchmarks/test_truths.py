"""The truths of a staged upgrade are found untrue where they are."""

from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import orjson
import pytest

from benchmarks.judged.recorded_win import Recorded
from benchmarks.judged.service import Place
from benchmarks.judged.truths import untrue
from shadowlane.rollout.routing import candidate_serves
from shadowlane.schemas.fingerprint import fingerprint

NAME = "recorded"
USERS = [f"user-{n}" for n in range(40)]


class Stored:
    def __init__(self, pairs: list[dict[str, Any]], folds: list[dict[str, Any]]) -> None:
        self.pairs, self.folds = pairs, folds

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self.folds if "evidence_log" in sql else self.pairs


def a_pair(user: str) -> dict[str, Any]:
    pair = {
        "stage": "canary",
        "key": user,
        "served_arm": "candidate" if candidate_serves(NAME, user, 25) else "stable",
        "slice": "koala",
        "request": orjson.dumps({"messages": [{"role": "user", "content": "Why?"}]}).decode(),
    }
    for arm in ("stable", "candidate"):
        pair |= {f"{arm}_model": arm[0], f"{arm}_fingerprint": fingerprint({"model": arm[0]})}
        pair |= {f"{arm}_output": f"{arm}'s", f"{arm}_error": ""}
    return pair


def a_run() -> dict[str, Any]:
    """An upgrade that was completed, as all is that belongs to it."""
    shared = {"epoch": "e", "stable": {"model": "s"}, "candidate": {"model": "c"}, "excluded": []}
    canary = shared | {"seq": 1, "phase": "running", "stage": "canary", "traffic_pct": 25.0, "since": 0}
    full = shared | {"seq": 2, "phase": "completed", "stage": "full", "traffic_pct": 100.0, "since": 5}
    pairs = [a_pair(user) for user in USERS]
    return {
        "store": Stored(pairs, [{"stage": "canary", "folded": 40, "stored": 40}]),
        "history": [{"state": canary}, {"state": full}],
        "router": deepcopy(full),
        "served": Counter(Place(pair["stage"], pair["served_arm"], pair["slice"]) for pair in pairs),
        "afterwards": Counter({Place("full", "candidate", "koala"): 3}),
        "recordings": {arm: {"p": Recorded(f"{arm}'s", 0.5)} for arm in ("stable", "candidate")},
        "ids": {"Why?": "p"},
        "faulty": False,
    }


def judge(run: dict[str, Any]) -> list[str]:
    return untrue(run.pop("store"), NAME, **run)


def swapped(run: dict[str, Any]) -> None:
    """One user is served by the other version than the user's place says, and service and pair agree on it."""
    pair = run["store"].pairs[0]
    run["served"][Place("canary", pair["served_arm"], "koala")] -= 1
    pair["served_arm"] = "stable" if pair["served_arm"] == "candidate" else "candidate"
    run["served"][Place("canary", pair["served_arm"], "koala")] += 1


def excluded_and_served(run: dict[str, Any]) -> None:
    run["history"][-1]["state"]["excluded"] = ["slice=koala"]


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "the router ended at seq 1": lambda run: run["router"].update(seq=1),
    "served by the stable version": lambda run: run["afterwards"].update([Place("full", "stable", "oasst")]),
    "served by the candidate version": excluded_and_served,
    "another candidate model": lambda run: run["store"].pairs[0].update(candidate_model="s"),
    "the fingerprint of the stable": lambda run: run["store"].pairs[0].update(stable_fingerprint="f"),
    "another stable answer": lambda run: run["store"].pairs[0].update(stable_output="candidate's"),
    "an error of the candidate": lambda run: run["store"].pairs[0].update(candidate_error="http"),
    "2 requests were served": lambda run: run["served"].update([Place("majority", "stable", "koala")] * 2),
    "1 of 40 pairs were served by another": swapped,
    "39 pairs are evidence": lambda run: run["store"].folds[0].update(folded=39),
    "no pair is evidence": lambda run: run["store"].folds.clear(),
}


def test_what_is_as_it_must_be_is_not_told() -> None:
    assert judge(a_run()) == []


@pytest.mark.parametrize("told", WRONG)
def test_each_untruth_is_told_by_itself(told: str) -> None:
    run = a_run()
    WRONG[told](run)
    (line,) = judge(run)
    assert told in line


def test_a_faulty_candidate_may_answer_otherwise_and_its_fingerprint_may_not_differ() -> None:
    run: dict[str, Any] = a_run() | {"faulty": True}
    run["store"].pairs[0].update(candidate_output="", candidate_error="http")
    assert judge(run) == []
    run = a_run() | {"faulty": True}
    run["store"].pairs[0].update(candidate_fingerprint="f")
    assert len(judge(run)) == 1
