"""The demo: two candidates for the support desk's model on the same traffic, and a verdict on each.

Starts the models, shadowlane with its embedded servers, and the desk twice; sends the traffic; prints both
reports; checks that the good candidate is promoted, that the one with the subtle fault is rolled back, and that
both ledgers add up; and stops all of it. Exit code 0 if everything came out so, 1 if not.

    python demo.py [--keep]

What it writes is in .demo/ beside the Makefile: logs, the store's data, the reports as JSON.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired, run
from typing import Any, TextIO

from rich.console import Console

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / ".demo"
SHADOWLANE = [sys.executable, "-m", "shadowlane.cli"]
PASSES = 5  # of the 306 tickets, to each desk
DESKS = {"desk-2": "support-desk-eu", "desk-2-mini": "support-desk-us"}  # rollout -> service
WANTED = {"desk-2": "promote", "desk-2-mini": "roll_back"}
SETTLE_SECONDS = 60.0

console = Console(highlight=False, soft_wrap=True)


class DemoError(Exception):
    """The demo can't go on; the message says why."""


class Processes:
    """What the demo has started. Each in a session of its own, so that Ctrl-C reaches the demo alone."""

    def __init__(self) -> None:
        self._started: list[tuple[str, Popen[bytes], float]] = []

    def start(self, name: str, argv: list[str], patience: float = 10.0, **environment: str) -> None:
        """``patience``: how many seconds it may take to stop."""
        with (WORK / f"{name}.log").open("ab") as log:
            process = Popen(
                argv,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | environment,
                start_new_session=True,
            )
        self._started.append((name, process, patience))

    def check(self) -> None:
        for name, process, _ in self._started:
            if process.poll() is not None:
                raise DemoError(f"{name} ended, with exit code {process.returncode}")

    def stop(self) -> None:
        """The last one first: services send what they hold while Kafka is still there."""
        for _, process, patience in reversed(self._started):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(patience)
                except TimeoutExpired:
                    console.print(f"  process {process.pid} does not stop; killing it", style="yellow")
            _kill_group(process.pid)
            process.wait()
        self._started.clear()


def _kill_group(pid: int) -> None:
    """What is left of a session, should anything have outlived the process that led it."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


@contextmanager
def step(what: str) -> Iterator[None]:
    """One line for one step; while it takes its time, something moves."""
    started = time.monotonic()
    with console.status(what):
        if not console.is_terminal:
            console.print(f"… {what}")
        yield
    console.print(f"[green]✓[/] {what} [dim]{time.monotonic() - started:.0f} s[/]")


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own http address
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_for(what: str, ready: Callable[[], bool], processes: Processes, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        processes.check()
        if time.monotonic() > deadline:
            raise DemoError(f"{what} took more than {seconds:.0f} s")
        time.sleep(0.2)


def write_config(kafka: int, store: int, models: int) -> Path:
    """The example's configuration with this run's ports in it."""
    text = (HERE / "shadowlane.yaml").read_text(encoding="utf-8")
    ports = {
        "127.0.0.1:9092": f"127.0.0.1:{kafka}",
        "port: 8123": f"port: {store}",
        "127.0.0.1:9100": f"127.0.0.1:{models}",
    }
    for old, new in ports.items():
        if old not in text:
            raise DemoError(f"shadowlane.yaml has no {old!r}, in whose place the demo puts {new!r}")
        text = text.replace(old, new)
    path = WORK / "shadowlane.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def read_report(rollout: str, config: Path) -> dict[str, Any]:
    done = run(
        [*SHADOWLANE, "report", rollout, "--json", "--config", str(config)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise DemoError(f"shadowlane report {rollout} failed: {done.stderr.decode(errors='replace').strip()}")
    report: dict[str, Any] = json.loads(done.stdout)
    (WORK / f"report-{rollout}.json").write_bytes(done.stdout)
    return report


def settle(config: Path, sent: int, processes: Processes) -> dict[str, dict[str, Any]]:
    """The reports, once every request that was sent is in its row of the ledger; else as they stand."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        processes.check()
        reports = {rollout: read_report(rollout, config) for rollout in DESKS}
        ledgers = [report["ledger"] for report in reports.values()]
        if all(ledger["eligible"] >= sent and not ledger["in_flight"] for ledger in ledgers):
            return reports
        if time.monotonic() > deadline:
            return reports
        time.sleep(1.0)


def faults(reports: dict[str, dict[str, Any]], sent: int) -> list[str]:
    """What did not come out as it should; nothing, if all is well."""
    found = []
    for rollout, report in reports.items():
        ledger = report["ledger"]
        if report["verdict"] != WANTED[rollout]:
            found.append(f"{rollout}: the verdict is {report['verdict']}, and should be {WANTED[rollout]}")
        if not ledger["adds_up"]:
            found.append(f"{rollout}: the ledger does not add up: {ledger}")
        if ledger["in_flight"]:
            found.append(f"{rollout}: {ledger['in_flight']} requests are still on their way: {ledger}")
        if ledger["eligible"] != sent:
            found.append(f"{rollout}: the ledger knows of {ledger['eligible']} requests; {sent} were sent")
    return found


