"""The brokers of the fault suite, each behind a proxy: what a client is told to connect to is the proxy's address."""

import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from faults.proxy import Proxy
from shadowlane.embedded import broker as embedded
from shadowlane.embedded.broker import wait_until_ready
from shadowlane.embedded.kafka import Cluster
from shadowlane.embedded.kafka.settings import HOST, Layout
from tests.services import free_ports, free_ports_in_a_row


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


class Embedded:
    """Tansu, on data that outlives it."""

    kind = "embedded"

    def __init__(self, folder: Path, stack: ExitStack, max_bytes: int | None = None) -> None:
        self.max_bytes = max_bytes or embedded.DEFAULT_LIMIT
        port, proxy = free_ports(2)
        self.port, self.log, self.data = port, folder / "broker.log", folder / "broker"
        self.proxies = [stack.enter_context(Proxy(port, proxy).running())]
        self.start()
        stack.callback(self.kill)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.proxies[0].port}"

    def kill(self, node: int = 0) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, node: int = 0) -> None:
        self.process.terminate()
        self.process.wait()

    def start(self, node: int = 0) -> None:
        argv = embedded.command(self.port, self.data, limit=self.max_bytes, advertised=self.proxies[0].port)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        wait_until_ready(f"{HOST}:{self.port}", 60)


@dataclass(frozen=True, slots=True)
class Proxied(Layout):
    """Nodes that send their clients on to the proxies, and take 20 MB."""

    proxies: tuple[int, ...] = ()

    def properties(self, number: int) -> str:
        told = f"PLAINTEXT://{HOST}:{self.proxies[number - 1]}"
        changed = {
            "advertised.listeners": told,
            "message.max.bytes": str(32 * 2**20),
            "replica.fetch.max.bytes": str(32 * 2**20),
            # Small files, or a small disk would be full of what Kafka keeps free for later.
            "log.segment.bytes": str(48 * 2**20),
            "log.index.size.max.bytes": str(64 * 2**10),
        }
        kept = [
            line
            for line in Layout.properties(self, number).splitlines()
            if line.partition("=")[0] not in changed
        ]
        return "\n".join([*kept, *(f"{name}={value}" for name, value in changed.items()), ""])


class Apache:
    """Apache Kafka in KRaft mode, one node or three, with data that outlives it."""

    kind = "kafka"

    def __init__(self, folder: Path, stack: ExitStack, nodes: int = 1, data: Path | None = None) -> None:
        port = free_ports_in_a_row(2 * nodes)
        self.proxies = [
            stack.enter_context(Proxy(port + number, proxy).running())
            for number, proxy in enumerate(free_ports(nodes))
        ]
        self.data = data or folder / "kafka"
        self.cluster = Cluster(self.data, nodes, port)
        self.cluster.layout = Proxied(self.data, nodes, port, tuple(proxy.port for proxy in self.proxies))
        self.cluster.start()
        stack.callback(self.cluster.stop)

    @property
    def address(self) -> str:
        return ",".join(f"{HOST}:{proxy.port}" for proxy in self.proxies)

    def kill(self, node: int = 0) -> None:
        self.cluster.kill_node(node + 1)

    def stop(self, node: int = 0) -> None:
        self.cluster.stop_node(node + 1)

    def start(self, node: int = 0) -> None:
        self.cluster.start_node(node + 1)
