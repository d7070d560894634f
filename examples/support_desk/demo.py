"""The demo: two candidates for the support desk's model, on the same traffic, each walked as far as it is good for.

Starts the models, a pager, shadowlane with its embedded servers, and the desk twice; lets customers write until
both rollouts are decided; prints history, report and page; checks that the good candidate became the stable version
stage by stage, that the one with the subtle fault was taken out before any customer had an answer of it, and that
everything adds up; and stops all of it. Exit code 0 if everything came out so, 1 if not.

    python demo.py [--keep] [--broker kafka]

What it writes is in .demo/ beside the Makefile: logs, the store's data, the reports as JSON.
"""

import argparse
import asyncio
import fcntl
import json
import shutil
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, run
from typing import Any, TextIO

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))  # what stands beside this file is imported from the root, as the tests do

from examples.support_desk import checks, pager  # noqa: E402
from examples.support_desk.processes import (  # noqa: E402
    SHADOWLANE,
    DemoError,
    Processes,
    ask,
    ask_store,
    console,
    free_ports,
    read_json,
    show,
    step,
)
from examples.support_desk.traffic import Desk  # noqa: E402
from examples.support_desk.walk import pages_in, walk  # noqa: E402
from shadowlane.embedded.kafka.jars import jars  # noqa: E402
from shadowlane.schemas.config import load  # noqa: E402

WORK = ROOT / ".demo"
DESKS = {"desk-2": "support-desk-eu", "desk-2-mini": "support-desk-us"}  # rollout -> service
SETTLE_SECONDS = 60.0


def write_config(kafka: int, store: int, models: int, on_call: int) -> Path:
    """The example's configuration with this run's ports in it."""
    text = (HERE / "shadowlane.yaml").read_text(encoding="utf-8")
    ports = {
        "127.0.0.1:9092": f"127.0.0.1:{kafka}",
        "port: 8123": f"port: {store}",
        "127.0.0.1:9100": f"127.0.0.1:{models}",
        "127.0.0.1:9200": f"127.0.0.1:{on_call}",
    }
    for old, new in ports.items():
        if old not in text:
            raise DemoError(f"shadowlane.yaml has no {old!r}, in whose place the demo puts {new!r}")
        text = text.replace(old, new)
    path = WORK / "shadowlane.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def start(
    processes: Processes, config: Path, desks: dict[str, Desk], ports: dict[str, int], broker: str
) -> None:
    """Everything, until each desk's router knows of its rollout."""
    if broker == "kafka":
        with step("looking for Apache Kafka; the first time, it is fetched from Maven Central"):
            jars()
    models, on_call = f"http://127.0.0.1:{ports['models']}", f"http://127.0.0.1:{ports['on_call']}"
    with step("starting three models (desk-1, desk-2, desk-2-mini), a pager, shadowlane with its servers"):
        secret = pager.new_secret()
        processes.start("models", script("models", ports["models"]))
        to_pager = [*script("pager", ports["on_call"]), "--pages", str(WORK / "pages.jsonl")]
        processes.start("pager", to_pager, ON_CALL_SECRET=secret)
        up = [*SHADOWLANE, "up", "--config", str(config), "--data", str(WORK / "data"), "--broker", broker]
        processes.start("shadowlane", up, patience=30.0, ON_CALL_SECRET=secret)
        processes.wait_for("the start of the models", lambda: bool(read_json(f"{models}/v1/models")), 30)
        processes.wait_for("the start of the pager", lambda: bool(read_json(on_call)), 30)
        status = [*SHADOWLANE, "status", "--wait", "5", "--config", str(config)]
        processes.wait_for(
            "the start of shadowlane",
            lambda: run(status, stdout=DEVNULL, stderr=DEVNULL, check=False).returncode == 0,
            180,
        )
    with step(f"starting the desk twice, mirror and router attached ({', '.join(DESKS.values())})"):
        for rollout, desk in desks.items():
            processes.start(
                DESKS[rollout],
                script("service", int(desk.url.rpartition(":")[2])),
                DESK_SERVICE=DESKS[rollout],
                DESK_ROLLOUT=rollout,
                OPENAI_BASE_URL=f"{models}/v1",
                OPENAI_API_KEY="of-no-use-here",
                SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{ports['kafka']}",
            )
        for rollout, desk in desks.items():
            processes.wait_for(f"the start of {DESKS[rollout]}", partial(knows, desk, rollout), 60)


def script(name: str, port: int) -> list[str]:
    return [sys.executable, str(HERE / f"{name}.py"), "--port", str(port)]


def knows(desk: Desk, rollout: str) -> bool:
    """Whether the desk is up, and its router has heard of the rollout."""
    health = read_json(f"{desk.url}/health")
    return bool(health) and rollout in health["router"]["states"]


def settle(config: Path, desks: dict[str, Desk], processes: Processes) -> dict[str, dict[str, Any]]:
    """The reports, once every request that was sent is in its row of the ledger; else as they stand."""
    deadline = time.monotonic() + SETTLE_SECONDS
    reports: dict[str, dict[str, Any]] = {}
    while len(reports) < len(desks):
        processes.check()
        for rollout, desk in desks.items():
            if rollout not in reports:
                report = ask("report", rollout, config=config)
                ledger = report["ledger"]
                settled = ledger["eligible"] >= desk.answers.total() and not ledger["in_flight"]
                if settled or time.monotonic() > deadline:
                    reports[rollout] = report
                    (WORK / f"report-{rollout}.json").write_text(json.dumps(report), encoding="utf-8")
    return reports