def show(*arguments: str, config: Path) -> None:
    """One of shadowlane's own commands, as a user would type it, with what it prints."""
    console.print(f"\n[bold]$ shadowlane {' '.join(arguments)}[/]")
    sys.stdout.flush()
    width = {} if console.is_terminal else {"COLUMNS": "110"}
    environment = os.environ | width | {"SHADOWLANE_CONFIG": str(config)}
    if run([*SHADOWLANE, *arguments], env=environment, check=False).returncode:
        raise DemoError(f"shadowlane {' '.join(arguments)} failed")


def demonstrate(processes: Processes, keep: bool) -> bool:
    """All of it. Whether it came out as it should."""
    kafka, store, models, *desk_ports = free_ports(3 + len(DESKS))
    config = write_config(kafka, store, models)
    desks = {s: f"http://127.0.0.1:{port}" for s, port in zip(DESKS.values(), desk_ports, strict=True)}
    with step(
        "starting three models (desk-1, desk-2, desk-2-mini), and shadowlane with its embedded servers"
    ):
        processes.start("models", [sys.executable, str(HERE / "models.py"), "--port", str(models)])
        up = [*SHADOWLANE, "up", "--config", str(config), "--data", str(WORK / "data")]
        processes.start("shadowlane", up, patience=30.0)
        ask = [*SHADOWLANE, "status", "--config", str(config)]
        wait_for(
            "the start of the models", lambda: answers(f"http://127.0.0.1:{models}/v1/models"), processes, 30
        )
        wait_for(
            "the start of shadowlane",
            lambda: run([*ask, "--wait", "5"], stdout=DEVNULL, stderr=DEVNULL, check=False).returncode == 0,
            processes,
            90,
        )
    with step(f"starting the support desk twice, on desk-1, the mirror attached ({', '.join(desks)})"):
        for service, url in desks.items():
            processes.start(
                service,
                [sys.executable, str(HERE / "service.py"), "--port", url.rpartition(":")[2]],
                DESK_SERVICE=service,
                OPENAI_BASE_URL=f"http://127.0.0.1:{models}/v1",
                OPENAI_API_KEY="of-no-use-here",
                SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{kafka}",
            )
        for service, url in desks.items():
            wait_for(f"the start of {service}", partial(answers, f"{url}/health"), processes, 30)
    sent = PASSES * sum(1 for _ in (HERE / "tickets.jsonl").open(encoding="utf-8"))
    traffic = [sys.executable, str(HERE / "traffic.py"), *(f"{url}/triage" for url in desks.values())]
    console.print(
        f"  {sent:,} tickets to each desk; desk-2 is shadowed on the first, desk-2-mini on the second"
    )
    if run([*traffic, "--passes", str(PASSES)], check=False).returncode:
        raise DemoError("a desk did not answer every ticket")
    with step("waiting until every request is in its row of the ledger"):
        reports = settle(config, sent, processes)
    for rollout in DESKS:
        show("report", rollout, config=config)
    show("pairs", "desk-2-mini", "--worst", "3", config=config)
    wrong = faults(reports, sent)
    console.print()
    for fault in wrong:
        console.print(f"[red]✗[/] {fault}")
    if not wrong:
        for rollout, report in reports.items():
            verdict = report["verdict"].replace("_", " ")
            console.print(f"[green]✓[/] {rollout}: {verdict}, and the ledger of {sent:,} requests adds up")
    if keep:
        with suppress(KeyboardInterrupt):
            stay(processes, config, desks, store, models)
    return not wrong


def stay(processes: Processes, config: Path, desks: dict[str, str], store: int, models: int) -> None:
    """Everything stays up until Ctrl-C, with a word on where to look."""
    triage = " ".join(f"{url}/triage" for url in desks.values())
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
  {sys.executable} {HERE / "traffic.py"} {triage}

Which customers desk-2-mini fails, from ClickHouse itself:

  curl -s http://127.0.0.1:{store}/ --data-binary "{sql}"

  models           http://127.0.0.1:{models}/v1
{chr(10).join(f"  {name:<16} {url}/triage, {url}/health" for name, url in desks.items())}
  logs             {WORK}
""")  # fmt: skip
    while True:
        processes.check()
        time.sleep(1.0)


def print_logs() -> None:
    """The last lines of every log, for whoever has to find out what went wrong."""
    for log in sorted(WORK.rglob("*.log")):
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
    parser = argparse.ArgumentParser(description="Two candidates for the support desk's model, two verdicts.")
    parser.add_argument("--keep", action="store_true", help="stay up afterwards, until Ctrl-C")
    keep = parser.parse_args().keep
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job starts with Ctrl-C ignored
        signal.signal(number, signal.default_int_handler)
    processes = Processes()
    came_out = False
    try:
        with take_work_folder():
            try:
                came_out = demonstrate(processes, keep)
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
