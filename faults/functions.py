"""The user's own functions in the system, a scorer and a redactor, that raise, hang and return nonsense."""

import re
import time
from pathlib import Path
from typing import Any

from faults.case import Case, Check, PromiseBrokenError, what_counts
from faults.traffic import Traffic

SCORERS = ("raising", "hanging", "nonsense", "ending")


def install(folder: Path) -> dict[str, str]:
    """A package with the scorers, as pip would leave it; gives the environment in which it is found."""
    info = folder / "faulty_scorers-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-scorers\nVersion: 1.0\n")
    entries = [f"{name} = faulty_scorers:{name}" for name in SCORERS]
    (info / "entry_points.txt").write_text("\n".join(["[shadowlane.scorers]", *entries]) + "\n")
    code = Path(__file__).parent / "own" / "faulty_scorers.py"
    (folder / "faulty_scorers.py").write_text(code.read_text())
    return {"PYTHONPATH": str(folder)}


def with_scorer(name: str) -> dict[str, Any]:
    """A rollout's scorers: the ordinary ones, and this one, whose word has no weight."""
    return {
        "scorers": [
            {"name": "answered", "quality_weight": 1},
            {"name": "json_fields", "quality_weight": 1},
            {"name": "exact"},
            {"name": name},
        ]
    }


def abstains_on(scorer: str, count: int) -> Check:
    """It has no score on so many pairs; everything else is as if it were not there."""

    def check(case: Case, report: dict[str, Any]) -> str:
        case.exact(report)
        seen = what_counts(report)
        own = seen["metrics"].pop(scorer)
        if seen != case.calm[case.arm]:
            raise PromiseBrokenError(f"not as without it: {seen}")
        if own["pairs"] != case.count - count or own["candidate"] != 1:
            raise PromiseBrokenError(f"it should abstain on {count} of {case.count}: {own}")
        told = f"scorer {scorer} of rollout {case.name} failed"
        if told not in case.stack.log("pairing"):
            raise PromiseBrokenError("its failures are not told")
        return f"abstained on {count} of {case.count} and was told of; the rest as without it, {report['verdict']}"

    return check


NUMBER = re.compile(rb"It is number (\d+)")


def _strikes(data: bytes) -> bool:
    found = NUMBER.search(data)
    return found is not None and int(found.group(1)) % 20 == 0


def raises(data: bytes) -> bytes:
    if _strikes(data):
        raise RuntimeError(f"a secret of the request: {data!r}")
    return data


def returns_nonsense(data: bytes) -> bytes:
    return b"\xff{no json" if _strikes(data) else data


def hangs(data: bytes) -> bytes:
    found = NUMBER.search(data)
    if found is not None and int(found.group(1)) in (60, 140):
        time.sleep(86_400)
    return data


def without_content(count: int, why: str = "redactor_failed") -> Check:
    """So many requests are mirrored without their content, and so abstain; nothing else changes."""

    def check(case: Case, report: dict[str, Any]) -> str:
        case.exact(report)
        ledger = report["ledger"]
        if (
            ledger["reasons"] != {"abstained": {"no_content": count}}
            or ledger["scored"] != case.count - count
        ):
            raise PromiseBrokenError(f"{count} should be without content: {ledger}")
        if report["verdict"] != case.calm[case.arm]["verdict"]:
            raise PromiseBrokenError(f"the verdict is {report['verdict']}: {report['reason']}")
        assert isinstance(case.traffic, Traffic)
        counted = case.traffic.mirror.stats()["without_content"]
        if counted != {why: count}:
            raise PromiseBrokenError(f"the mirror counted {counted}")
        return f"{count} mirrored without content ({why}), {ledger['scored']} scored, {report['verdict']}"

    return check
