"""Upgrades from one recorded model to another, from nothing to their verdict, through the whole system.

    python benchmarks/recorded.py [--quality win]                    the tables of docs/recorded.md
    python benchmarks/recorded.py --stable NAME --candidate NAME [--models DIR]... [--fault KIND:RATE]
                                  [--requests N] [--json]            one upgrade
                                  [--quality win [--slices whole|alone] [--worse-on SLICE:MODEL]]

A service's thread asks the stable model through an ``openai`` client that the mirror wraps; a second server
plays the candidate, with the fault if any. Both are ``serve.py`` of the recordings: a folder with
``prompts.jsonl.gz``, ``models/`` and ``serve.py``, named by RECORDED_MODELS, else ``../shared/recorded_models``
beside the checkout.

With ``--quality win`` an answer's quality is what the recorded judge said of it, and the controller walks the candidate
through every stage, or back out: the service asks the router who serves.
"""

import argparse
import concurrent.futures
import contextlib
import gzip
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# Found where the script is run from:
from benchmarks.judged import staged  # noqa: E402
from benchmarks.judged.recorded_win import recording_of  # noqa: E402
from benchmarks.judged.recordings import RECORDINGS, serving, wait_for_models  # noqa: E402
from benchmarks.judged.table import JUDGED, judged_right, judged_table  # noqa: E402
from benchmarks.system import System, running  # noqa: E402
from tests.services import free_ports  # noqa: E402

REQUESTS = 1610  # every prompt twice
JUDGED_REQUESTS = 15_000  # as many as a rollout may take; it ends by itself
STABLE = "gpt4_1106_preview"
THREADS = 16
ATTEMPT_TIMEOUT_S = 5.0

err = Console(stderr=True)


@dataclass(frozen=True)
class Upgrade:
    """One upgrade, and the verdicts that would be right."""

    stable: str
    candidate: str
    fault: str = ""
    right: tuple[str, ...] = ("promote", "hold", "roll_back", "inconclusive")
    why: str = ""


