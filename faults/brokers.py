"""The brokers of the fault suite, each behind a proxy: what a client is told to connect to is the proxy's address."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from benchmarks.system import free_ports
from faults.proxy import Proxy
from shadowlane.embedded import broker as embedded
from shadowlane.embedded.broker import wait_until_ready

START_S = 60.0


class Broker(Protocol):
    """A running broker, or several."""

    kind: str
    proxies: list[Proxy]  # by node

    @property
    def address(self) -> str:
        """Bootstrap servers: of the proxies."""
        ...

    def kill(self, node: int = 0) -> None:
        """SIGKILL."""
        ...

    def stop(self, node: int = 0) -> None:
        """SIGTERM, and waits."""
        ...

    def start(self, node: int = 0) -> None:
        """On the same data, where it keeps any. Blocks until it answers."""
        ...


class Nodes:
    """What both kinds have in common: processes behind proxies."""

    kind = ""

    def __init__(self, nodes: int, folder: Path, stack: ExitStack) -> None:
        ports = free_ports(3 * nodes)
        self.folder = folder
        self.ports = ports[:nodes]
        self.controllers = ports[nodes : 2 * nodes]
        self.proxies = [
            stack.enter_context(Proxy(target, port).running())
            for target, port in zip(self.ports, ports[2 * nodes :], strict=True)
        ]
        self.processes: list[subprocess.Popen[bytes] | None] = [None] * nodes
        stack.callback(self._end)

    @property
    def address(self) -> str:
        return ",".join(f"127.0.0.1:{proxy.port}" for proxy in self.proxies)

    def kill(self, node: int = 0) -> None:
        self._signal(node, signal.SIGKILL)

    def stop(self, node: int = 0) -> None:
        self._signal(node, signal.SIGTERM)

    def start(self, node: int = 0) -> None:
        self.launch(node)
        wait_until_ready(f"127.0.0.1:{self.ports[node]}", START_S)

    def launch(self, node: int) -> None:
        argv, environment = self._command(node)
        with (self.folder / f"broker-{node}.log").open("ab") as log:
            self.processes[node] = subprocess.Popen(
                argv, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def _command(self, node: int) -> tuple[list[str], dict[str, str]]:
        raise NotImplementedError

    def _signal(self, node: int, number: signal.Signals) -> None:
        process = self.processes[node]
        if process is not None:
            process.send_signal(number)
            process.wait(60)

    def _end(self) -> None:
        for process in self.processes:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


class Embedded(Nodes):
    """Tansu, in memory: started again, it is empty."""

    kind = "embedded"

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(1, folder, stack)
        self.start()

    def _command(self, node: int) -> tuple[list[str], dict[str, str]]:
        argv, environment = embedded.command(self.ports[node])
        return argv, environment | {"ADVERTISED_LISTENER_URL": f"tcp://127.0.0.1:{self.proxies[node].port}"}


PROPERTIES = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{proxy}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=5
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr=1
min.insync.replicas={in_sync}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=4000
message.max.bytes=33554432
replica.fetch.max.bytes=33554432
log.segment.bytes=16777216
log.index.size.max.bytes=65536
"""


class Apache(Nodes):
    """Apache Kafka in KRaft mode, one node or three, with data that outlives it."""

    kind = "kafka"

    def __init__(self, folder: Path, stack: ExitStack, nodes: int = 1, data: Path | None = None) -> None:
        super().__init__(nodes, folder, stack)
        self.data = data or folder / "kafka"
        voters = ",".join(f"{n + 1}@127.0.0.1:{port}" for n, port in enumerate(self.controllers))
        self.libraries = Path(os.environ["SHADOWLANE_KAFKA_LIBS"])
        for node in range(nodes):
            directory = self.data / str(node)
            directory.mkdir(parents=True)
            properties = folder / f"broker-{node}.properties"
            properties.write_text(
                PROPERTIES.format(
                    node=node + 1,
                    voters=voters,
                    port=self.ports[node],
                    controller=self.controllers[node],
                    proxy=self.proxies[node].port,
                    data=directory,
                    replicas=nodes,
                    in_sync=max(1, nodes - 1),
                )
            )
            self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties))
        for node in range(nodes):
            self.launch(node)
        for port in self.ports:
            wait_until_ready(f"127.0.0.1:{port}", START_S)

    def _command(self, node: int) -> tuple[list[str], dict[str, str]]:
        properties = self.folder / f"broker-{node}.properties"
        return self._java_command("kafka.Kafka", str(properties)), dict(os.environ)

    def _java_command(self, *arguments: str) -> list[str]:
        java = shutil.which("java") or "java"
        return [java, "-Xmx320m", "-XX:+UseSerialGC", "-cp", f"{self.libraries}/*", *arguments]

    def _java(self, *arguments: str) -> None:
        done = subprocess.run(self._java_command(*arguments), capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{arguments[0]}: {done.stderr or done.stdout}")


CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