def check(config: Path, desks: dict[str, Desk], reports: dict[str, dict[str, Any]], store: int) -> bool:
    """Says what came out, and whether all of it is as it should be."""
    settings = load(config)
    states = {state["rollout"]: state for state in ask("rollout", "status", config=config)}
    claims = []
    for name, desk in desks.items():
        rollout, pairs = settings.rollout(name), ask_store(store, checks.PAIRS.format(rollout=name))
        claims += [
            checks.outcome(name, states[name], reports[name], desk.answers.total()),
            checks.shares(rollout, desk, pairs),
            checks.sticky(rollout, desk),
            checks.arms(rollout, pairs),
        ]
    claims.append(checks.paged(pages_in(WORK / "pages.jsonl")))
    console.print()
    for claim in claims:
        for fault in claim.faults:
            console.print(f"[red]✗[/] {fault}")
        if not claim.faults:
            console.print(f"[green]✓[/] {claim.says}")
    return not any(claim.faults for claim in claims)


def demonstrate(processes: Processes, keep: bool, broker: str) -> bool:
    """All of it. Whether it came out as it should."""
    kafka, store, models, on_call, *of_desks = free_ports(4 + len(DESKS))
    ports = {"kafka": kafka, "store": store, "models": models, "on_call": on_call}
    config = write_config(**ports)
    desks = {name: Desk(f"http://127.0.0.1:{port}") for name, port in zip(DESKS, of_desks, strict=True)}
    start(processes, config, desks, ports, broker)
    console.print(
        "\n  Customers write to both desks, which run on desk-1. The first tries desk-2 out, the second\n"
        "  desk-2-mini: who does not answer a customer is asked in the shadow, and the answers compared.\n"
    )
    asyncio.run(walk(desks, processes, first_page))
    if failures := {DESKS[name]: dict(desk.failures) for name, desk in desks.items() if desk.failures}:
        raise DemoError(f"a desk did not answer every ticket: {failures}")
    console.print()
    with step("waiting until every request is in its row of the ledger"):
        reports = settle(config, desks, processes)
    for rollout in DESKS:
        show("rollout", "history", rollout, config=config)
        show("report", rollout, config=config)
    show("pairs", "desk-2-mini", "--worst", "1", config=config)
    for page in pages_in(WORK / "pages.jsonl"):
        console.print("\n[bold]what on-call was paged with[/]")
        console.print(pager.text(page), markup=False)
    came_out = check(config, desks, reports, store)
    if keep:
        with suppress(KeyboardInterrupt):
            stay(processes, config, desks, ports)
    return came_out


def first_page() -> str | None:
    """What on-call was paged with first; None while all is quiet."""
    pages = pages_in(WORK / "pages.jsonl")
    return pages[0]["data"]["summary"] if pages else None


def stay(processes: Processes, config: Path, desks: dict[str, Desk], ports: dict[str, int]) -> None:
    """Everything stays up until Ctrl-C, with a word on where to look."""
    urls = {DESKS[rollout]: desk.url for rollout, desk in desks.items()}
    bin_dir = Path(sys.executable).parent
    sql = (
        "SELECT attributes['language'] AS language, count() AS pairs, round(avg(candidate_quality), 3) AS quality "
        "FROM shadowlane.pairs WHERE rollout = 'desk-2-mini' GROUP BY language ORDER BY quality FORMAT PrettyCompact"
    )
    console.print(f"""
Everything stays up until Ctrl-C. In another terminal:

  export SHADOWLANE_CONFIG={config}
  {bin_dir}/shadowlane status
  {bin_dir}/shadowlane report desk-2-mini
  {bin_dir}/shadowlane pairs desk-2-mini --worst 20
  {bin_dir}/shadowlane rollout return desk-2 --by me --reason "to see it"
  {sys.executable} {HERE / "traffic.py"} {" ".join(urls.values())}

Which customers desk-2-mini fails, from ClickHouse itself:

  curl -s http://127.0.0.1:{ports['store']}/ --data-binary "{sql}"

  models           http://127.0.0.1:{ports['models']}/v1
{chr(10).join(f"  {name:<16} {url}/triage, {url}/health" for name, url in urls.items())}
  logs             {WORK}
""")  # fmt: skip
    while True:
        processes.check()
        time.sleep(1.0)


def print_logs() -> None:
    """The last lines of every log, for whoever has to find out what went wrong."""
    for log in sorted(
        [*WORK.glob("*.log"), *WORK.glob("data/logs/*.log"), *WORK.glob("data/kafka/logs/*.log")]
    ):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        if lines:
            console.print(f"\n[bold]{log.relative_to(ROOT)}[/]")
            console.print("\n".join(line[:300] for line in lines), markup=False)


def take_work_folder() -> TextIO:
    """An empty .demo/, and the lock on it: two demos would write over each other."""
    WORK.mkdir(exist_ok=True)
    lock = (WORK / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise DemoError(f"another demo is running in {ROOT}: end that one first") from None
    for entry in WORK.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()
    return lock


def main() -> int:
    parser = argparse.ArgumentParser(description="Two candidates for the support desk's model.")
    parser.add_argument("--keep", action="store_true", help="stay up afterwards, until Ctrl-C")
    parser.add_argument(
        "--broker", choices=["embedded", "kafka"], default="embedded", help="as of `shadowlane up`"
    )
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job starts with Ctrl-C ignored
        signal.signal(number, signal.default_int_handler)
    processes = Processes(WORK)
    came_out = False
    try:
        with take_work_folder():
            try:
                came_out = demonstrate(processes, arguments.keep, arguments.broker)
            except DemoError:
                print_logs()
                raise
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # stopping is bounded, and leaves nothing behind
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                with step("stopping everything"):
                    processes.stop()
    except DemoError as exc:
        console.print(f"\n[red]✗[/] {exc}", markup=True)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    return 0 if came_out else 1


if __name__ == "__main__":
    sys.exit(main())