TABLE = (
    Upgrade(STABLE, STABLE, right=("promote",), why="itself"),
    Upgrade(STABLE, STABLE, "error:0.05", ("roll_back",), "fails on 5% of the prompts"),
    Upgrade(STABLE, STABLE, "empty:0.08", ("roll_back",), "answers nothing on 8% of the prompts"),
    Upgrade(STABLE, STABLE, "hang:0.01", ("hold", "roll_back"), "never answers 1% of the prompts"),
    Upgrade(STABLE, "falcon-7b-instruct", right=("hold", "roll_back"), why="a much weaker model"),
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stable")
    parser.add_argument("--candidate")
    parser.add_argument(
        "--models", action="append", default=[], metavar="DIR", help="more recordings to serve"
    )
    parser.add_argument(
        "--fault", default="", metavar="KIND:RATE", help="of the candidate's server, see serve.py"
    )
    parser.add_argument("--requests", type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quality", choices=["win"], help="the recorded judge's, through every stage")
    parser.add_argument(
        "--slices", choices=["whole", "alone"], default="whole", help="what one bad slice takes out"
    )
    parser.add_argument(
        "--worse-on", metavar="SLICE:MODEL", help="there the candidate answers as that model did"
    )
    args = parser.parse_args()
    if bool(args.stable) != bool(args.candidate):
        parser.error("an upgrade has both --stable and --candidate; without either, the whole table is run")
    for option in ("fault", "slices", "worse_on"):
        if getattr(args, option) != parser.get_default(option) and not args.candidate:
            parser.error(
                f"--{option.replace('_', '-')} belongs to one upgrade: name --stable and --candidate"
            )
    if (args.slices != "whole" or args.worse_on) and not args.quality:
        parser.error("--slices and --worse-on need --quality win")
    if args.requests is not None and args.requests < 1:
        parser.error("--requests is at least 1")
    if not (RECORDINGS / "serve.py").exists():
        parser.error(f"no recordings at {RECORDINGS}: set RECORDED_MODELS to the folder that has serve.py")
    models = [RECORDINGS / "models", *map(Path, args.models)]
    part, _, other = (args.worse_on or "").partition(":")
    for name in filter(None, (args.stable, args.candidate, other)):
        recording = recording_of(name, models)
        if not recording:
            parser.error(f"no recording of {name} in {', '.join(map(str, models))}")
        if args.quality and all(row.win is None for row in recording.values()):
            parser.error(f"the judge said nothing of {name}: no row of its recording has a win")
    if args.worse_on and not (part and other):
        parser.error("--worse-on is a slice and a model, such as koala:vicuna-13b-v1.5")
    return judged(args, models) if args.quality else unjudged(args, models)


def unjudged(args: argparse.Namespace, models: list[Path]) -> int:
    """A single shadow stage with the default scorers; exit code 0 where every verdict is right."""
    if args.stable:
        chosen: tuple[Upgrade, ...] = (Upgrade(args.stable, args.candidate, args.fault),)
    else:
        chosen = TABLE
    results = [measure(upgrade, models, args.requests or REQUESTS) for upgrade in chosen]
    if args.json:
        print(json.dumps(results[0] if args.stable else results, indent=2))
    else:
        Console(width=150 if not sys.stdout.isatty() else None).print(table(results))
    return 0 if all(result["right"] for result in results) else 1


def judged(args: argparse.Namespace, models: list[Path]) -> int:
    """Every stage, by the recorded judge's word; exit code 0 where every outcome is right and all is as it must be."""
    if args.stable:
        worse_on = tuple(args.worse_on.split(":", 1)) if args.worse_on else None
        lines = [staged.Judged(args.stable, args.candidate, args.fault, worse_on, args.slices)]
    else:
        lines = [line.upgrade for line in JUDGED]
    results = [staged.measure(upgrade, models, args.requests or JUDGED_REQUESTS) for upgrade in lines]
    for number, result in enumerate(results):
        result["right"] = not result["problems"] and (
            bool(args.stable) or judged_right(JUDGED[number], result)
        )
    if args.json:
        print(json.dumps(results[0] if args.stable else results, indent=2))
    else:
        Console(width=170 if not sys.stdout.isatty() else None).print(judged_table(results))
    return 0 if all(result["right"] for result in results) else 1


def measure(upgrade: Upgrade, models: list[Path], requests: int) -> dict[str, Any]:
    """One upgrade from nothing to its verdict."""
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shadowlane-recorded-")))
        stable_port, candidate_port = free_ports(2)
        fault = [f"{upgrade.candidate}:{upgrade.fault}"] if upgrade.fault else []
        stack.enter_context(serving(folder / "stable.log", stable_port, models, []))
        stack.enter_context(serving(folder / "candidate.log", candidate_port, models, fault))
        system = stack.enter_context(running(folder, settings(upgrade, candidate_port)))
        wait_for_models(stable_port, candidate_port)
        drive(system, upgrade, stable_port, requests)
        with err.status("waiting for the last pairs") as status:
            report = system.settle(requests, tell=status.update)
    return {
        "stable": upgrade.stable,
        "candidate": upgrade.candidate,
        "fault": upgrade.fault,
        "verdict": report["verdict"],
        "right": report["verdict"] in upgrade.right and report["ledger"]["adds_up"],
        "reason": report["reason"],
        "pairs": report["pairs"],
        "decided_after": report["roll_back"]["pairs"] if report["roll_back"] else None,
        "seconds": round(time.monotonic() - started, 1),
        "report": report,
    }


def settings(upgrade: Upgrade, candidate_port: int) -> dict[str, Any]:
    """The default criteria and scorers; an hour's stay and a day's cycle would be in the way of a benchmark."""
    return {
        "worker": {"timeout_s": ATTEMPT_TIMEOUT_S, "max_attempts": 2, "retry_base_s": 0.05},
        "pairing": {"wait_s": 60.0},
        "sink": {"max_wait_s": 0.5},
        "rollouts": [
            {
                "name": "recorded",
                "match": {"service": "recorded"},
                "stable": {"model": upgrade.stable},
                "candidate": {
                    "model": upgrade.candidate,
                    "base_url": f"http://127.0.0.1:{candidate_port}/v1",
                },
                "success_criteria": {"error_rate": "<0.5%", "quality_score": ">0.90"},
                "auto_rollback": {"trigger": "error_rate > 2% OR quality_score < 0.80"},
                "stages": [
                    {"name": "shadow", "duration_hours": 0, "traffic_cycle_hours": 0, "min_pairs": 500}
                ],
            }
        ],
    }


def drive(system: System, upgrade: Upgrade, port: int, requests: int) -> None:
    """The service: asks the stable model, every prompt in turn, through a client that the mirror wraps."""
    import openai

    from shadowlane import Mirror

    with gzip.open(RECORDINGS / "prompts.jsonl.gz", "rt", encoding="utf-8") as lines:
        prompts = [json.loads(line) for line in lines]
    # The prompts are public, and the recordings know a prompt by its exact text: two of the 805 hold e-mail
    # addresses and a phone number, and the candidate's server would answer "no recording" to them redacted.
    mirror = Mirror(service="recorded", kafka=system.kafka, content="full")
    client = mirror.wrap(openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="recorded"))

    def ask(number: int) -> None:
        prompt = prompts[number % len(prompts)]
        # A model that has no recording of a prompt answers 400, as a service may see it happen.
        with (
            mirror.context(attributes={"slice": prompt["slice"]}),
            contextlib.suppress(openai.BadRequestError),
        ):
            client.chat.completions.create(
                model=upgrade.stable, messages=[{"role": "user", "content": prompt["prompt"]}]
            )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    label = f"{upgrade.stable} -> {upgrade.candidate} {upgrade.fault}"
    with Progress(*columns, console=err) as progress, concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        task = progress.add_task(label, total=requests)
        for done in concurrent.futures.as_completed([pool.submit(ask, n) for n in range(requests)]):
            done.result()
            progress.advance(task)
    if not mirror.flush(30):
        raise SystemExit(f"the mirror could not send all within 30 s: {mirror.stats()}")
    mirror.close()


def table(results: list[dict[str, Any]]) -> Table:
    """The results as docs/recorded.md has them."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("stable", "candidate", "fault", "verdict", "pairs", "decided after", "ledger", "s", "why"):
        grid.add_column(column, justify="right" if column in ("pairs", "decided after", "s") else "left")
    for result in results:
        ledger = result["report"]["ledger"]
        grid.add_row(
            result["stable"],
            result["candidate"],
            result["fault"],
            result["verdict"] + ("" if result["right"] else "  WRONG"),
            f"{result['pairs']:,}",
            f"{result['decided_after']:,}" if result["decided_after"] else "",
            "adds up" if ledger["adds_up"] else f"DOES NOT ADD UP: {ledger}",
            f"{result['seconds']:.0f}",
            result["reason"],
        )
    return grid


if __name__ == "__main__":
    sys.exit(main())
