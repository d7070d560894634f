"""`make soak`: a steady rate for half an hour, faults sprinkled in, memory looked at, and the ledger at the end.

python -m faults.soak [--minutes 30] [--rate 20] [--broker embedded|kafka] [--seed 1] [--json FILE]
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from faults.case import Case, PromiseBrokenError
from faults.stack import Plan, running
from faults.traffic import Traffic, steady
from faults.watched import COMPONENTS, processes, resident_mb
from shadowlane.producers import Mirror

SAMPLE_S = 5.0
WARM_UP = 0.3  # of the time: caches fill, pools grow
GROWTH = 1.1  # from the middle of what follows to its end, and
SLACK_MB = 16.0  # on top, for what comes and goes
console = Console(highlight=False, width=110)


@dataclass
class Memory:
    """Resident megabytes of each process by name, as (seconds, MB)."""

    samples: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, at: float, pid: int | None) -> None:
        if pid is not None and (rss := resident_mb(pid)) is not None:
            self.samples[name].append((at, rss))

    def flat(self, name: str, seconds: float) -> tuple[float, float, bool]:
        """(MB in the first half after the warm-up, MB in the second, whether that is flat): medians.

        A process that was killed begins small again, which a straight line through all samples would take for
        a trend; medians over minutes do not mind.
        """
        after = [(at, mb) for at, mb in self.samples[name] if at >= WARM_UP * seconds]
        middle = seconds * (1 + WARM_UP) / 2
        first = _median([mb for at, mb in after if at < middle])
        second = _median([mb for at, mb in after if at >= middle])
        return first, second, second <= GROWTH * first + SLACK_MB


def sparkline(values: list[float], width: int = 40) -> str:
    """The course of a series from 0 to its largest value, in so many characters."""
    if not values:
        return ""
    step = max(1, len(values) // width)
    shown = [max(values[at : at + step]) for at in range(0, len(values), step)]
    top = max(shown) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * value / top))] for value in shown)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def _kill(component: str) -> Callable[[Case], None]:
    def strike(case: Case) -> None:
        case.kill(component)

    return strike


def _stop(component: str) -> Callable[[Case], None]:
    def strike(case: Case) -> None:
        pid = case.kill(component, signal.SIGSTOP)
        time.sleep(4)
        os.kill(pid, signal.SIGCONT)

    return strike


def _store_killed(case: Case) -> None:
    case.stack.store.kill()
    case.stack.store.start()


def _store_cut(case: Case) -> None:
    case.stack.store_proxy.cut()
    time.sleep(5)
    case.stack.store_proxy.heal()


def _broker_cut(case: Case) -> None:
    for proxy in case.stack.broker.proxies:
        proxy.cut()
    time.sleep(4)
    for proxy in case.stack.broker.proxies:
        proxy.heal()


STRIKES: dict[str, Callable[[Case], None]] = {
    **{f"{component} killed": _kill(component) for component in COMPONENTS},
    **{f"{component} stopped for 4 s": _stop(component) for component in COMPONENTS},
    "store killed and back": _store_killed,
    "store cut off for 5 s": _store_cut,
    "broker cut off for 4 s": _broker_cut,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="kafka")
    parser.add_argument("--every", type=float, default=60.0, help="seconds from one fault to the next, about")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    seconds = 60 * arguments.minutes
    with (
        tempfile.TemporaryDirectory(prefix="shadowlane-soak-") as folder,
        running(Path(folder), arguments.broker, Plan([("soak", "good", {})])) as stack,
    ):
        case = Case("soak", stack, {}, "good", count=int(seconds * arguments.rate), seconds=seconds)
        mirror = Mirror(service="soak", kafka=stack.broker.address)
        case.traffic = Traffic(mirror, stack.model("stable"), case.count, seconds, moments=steady)
        memory, struck = soak(case, seconds, arguments.every, arguments.seed)
        kept, told = True, ""
        try:
            report = case.settle()
            case.exact(report)
            ledger = report["ledger"]
            if ledger["scored"] != case.traffic.sent:
                raise PromiseBrokenError(f"sent {case.traffic.sent}, ledger {ledger}")
            told = f"{case.traffic.sent:,} sent, {ledger['scored']:,} scored, the audit adds up, {report['verdict']}"
        except PromiseBrokenError as exc:
            kept, told = False, str(exc)
    console.print(
        f"\n{arguments.minutes:g} minutes at {arguments.rate:g}/s, {len(struck)} faults on {arguments.broker}"
    )
    grows = show(memory, seconds)
    console.print(told, style="green" if kept else "red", markup=False)
    if arguments.json:
        arguments.json.write_bytes(
            orjson.dumps({"ledger": told, "kept": kept, "faults": struck, "memory": dict(memory.samples)})
        )
    return 0 if kept and not grows else 1


def soak(case: Case, seconds: float, every: float, seed: int) -> tuple[Memory, list[tuple[float, str]]]:
    """The traffic with its faults; gives what the memory was, and what struck when."""
    draw, memory, struck = random.Random(seed), Memory(), list[tuple[float, str]]()
    over, started = threading.Event(), time.monotonic()

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            at = time.monotonic() - started
            for name, pid in processes(case.stack).items():
                memory.add(name, at, pid)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    case.traffic.start()
    names = list(STRIKES)
    while (at := time.monotonic() - started) < seconds - every:
        if over.wait(min(every * draw.uniform(0.7, 1.3), seconds - every - at)):
            break
        case.stack.system.alive()
        name = draw.choice(names)
        struck.append((round(time.monotonic() - started, 1), name))
        console.print(f"{struck[-1][0]:7.0f} s  {name}")
        STRIKES[name](case)
    case.traffic.wait()
    over.set()
    watcher.join()
    return memory, struck


def show(memory: Memory, seconds: float) -> list[str]:
    """Prints the table; gives the names of those that grow."""
    table = Table(box=None, pad_edge=False)
    for column in ("resident memory", "from", "to", "", "course"):
        table.add_column(column, justify="right" if column in ("from", "to") else "left")
    grows = []
    for name, samples in memory.samples.items():
        first, second, flat = memory.flat(name, seconds)
        if not flat:
            grows.append(name)
        course = sparkline([mb for _, mb in samples])
        table.add_row(
            name, f"{first:.0f} MB", f"{second:.0f} MB", "flat" if flat else "[red]grows[/]", course
        )
    console.print(table)
    return grows


if __name__ == "__main__":
    sys.exit(main())
