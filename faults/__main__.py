"""`make faults`: every fault on a real system, and a table of what was promised and what was seen.

python -m faults [--broker embedded|kafka|both] [--only TEXT] [--json FILE] [--docs PAGE]
"""

import argparse
import logging
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from faults.case import Case, Fault, nothing, unchanged, what_counts
from faults.page import rewritten
from faults.scenes import SCENES, Scene
from faults.stack import Plan, Stack, running

CALM = tuple(Fault(f"calm-{arm}", "", nothing, arm=arm) for arm in ("good", "worse"))
VERDICTS = {"good": "promote", "worse": "roll_back"}
SAME_AS = {
    "slow": "good",
    "paced": "good",
    "late": "good",
    "busy": "good",
    "curt": "good",
}  # behaviours that answer as another one does
console = Console(highlight=False, soft_wrap=True)


@dataclass
class Row:
    """What came of one fault on one broker."""

    broker: str
    scene: str
    fault: str
    promise: str
    kept: bool
    seen: str
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--broker", choices=("embedded", "kafka", "both"), default="both")
    parser.add_argument(
        "--only", default="", help="scenes or faults whose name has this, or one of these, in it: kills,stops"
    )
    parser.add_argument("--json", type=Path, help="where to write what was seen")
    parser.add_argument("--docs", type=Path, help="a page whose table to bring up to date: docs/faults.md")
    parser.add_argument("--keep", type=Path, help="a directory for the logs, which are else thrown away")
    arguments = parser.parse_args()
    brokers = ("embedded", "kafka") if arguments.broker == "both" else (arguments.broker,)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="shadowlane-faults-") as temporary:
        for broker in brokers:
            calm: dict[str, dict[str, Any]] = {}
            for scene in SCENES:
                chosen = [f for f in scene.faults if broker in f.brokers and _asked(arguments.only, scene, f)]
                if chosen and broker in scene.brokers:
                    folder = (arguments.keep or Path(temporary)) / broker / scene.name
                    rows += _play(scene, chosen, broker, folder, calm)
    if arguments.json:
        arguments.json.write_bytes(orjson.dumps([asdict(row) for row in rows], option=orjson.OPT_INDENT_2))
    if arguments.docs:
        write_page(arguments.docs, rows)
    broken = [row for row in rows if not row.kept]
    console.print(f"{len(rows)} faults, {len(broken)} promises broken")
    return 1 if broken or not rows else 0


def write_page(page: Path, rows: list[Row]) -> None:
    """Brings the table up to date with what was seen."""
    every = [
        (fault.name, fault.promise, tuple(b for b in fault.brokers if b in scene.brokers))
        for scene in SCENES
        for fault in scene.faults
    ]
    seen = {(row.fault, row.broker): row.seen if row.kept else f"BROKEN: {row.seen}" for row in rows}
    page.write_text(rewritten(page.read_text(encoding="utf-8"), every, seen), encoding="utf-8")


def _asked(only: str, scene: Scene, fault: Fault) -> bool:
    return any(part in scene.name or part in fault.name for part in only.split(","))


def _play(
    scene: Scene, faults: list[Fault], broker: str, folder: Path, calm: dict[str, dict[str, Any]]
) -> list[Row]:
    logging.getLogger("shadowlane").setLevel(
        logging.CRITICAL
    )  # the mirrors' own words on what is done to them
    lacking = scene.needs()
    if lacking:
        console.print(f"[yellow]{scene.name}: not run, {lacking}[/]")
        return []
    wanted = {SAME_AS.get(fault.arm, fault.arm) for fault in faults}
    shutil.rmtree(folder, ignore_errors=True)  # data of an earlier run would count
    first = [fault for fault in CALM if fault.arm in wanted - calm.keys()]
    plan = Plan(
        [(fault.name, fault.arm, fault.rollout) for fault in [*first, *faults]],
        nodes=scene.nodes if broker == "kafka" else 1,
        wait_s=scene.wait_s,
    )
    rows: list[Row] = []
    started = time.monotonic()
    try:
        with scene.prepare(folder, plan), running(folder, broker, plan) as stack:
            console.print(f"[bold]{scene.name}[/] on {broker}: up after {time.monotonic() - started:.0f} s")
            for fault in first:
                calm[fault.arm] = _calm(stack, fault)
            calm |= {same: calm[other] for same, other in SAME_AS.items() if other in calm}
            for fault in faults:
                rows.append(_suffer(scene, fault, broker, stack, calm))
    except Exception as exc:  # the system itself fell: what is left of the scene could not be tried
        traceback.print_exc()
        done = {row.fault for row in rows}
        rows += [
            Row(broker, scene.name, fault.name, fault.promise, False, f"not tried: {exc}"[:500], 0.0)
            for fault in faults
            if fault.name not in done
        ]
    return rows


def _calm(stack: Stack, fault: Fault) -> dict[str, Any]:
    case = Case(fault.name, stack, {}, fault.arm)
    case.begin()
    report = case.settle()
    case.exact(report)
    if report["ledger"]["scored"] != case.count or report["verdict"] != VERDICTS[fault.arm]:
        raise RuntimeError(f"without a fault: {report['verdict']} ({report['reason']}), {report['ledger']}")
    console.print(f"  without a fault, {fault.arm}: {unchanged.__name__} is {report['verdict']}")
    return what_counts(report)


def _suffer(scene: Scene, fault: Fault, broker: str, stack: Stack, calm: dict[str, dict[str, Any]]) -> Row:
    case = Case(
        fault.name,
        stack,
        calm,
        fault.arm,
        count=fault.count,
        seconds=fault.seconds,
        size=fault.size,
        mirror_options=dict(fault.mirror),
        service=fault.service,
    )
    started = time.monotonic()
    kept = True
    try:
        fault.before(case)
        case.begin()
        fault.inject(case)
        report = case.settle()
        seen = "; ".join([fault.check(case, report), *case.notes])
    except Exception as exc:
        kept, seen = False, f"{type(exc).__name__}: {exc}"
        if not isinstance(exc, AssertionError):
            traceback.print_exc()
    seconds = time.monotonic() - started
    style = "green" if kept else "red"
    console.print(f"  [{style}]{'kept  ' if kept else 'BROKEN'}[/] {fault.name} ({seconds:.0f} s): ", end="")
    console.print(seen, markup=False)
    return Row(broker, scene.name, fault.name, fault.promise, kept, seen, seconds)


if __name__ == "__main__":
    sys.exit(main())
