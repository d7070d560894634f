"""The memory of every process of a stack, sampled while something goes on, beside what each may take."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faults.brokers import Apache, Embedded
from faults.stack import Stack

SAMPLE_S = 0.5
COMPONENTS = ("worker", "pairing", "sink", "controller")
SERVICE = "service with the mirror"


def resident_mb(pid: int) -> float | None:
    """None where the process is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def processes(stack: Stack) -> dict[str, int | None]:
    """The processes of a stack by name; None for one that does not run now."""
    broker, store = stack.broker, stack.store.process
    found: dict[str, int | None] = {
        **{component: stack.system.component_pid(component) for component in COMPONENTS},
        "store": store.pid if store else None,
        "up": stack.system.process.pid,
        SERVICE: os.getpid(),
    }
    if isinstance(broker, Apache):
        found["broker"] = broker.cluster.pids.get(1)
    elif isinstance(broker, Embedded):
        found["broker"] = broker.process.pid
        found["broker, Tansu"] = _child(broker.process.pid)
    return found


def _child(pid: int) -> int | None:
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return int(done.stdout.split()[0]) if done.stdout.split() else None


@dataclass
class Memory:
    """Megabytes of each process: before, and at the most."""

    before: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)

    def over(self, allowed: dict[str, float]) -> list[str]:
        """Those that took more on top of what they had before than they may, as sentences."""
        return [
            f"{name} took {self.most[name]:.0f} MB, {self.before[name]:.0f} before, and may take {more:g} more"
            for name, more in allowed.items()
            if name in self.before and self.most[name] > self.before[name] + more
        ]

    def add(self, sample: dict[str, float]) -> None:
        for name, mb in sample.items():
            self.before.setdefault(name, mb)
            self.most[name] = max(mb, self.most.get(name, 0.0))


@contextlib.contextmanager
def memory_of(stack: Stack) -> Iterator[Memory]:
    """Sampled until the end of the block."""
    memory, over = Memory(), threading.Event()

    def sample() -> None:
        named = ((name, resident_mb(pid)) for name, pid in processes(stack).items() if pid)
        memory.add({name: mb for name, mb in named if mb})

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            sample()

    sample()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        over.set()
        watcher.join()
