"""The whole system under fire: broker and store behind proxies, `shadowlane up --no-servers`, and the models."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import clickhouse_connect
import orjson
import yaml

from benchmarks.system import SHADOWLANE, System, SystemFailedError, process
from faults.brokers import Apache, Broker, Embedded
from faults.proxy import Proxy
from faults.traffic import wait_until
from shadowlane.embedded.broker import wait_until_ready
from shadowlane.errors import StoreError
from shadowlane.processors.store import connect
from shadowlane.schemas.config import ClickHouse
from tests.services import free_ports

# Short waits, so that what takes minutes in production takes seconds here.
SETTINGS: dict[str, Any] = {
    "kafka": {"session_timeout_s": 6.0, "partitions": 4},
    "worker": {"timeout_s": 5.0, "retry_max_s": 2.0, "drain_s": 3.0},
    "sink": {"max_wait_s": 0.2},
    "controller": {"poll_s": 1.0, "bucket_s": 5, "close_after_s": 2.0, "lease_s": 4.0},
}


@dataclass
class Store:
    """The embedded store, on data that stays."""

    data: Path
    port: int
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "shadowlane.embedded.store"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--data", str(self.data), "--port", str(self.port)],
                stdout=log,
                stderr=log,
                env=os.environ | self.environment,
                start_new_session=True,
            )
        wait_until(self.answers, "the store answers", 60)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def answers(self) -> bool:
        try:
            connect(ClickHouse(port=self.port), timeout_s=2).close()
        except StoreError:
            if self.process is not None and self.process.poll() is not None:
                raise SystemFailedError(f"the store ended: {self.log.read_text()[-2000:]}") from None
            return False
        return True


@dataclass
class Stack:
    """All of it. ``system`` is `shadowlane up`, as benchmarks/system.py has it."""

    system: System
    broker: Broker
    store: Store
    store_proxy: Proxy
    model_port: int
    extra: contextlib.ExitStack

    def model(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.model_port}/{behaviour}/v1"

    def pid(self, component: str) -> int:
        """Of a component that runs; waits for one that is being started."""
        found: list[int] = []

        def there() -> bool:
            pid = self.system.component_pid(component)
            found[:] = [pid] if pid else []
            return bool(pid)

        wait_until(there, f"{component} runs", 30)
        return found[0]

    def set_pace(self, seconds: float) -> None:
        """How long the model ``paced`` takes from now on."""
        address = f"http://127.0.0.1:{self.model_port}/pace/{seconds}"
        urllib.request.urlopen(urllib.request.Request(address, method="PUT"), timeout=10).close()

    def status(self) -> dict[str, dict[str, Any]]:
        """What `shadowlane status` says now, by part."""
        said = orjson.loads(self.system.run("status", "--json", check=False))
        return {part["name"]: part for part in said["parts"]}

    def log(self, component: str) -> str:
        path = self.system.folder / "data" / "logs" / f"{component}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def audit(self, rollout: str) -> dict[str, Any]:
        """What `shadowlane audit` proves of one rollout's requests."""
        found: dict[str, Any] = orjson.loads(self.system.run("audit", rollout, "--json", check=False))
        return found

    def query(self, sql: str, **parameters: Any) -> list[Any]:
        """Rows from the store, past the proxy."""
        client = clickhouse_connect.get_client(port=self.store.port, database="shadowlane")
        try:
            return list(client.query(sql, parameters=parameters).result_rows)
        finally:
            client.close()

    def starts(self, component: str) -> int:
        """How often a component has said that it has started."""
        return self.log(component).count(STARTED[component])

    def await_started(self, component: str, count: int) -> None:
        """Until it has said so ``count`` times in all."""
        wait_until(lambda: self.starts(component) >= count, f"{component} is started again", 60)

    @contextlib.contextmanager
    def without(self, components: list[str]) -> Iterator[None]:
        """They are stopped in order, and `up` starts them again only after the block."""
        up = self.system.process
        pids = [self.pid(component) for component in components]
        up.send_signal(signal.SIGSTOP)
        try:
            for pid in pids:
                os.kill(pid, signal.SIGTERM)
            for pid in pids:
                wait_until(lambda pid=pid: _is_gone(pid), f"process {pid} ends", 40)  # type: ignore[misc]
            yield
        finally:
            up.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def second(self, component: str) -> Iterator[subprocess.Popen[bytes]]:
        """One more process of a component, beside that of `up`, from its first line in the log to the end."""
        path = self.system.folder / f"second-{component}-{time.monotonic_ns()}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [*SHADOWLANE, "run", component, "--config", str(self.system.config)],
                stdout=log,
                stderr=log,
                env=self.system.environment,
                start_new_session=True,
            )
        try:
            wait_until(lambda: STARTED[component] in path.read_text(), f"a second {component} runs", 40)
            yield process
        finally:
            process.terminate()
            process.wait(30)


