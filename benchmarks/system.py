"""The whole system on free ports, through its own commands, from nothing until it is stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml

from tests.services import free_ports

START_SECONDS = 180.0
SHADOWLANE = [sys.executable, "-m", "shadowlane.cli"]


class SystemFailedError(RuntimeError):
    """A process of the system ended, or what was awaited did not come. The text has the logs' last lines."""


@dataclass
class System:
    """A running `shadowlane up`. ``settings`` is its configuration, written to ``config``."""

    folder: Path
    settings: dict[str, Any]
    config: Path
    process: subprocess.Popen[bytes]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def kafka(self) -> str:
        address: str = self.settings["kafka"]["bootstrap_servers"]
        return address

    def run(self, *arguments: str, check: bool = True) -> str:
        """The output of one command of shadowlane with this system's configuration; of one that fails, where it has
        an answer all the same (``status``, ``audit``), without ``check``."""
        done = subprocess.run(
            [*SHADOWLANE, *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            env=self.environment,
        )
        if done.returncode and (check or not done.stdout):
            raise SystemFailedError(f"shadowlane {' '.join(arguments)}: {done.stderr}{done.stdout}")
        return done.stdout

    def report(self, rollout: str | None = None) -> dict[str, Any]:
        document: dict[str, Any] = orjson.loads(self.run("report", *([rollout] if rollout else []), "--json"))
        return document

    def settle(
        self,
        requests: int,
        rollout: str | None = None,
        timeout: float = 120,
        tell: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """The report once all ``requests`` are in the ledger and none is on its way. Raises SystemFailedError."""
        deadline = time.monotonic() + timeout
        while True:
            self.alive()
            report = self.report(rollout)
            ledger = report["ledger"]
            if ledger["eligible"] >= requests and not ledger["in_flight"]:
                return report
            if tell:
                tell(f"{ledger['scored']:,} scored, {ledger['in_flight']:,} in flight")
            if time.monotonic() > deadline:
                raise SystemFailedError(f"not settled after {timeout:.0f} s: {ledger}\n{self.logs()}")
            time.sleep(0.5)

    def component_pid(self, name: str) -> int | None:
        """The process of one component, found below `up`."""
        for line in subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True
        ).stdout.splitlines():
            pid, _, command = line.strip().partition(" ")
            if f" run {name} " in f"{command} ":
                return int(pid)
        return None

    def await_up(self, seconds: float) -> None:
        """Until `status` says that all is up. Raises SystemFailedError."""
        deadline = time.monotonic() + seconds
        status = [*SHADOWLANE, "status", "--wait", "20", "--config", str(self.config)]
        while (
            done := subprocess.run(status, capture_output=True, text=True, env=self.environment)
        ).returncode:
            self.alive()
            if time.monotonic() > deadline:
                raise SystemFailedError(f"not up after {seconds:g} s\n{done.stdout}\n{self.logs()}")
        self.alive()

    def alive(self) -> None:
        if self.process.poll() is not None:
            raise SystemFailedError(f"shadowlane up ended with {self.process.returncode}\n{self.logs()}")

    def logs(self, lines: int = 15) -> str:
        """The last lines of every log."""
        parts = []
        for path in [self.folder / "up.log", *sorted((self.folder / "data" / "logs").glob("*.log"))]:
            if path.exists():
                text = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
                parts.append("\n".join([f"--- {path.name}", *text]))
        return "\n".join(parts)


@contextlib.contextmanager
def running(folder: Path, settings: dict[str, Any], *options: str) -> Iterator[System]:
    """`shadowlane up` with these settings and options; stopped at the end.

    Addresses that the settings do not give are free ports of this machine.

    Raises:
        SystemFailedError: it does not come up within START_SECONDS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    broker_port, store_port = free_ports(2)
    settings = settings | {
        "kafka": {"bootstrap_servers": f"127.0.0.1:{broker_port}"} | settings.get("kafka", {}),
        "clickhouse": {"port": store_port} | settings.get("clickhouse", {}),
    }
    config = folder / "shadowlane.yaml"
    config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SHADOWLANE_")}
    command = [*SHADOWLANE, "up", "--config", str(config), "--data", str(folder / "data"), *options]
    with process(command, folder / "up.log", environment) as up:
        system = System(folder, settings, config, up, environment)
        system.await_up(START_SECONDS)
        yield system


@contextlib.contextmanager
def process(argv: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process, until the end of the block: SIGTERM, and SIGKILL to its session where that is not enough."""
    with log.open("wb") as out:
        started = subprocess.Popen(argv, stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        yield started
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGTERM)
        try:
            started.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
