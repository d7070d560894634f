"""`shadowlane up`: the commands that production runs, each its own process, and the two embedded servers."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen, TimeoutExpired

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shadowlane.cli import EXIT_CONFIG, EXIT_POISON
from shadowlane.cli.store import connected
from shadowlane.cli.up_status import Progress
from shadowlane.embedded.broker import check_port_is_free, wait_until_ready
from shadowlane.embedded.kafka.jars import jars
from shadowlane.errors import BrokerError, ConfigError, ShadowlaneError, StoreError
from shadowlane.evaluators.check import check
from shadowlane.processors.kafka import ensure_topics
from shadowlane.processors.status import COMPONENTS, CONTROLLER
from shadowlane.processors.store import connect, migrate
from shadowlane.processors.watch import EXIT_STALLED, STALLED_STARTS
from shadowlane.schemas.config import Settings

# A component that stops is started again, as any orchestrator would; one that can't stay up is a fault to see.
RESTARTS_A_MINUTE = 5
STOP_SECONDS = 15.0
# How long a server may take until it answers, before it is given up: Kafka starts in 3 s, and on a busy machine in 60.
SERVER_SECONDS = 180.0


@dataclass
class Child:
    """One process of ours: how to start it, and what became of it."""

    name: str
    argv: list[str]
    log: Path
    process: Popen[bytes] | None = None
    started_at: list[float] = field(default_factory=list)
    log_start: int = 0  # where in its log this start's lines begin
    stalled: int = 0  # how often its watchdog ended it
    poisoned: bool = False  # stopped at dead_letters.limit: started again once a person says so

    def start(self, now: float) -> None:
        self.started_at.append(now)
        self.poisoned = False
        with self.log.open("ab") as log:
            self.log_start = log.tell()
            self.process = Popen(
                self.argv,
                stdout=log,
                stderr=log,
                env=os.environ | {STALLED_STARTS: str(self.stalled)},
                start_new_session=True,  # the terminal's Ctrl-C is ours to pass on, in order
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    @property
    def exit_code(self) -> int | None:
        return self.process.poll() if self.process else None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process and self.process.poll() is None else None

    def may_restart(self, now: float) -> bool:
        return sum(1 for at in self.started_at if now - at < 60) < RESTARTS_A_MINUTE

    def stop(self, seconds: float) -> None:
        """SIGTERM, and SIGKILL for what has not ended after so many seconds."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(seconds)
        except TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self, lines: int = 12) -> str:
        """The end of what it has said since it was last started."""
        said = self.log.read_bytes()[self.log_start :] if self.log.exists() else b""
        return "\n".join(said.decode(errors="replace").splitlines()[-lines:])


def run_up(
    settings: Settings, config: Path | None, data: Path, *, servers: bool, kafka: bool = False
) -> None:
    """Starts all, shows it, and stops all on SIGINT or SIGTERM. ``kafka``: Apache Kafka, not the embedded broker.

    Raises:
        ConfigError: an address that can't be ours to start a server at; a directory that can't be used;
            a component says that the configuration is wrong.
        BrokerError, StoreError: a server does not come up.
        ShadowlaneError: a component does not stay up.
    """
    check(settings)
    logs = data / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(
            f"the directory {data} can't be used ({exc.strerror}): choose another with --data"
        ) from exc
    stop, again = threading.Event(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: again.set())
    command = [sys.executable, "-m", "shadowlane.cli"]
    chosen = ["--config", str(config)] if config else []
    components = [
        Child(n, [*command, "run", n, *chosen], logs / f"{n}.log") for n in (*COMPONENTS, CONTROLLER)
    ]
    started: list[Child] = []
    console = Console()
    try:
        if servers:
            broker_port, store_port = _own_ports(settings, kafka=kafka)
            embedded = ["kafka", "--data", str(data / "kafka")]
            if not kafka:
                limit = str(settings.embedded.broker_max_bytes)
                embedded = ["broker", "--data", str(data / "broker"), "--limit", limit]
            broker = Child(
                "broker",
                [*command, "embedded", *embedded, "--port", str(broker_port)],
                logs / "broker.log",
            )
            if kafka:
                console.print("looking for Apache Kafka; the first time, it is fetched from Maven Central …")
                jars()
            store = Child(
                "store",
                [*command, "embedded", "store", "--data", str(data / "store"), "--port", str(store_port)],
                logs / "store.log",
            )
            console.print("starting broker and store …")
            for child in (broker, store):
                child.start(time.monotonic())
                started.append(child)
            _await(broker, lambda: wait_until_ready(settings.kafka.bootstrap_servers, 0.5), stop, BrokerError)
            _await(store, lambda: connect(settings.clickhouse, timeout_s=5).close(), stop, StoreError)
        if not stop.is_set():
            ensure_topics(settings.kafka)
            migrate(connected(settings), settings.clickhouse.database)
            for child in components:
                child.start(time.monotonic())
                started.append(child)
            _watch(console, settings, data, started, stop, again)
    finally:
        _stop_all(console, started, settings.worker.drain_s)


def _await(
    child: Child, ready: Callable[[], None], stop: threading.Event, error: type[ShadowlaneError]
) -> None:
    """Until a server answers. It is ours: if its process ends first, it will not."""
    deadline = time.monotonic() + SERVER_SECONDS
    while not stop.is_set():
        try:
            return ready()
        except ShadowlaneError as exc:
            if child.exit_code is not None:
                raise error(f"the embedded {child.name} did not start: {child.last_words(3)}") from exc
            if time.monotonic() > deadline:
                raise error(f"the embedded {child.name} does not answer: {exc}; see {child.log}") from exc
            stop.wait(0.1)


