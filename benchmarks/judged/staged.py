"""One recorded upgrade through every stage, from nothing: the controller decides by the recorded judge's word.

An hour of the rollout file is HOUR_S seconds here, and traffic has no cycle. Nothing else is scaled: the stages, the
criteria and what a verdict takes are those of a rollout that lasts days.
"""

import contextlib
import itertools
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks.judged import recorded_win
from benchmarks.judged.recorded_win import prompts_of, recording_of
from benchmarks.judged.recordings import PROMPTS, serving, wait_for_models, worse_on
from benchmarks.judged.service import Place, Service, err
from benchmarks.judged.truths import untrue
from benchmarks.system import System, running
from shadowlane.rollout.store import ClickHouseStore
from shadowlane.schemas.config import ClickHouse
from tests.services import free_ports

NAME = "recorded"
SCORER = "recorded_win"
HOUR_S = 0.5
STAGES = (("canary", 5, 4), ("partial", 25, 12), ("majority", 75, 24), ("full", 100, 0))  # %, hours
AFTERWARDS = 200
"""Requests after the end, to see that all are served by the version in charge."""
TIMEOUT_S = 5.0
MAJOR_SHARE = 0.5
"""No slice has it: each can roll back by itself, and what promotes is shown of all traffic."""
CONTROLLER = {"poll_s": 0.5, "bucket_s": 1, "close_after_s": 1.0}
VERDICTS = {"completed": "promote", "rolled_back": "roll_back", "inconclusive": "inconclusive"}

_FOLDED = """
SELECT (SELECT max(until) FROM fold_log WHERE rollout = {rollout:String})
    > (SELECT max(stored_at) FROM pair_log WHERE rollout = {rollout:String} AND outcome = 'scored') AS folded
"""

_SHOWN = """
SELECT since, max(all_pairs) AS pairs, minIf(all_pairs, shown AND all_pairs >= 500) AS shown_after
FROM (
    SELECT since, until, max(pairs) AS all_pairs, min(log_e >= log_needed) AS shown
    FROM evidence_log FINAL
    WHERE rollout = {rollout:String} AND decides = 'promote' AND slice = ''
    GROUP BY since, until
)
GROUP BY since
"""


@dataclass(frozen=True, slots=True)
class Judged:
    """One upgrade.

    ``fault`` is the candidate's (serve.py). ``worse_on`` is (slice, model): there the candidate answers as that model
    did. ``slices``: where one slice alone regressed, the ``whole`` rollout goes back, or that slice ``alone``.
    """

    stable: str
    candidate: str
    fault: str = ""
    worse_on: tuple[str, str] | None = None
    slices: str = "whole"


def measure(upgrade: Judged, models: list[Path], most: int) -> dict[str, Any]:
    """What became of the upgrade within ``most`` requests."""
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shadowlane-recorded-")))
        candidate = upgrade.candidate
        if upgrade.worse_on:
            made = folder / "models"
            candidate = worse_on(made, candidate, *upgrade.worse_on, models)
            models = [*models, made]
        versions = {"stable": upgrade.stable, "candidate": candidate}
        recordings = {arm: recording_of(model, models) for arm, model in versions.items()}
        # A gap in the recordings is no failure of a model: asked is what both have an answer to.
        prompts = [row for row in prompts_of(PROMPTS) if all(row["id"] in r for r in recordings.values())]
        ports = dict(zip(versions, free_ports(2), strict=True))
        for arm, port in ports.items():
            fault = [f"{candidate}:{upgrade.fault}"] if upgrade.fault and arm == "candidate" else []
            stack.enter_context(serving(folder / f"{arm}.log", port, models, fault))
        stack.enter_context(scorer_installed(folder / "scorer"))
        rollout = rollout_of(versions, ports, models, upgrade.slices)
        system = stack.enter_context(running(folder, settings(rollout)))
        wait_for_models(*ports.values())
        service = stack.enter_context(Service(NAME, system, ports, prompts, TIMEOUT_S))
        service.run(most, f"{upgrade.stable} -> {candidate}")
        store = ClickHouseStore(ClickHouse(port=system.settings["clickhouse"]["port"]))
        report = settle(system, service)
        if not service.ended:
            wait_until_folded(store, service)
        afterwards: Counter[Place] = Counter()
        if service.ended:
            afterwards = service.ask_more(AFTERWARDS)
            report = settle(system, service)
        history = orjson.loads(system.run("rollout", "history", NAME, "--json"))
        history.sort(key=lambda entry: entry["state"]["seq"])
        folds = folds_of(store)
        problems = untrue(
            store,
            NAME,
            history=history,
            router=service.state,
            served=service.asked,
            afterwards=afterwards,
            recordings=recordings,
            ids={row["prompt"]: row["id"] for row in prompts},
            faulty=bool(upgrade.fault),
        )
    if not report["ledger"]["adds_up"]:
        problems.append(f"the ledger does not add up: {report['ledger']}")
    return result_of(upgrade, candidate, history, folds, problems, report) | {
        "requests": service.asked.total() - afterwards.total(),
        "prompts": len(prompts),
        "seconds": round(time.monotonic() - started, 1),
        "report": report,
    }