def _is_gone(pid: int) -> bool:
    """Whether it has ended, be it that nobody has taken note of it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


STARTED = {
    "worker": "worker started",
    "pairing": "pairing starts",
    "sink": "sink started",
    "controller": "controller started",
}


def rollout(name: str, base_url: str, **more: Any) -> dict[str, Any]:
    """A rollout of one stage whose verdict 200 pairs can reach."""
    candidate = {"model": "desk-2", "base_url": base_url} | more.pop("candidate", {})
    return {
        "name": name,
        "match": {"service": name},
        "stable": {"model": "desk-1"},
        "candidate": candidate,
        "scorers": [
            {"name": "answered", "quality_weight": 1},
            {"name": "json_fields", "quality_weight": 1},
            {"name": "exact"},
        ],
        "success_criteria": {"error_rate": "<4%", "quality_score": ">0.80"},
        "auto_rollback": {"trigger": "error_rate > 4%"},
        "margin": 0.1,
        "stages": [{"name": "shadow", "duration_hours": 0, "traffic_cycle_hours": 0, "min_pairs": 100}],
    } | more


@dataclass
class Plan:
    """What a stack is started with, beyond the ordinary."""

    rollouts: list[tuple[str, str, dict[str, Any]]]  # name, the candidate's behaviour, more of it
    nodes: int = 1
    wait_s: float = 60.0  # for the other half: longer than what is broken is away, on a slow machine too
    environment: dict[str, str] = field(default_factory=dict)  # of every command
    up_environment: dict[str, str] = field(default_factory=dict)  # of the components alone
    store_environment: dict[str, str] = field(default_factory=dict)
    store_data: Path | None = None
    broker_data: Path | None = None
    broker_max_bytes: int | None = None  # of the embedded one
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)  # over those of every stack, by section


@contextlib.contextmanager
def running(folder: Path, kind: str, plan: Plan) -> Iterator[Stack]:
    """The stack on ports of its own, until the end of the block. Raises SystemFailedError."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        model_port, store_port, store_proxy_port = free_ports(3)
        broker: Broker = (
            Embedded(folder, stack, plan.broker_max_bytes)
            if kind == "embedded"
            else Apache(folder, stack, plan.nodes, plan.broker_data)
        )
        store = Store(
            plan.store_data or folder / "store", store_port, folder / "store.log", plan.store_environment
        )
        store.start()
        stack.callback(store.kill)
        store_proxy = stack.enter_context(Proxy(store_port, store_proxy_port).running())
        late_s = 3 * plan.wait_s  # where pairing is behind itself, too
        model = stack.enter_context(
            process(
                [sys.executable, "-m", "faults.model", "--port", str(model_port), "--late-s", str(late_s)],
                folder / "model.log",
                dict(os.environ),
            )
        )
        wait_until(
            lambda: model.poll() is None and "ready" in (folder / "model.log").read_text(),
            "models answer",
            30,
        )
        settings = {key: dict(value) for key, value in SETTINGS.items()}
        settings["pairing"] = {"wait_s": plan.wait_s}
        settings["kafka"] |= {"bootstrap_servers": broker.address, "replication_factor": plan.nodes}
        settings["clickhouse"] = {"port": store_proxy_port}
        ports = {f"{name}_port": port for name, port in zip(STARTED, free_ports(len(STARTED)), strict=True)}
        settings["monitoring"] = {"stalled_after_s": 20.0, "lag_every_s": 2.0} | ports
        for section, changed in plan.settings.items():
            settings[section] = settings.get(section, {}) | changed
        config = folder / "shadowlane.yaml"
        candidate = f"http://127.0.0.1:{model_port}/{{}}/v1"
        rollouts = [rollout(name, candidate.format(arm), **more) for name, arm, more in plan.rollouts]
        config.write_text(
            yaml.safe_dump(settings | {"rollouts": rollouts}, sort_keys=False), encoding="utf-8"
        )
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SHADOWLANE_")}
        environment |= plan.environment
        wait_until_ready(broker.address, 30)
        up = stack.enter_context(
            process(
                [*SHADOWLANE, "up", "--no-servers", "--config", str(config), "--data", str(folder / "data")],
                folder / "up.log",
                environment | plan.up_environment,
            )
        )
        system = System(folder, settings | {"rollouts": rollouts}, config, up, environment)
        extra = stack.enter_context(contextlib.ExitStack())
        system.await_up(90)
        yield Stack(system, broker, store, store_proxy, model_port, extra)