def _watch(
    console: Console,
    settings: Settings,
    data: Path,
    children: list[Child],
    stop: threading.Event,
    again: threading.Event,
) -> None:
    """The status lines, and a new start for a component that ended, until it is time to stop.

    ``again`` starts those that stopped at ``dead_letters.limit``.
    """
    progress = Progress(settings)
    restarts: dict[str, int] = {}
    head = f"shadowlane up: data in {data}, logs in {data / 'logs'}. Ctrl-C stops it."
    with Live(console=console, auto_refresh=False, transient=False) as live:
        if not console.is_terminal:
            console.print(head)
        printed, pages = "", dict[str, str]()
        while not stop.is_set():
            now = time.monotonic()
            if again.is_set():
                again.clear()
                _forgive(children, now, console)
            for child in children:
                if child.exit_code is not None and not child.poisoned:
                    _start_again(child, now, console)
                    restarts[child.name] = restarts.get(child.name, 0) + (not child.poisoned)
            lines = progress.lines()
            if console.is_terminal:
                live.update(
                    Group(
                        Text(head, style="bold"),
                        _table(children, restarts, progress.pages),
                        *map(Text, lines),
                    ),
                    refresh=True,
                )
            elif new := {name: page for name, page in progress.pages.items() if name not in pages}:
                pages |= new
                console.print("metrics and health:", *(f"{name} {page}" for name, page in new.items()))
            elif lines and "\n".join(lines) != printed:
                printed = "\n".join(lines)
                console.print(printed)
            stop.wait(1.0)


def _start_again(child: Child, now: float, console: Console) -> None:
    if child.exit_code == EXIT_CONFIG:  # it will say the same again
        raise ConfigError(f"{child.name} does not start:\n{child.last_words()}")
    if child.exit_code == EXIT_POISON:  # it would bury as many again, start after start
        child.poisoned = True
        console.print(
            f"{child.last_words(1)}\n{child.name} stays down, and the others go on. Then `kill -HUP {os.getpid()}` "
            "starts it again, with the configuration file as it is by then",
            style="red",
            markup=False,
            highlight=False,
        )
        return
    if not child.may_restart(now):
        raise ShadowlaneError(
            f"{child.name} ended {RESTARTS_A_MINUTE} times within a minute (exit code {child.exit_code}); "
            f"its last words, in {child.log}:\n{child.last_words()}"
        )
    child.stalled += child.exit_code == EXIT_STALLED
    console.print(f"{child.name} ended with exit code {child.exit_code}; starting it again (see {child.log})")
    child.start(now)


def _forgive(children: list[Child], now: float, console: Console) -> None:
    """Starts the components again that stopped at the limit of dead letters: a person has seen to it."""
    for child in children:
        if child.poisoned:
            console.print(f"starting {child.name} again")
            child.start(now)


def _table(children: list[Child], restarts: dict[str, int], pages: dict[str, str]) -> Table:
    grid = Table(box=None, pad_edge=False, show_header=False)
    for child in children:
        again = restarts.get(child.name, 0)
        down = "down: too many dead letters" if child.poisoned else "down"
        state = Text("up" if child.pid else down, style="green" if child.pid else "red")
        times = "once" if again == 1 else f"{again} times"
        page = Text(f"{pages[child.name]}/metrics" if child.name in pages else "", "dim")
        grid.add_row(
            child.name, state, f"pid {child.pid or '-'}", page, f"started again {times}" if again else ""
        )
    return grid


def _stop_all(console: Console, started: list[Child], drain: float) -> None:
    """Components first, while the servers can still take what they hold."""
    if not started:
        return
    servers = [child for child in started if child.name in ("broker", "store")]
    components = [child for child in started if child not in servers]
    for group in (components, servers):
        if group:
            console.print(f"stopping {', '.join(child.name for child in group)} …")
        for child in group:
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)
        for child in group:
            child.stop(drain + STOP_SECONDS)
    console.print("stopped")


def _own_ports(settings: Settings, *, kafka: bool) -> tuple[int, int]:
    """The ports of the broker and the store, where the configured addresses are this machine's and free.

    Apache Kafka takes the port after its own as well, for its controller.
    """
    host, _, port = settings.kafka.bootstrap_servers.rpartition(":")
    if host not in ("127.0.0.1", "localhost") or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(
            f"kafka.bootstrap_servers is {settings.kafka.bootstrap_servers}: the embedded broker serves "
            "127.0.0.1:PORT alone; use that, or start with --no-servers to use what is there"
        )
    if settings.clickhouse.host not in ("127.0.0.1", "localhost"):
        raise ConfigError(
            f"clickhouse.host is {settings.clickhouse.host}: the embedded store serves 127.0.0.1 alone; "
            "use that, or start with --no-servers to use what is there"
        )
    brokers = [int(port), int(port) + 1] if kafka else [int(port)]
    if settings.clickhouse.port in brokers:
        both = "both name" if settings.clickhouse.port == int(port) else "both need"
        raise ConfigError(
            f"kafka.bootstrap_servers and clickhouse.port {both} port {settings.clickhouse.port}: give each its own"
        )
    keys = dict.fromkeys(brokers, "kafka.bootstrap_servers") | {settings.clickhouse.port: "clickhouse.port"}
    for number, key in keys.items():
        try:
            check_port_is_free(number)
        except BrokerError as exc:
            raise ConfigError(
                f"port {number} is taken (another shadowlane up?): free it, choose another one in {key}, "
                "or start with --no-servers to use what is there"
            ) from exc
    return int(port), settings.clickhouse.port


def _die_with_parent() -> None:
    """In the child, before exec: if `up` is killed, its children go too (prctl PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