def result_of(
    upgrade: Judged,
    candidate: str,
    history: list[dict[str, Any]],
    folds: dict[int, "Folds"],
    problems: list[str],
    report: dict[str, Any],
) -> dict[str, Any]:
    """``stages`` has, for each decision, its stage, what was decided, why, and on how many pairs: ``pairs`` when it was
    made, after the shortest stay; ``shown_after`` when all that a promotion takes was shown first."""
    last = history[-1]
    stages = [
        {
            "stage": before["state"]["stage"],
            "event": entry["event"],
            "pairs": decided_after(entry),
            "shown_after": folds.get(before["state"]["since"], NO_FOLDS).shown_after,
            "seconds": round((entry["state"]["at"] - before["state"]["entered"]) / 1000, 1),
            "reason": entry["reason"],
        }
        for before, entry in itertools.pairwise(history)
    ]
    if last["state"]["phase"] == "running":
        seen = folds.get(last["state"]["since"], NO_FOLDS)
        undecided = {"stage": last["state"]["stage"], "event": "undecided", "pairs": seen.pairs}
        stages.append(
            undecided | {"shown_after": seen.shown_after, "seconds": None, "reason": report["reason"]}
        )
    return {
        "stable": upgrade.stable,
        "candidate": candidate,
        "fault": upgrade.fault,
        "slices": upgrade.slices,
        "verdict": VERDICTS.get(last["state"]["phase"], "hold"),
        "phase": last["state"]["phase"],
        "stage": last["state"]["stage"],
        "excluded": last["state"]["excluded"],
        "named": sorted({name for entry in history for alert in entry["alerts"] for name in alert["slices"]}),
        "reason": last["reason"] if last["state"]["phase"] != "running" else report["reason"],
        "decided_after": decided_after(last),
        "pairs": sum(stage["pairs"] for stage in stages),
        "stages": stages,
        "problems": problems,
    }


def decided_after(entry: dict[str, Any]) -> int:
    """How many pairs of its stage a decision rested on: a roll back on those until the latch, not until the poll."""
    evidence = entry["evidence"]
    latch = evidence.get("roll_back")
    return int((latch or evidence).get("pairs", 0))


@dataclass(frozen=True, slots=True)
class Folds:
    """A stage's pairs, and after how many of them a poll found all shown that a promotion takes; None: it never was."""

    pairs: int
    shown_after: int | None


NO_FOLDS = Folds(0, None)


def folds_of(store: ClickHouseStore) -> dict[int, Folds]:
    """By the start of a stage's evidence (Unix ms)."""
    return {
        int(row["since"]): Folds(int(row["pairs"]), int(row["shown_after"]) or None)
        for row in store.rows(_SHOWN, {"rollout": NAME})
    }


def rollout_of(
    versions: dict[str, str], ports: dict[str, int], models: list[Path], slices: str
) -> dict[str, Any]:
    """A rollout of four stages, whose quality is the recorded judge's."""
    options = {"prompts": str(PROMPTS.resolve()), "models": [str(folder.resolve()) for folder in models]}
    return {
        "name": NAME,
        "match": {"service": NAME},
        **{
            arm: {"model": model, "base_url": f"http://127.0.0.1:{ports[arm]}/v1"}
            for arm, model in versions.items()
        },
        "scorers": [{"name": SCORER, "quality_weight": 1.0, "options": options}],
        "success_criteria": {"error_rate": "<0.5%"},
        "auto_rollback": {"trigger": "error_rate > 2%", "slices": slices},
        "slices": [{"attribute": "slice", "major_share": MAJOR_SHARE}],
        "traffic_cycle_hours": 0,
        "stages": [
            {"name": name, "traffic_pct": pct, "duration_hours": hours * HOUR_S / 3600}
            for name, pct, hours in STAGES
        ],
    }


def settings(rollout: dict[str, Any]) -> dict[str, Any]:
    return {
        "worker": {"timeout_s": TIMEOUT_S, "max_attempts": 2, "retry_base_s": 0.05},
        "pairing": {"wait_s": 60.0},
        "sink": {"max_wait_s": 0.2},
        "controller": CONTROLLER,
        "rollouts": [rollout],
    }


def settle(system: System, service: Service) -> dict[str, Any]:
    with err.status("waiting for the last pairs") as status:
        return system.settle(service.asked.total(), tell=status.update)


def wait_until_folded(store: ClickHouseStore, service: Service) -> None:
    """Until the controller has seen the last pair, or decided. It has by then; half a minute is patience."""
    deadline = time.monotonic() + 30
    while not service.ended and time.monotonic() < deadline:
        if store.rows(_FOLDED, {"rollout": NAME})[0]["folded"]:
            time.sleep(
                2 * CONTROLLER["poll_s"]
            )  # the decision that this fold brings, and its way to the router
            return
        time.sleep(0.2)


@contextlib.contextmanager
def scorer_installed(folder: Path) -> Iterator[None]:
    """The scorer, for every process that is started meanwhile: a package in ``folder``, which is put on their path.

    A clone needs nothing installed for it, and the environment that it runs in stays as it is.
    """
    info = folder / f"{SCORER}-0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(recorded_win.__file__, folder / f"{SCORER}.py")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {SCORER}\nVersion: 0\n")
    (info / "entry_points.txt").write_text(f"[shadowlane.scorers]\n{SCORER} = {SCORER}:RecordedWin\n")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
