"""What the demo starts and stops, waits for and asks."""

import json
import os
import secrets
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired, run
from typing import Any

from rich.console import Console

SHADOWLANE = [sys.executable, "-m", "shadowlane.cli"]
console = Console(highlight=False, soft_wrap=True)


class DemoError(Exception):
    """The demo can't go on; the message says why."""


class Processes:
    """What the demo has started. Each in a session of its own, so that Ctrl-C reaches the demo alone."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._started: list[tuple[str, Popen[bytes], float]] = []

    def start(self, name: str, argv: list[str], patience: float = 10.0, **environment: str) -> None:
        """``patience``: how many seconds it may take to stop."""
        with (self._logs / f"{name}.log").open("ab") as log:
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

    def wait_for(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{what} took more than {seconds:.0f} s")
            time.sleep(0.2)

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
    """Below those that the system gives to clients: a port of those may be gone by the time a server has started."""
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(range(10_000, 32_000))
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found += [port] if port not in found else []
    return found


def read_json(url: str) -> Any:
    """What stands there as JSON; None while nobody answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own http address
            return json.loads(response.read())
    except (urllib.error.URLError, OSError, ValueError):
        return None


def ask_store(port: int, sql: str) -> list[dict[str, Any]]:
    """The rows of a query, by ClickHouse's own HTTP interface."""
    query = f"{sql} FORMAT JSONEachRow".encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", query, timeout=60) as response:
        return [json.loads(line) for line in response.read().splitlines()]


def ask(*arguments: str, config: Path) -> Any:
    """What one of shadowlane's own commands says with --json."""
    done = run([*SHADOWLANE, *arguments, "--json", "--config", str(config)], capture_output=True, check=False)
    if done.returncode:
        raise DemoError(
            f"shadowlane {' '.join(arguments)} failed: {done.stderr.decode(errors='replace').strip()}"
        )
    return json.loads(done.stdout)


def show(*arguments: str, config: Path) -> None:
    """One of shadowlane's own commands, as a user would type it, with what it prints."""
    console.print(f"\n[bold]$ shadowlane {' '.join(arguments)}[/]")
    sys.stdout.flush()
    width = {} if console.is_terminal else {"COLUMNS": "110"}
    environment = os.environ | width | {"SHADOWLANE_CONFIG": str(config)}
    if run([*SHADOWLANE, *arguments], env=environment, check=False).returncode:
        raise DemoError(f"shadowlane {' '.join(arguments)} failed")
