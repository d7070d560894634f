"""A cluster of Kafka on one machine, and who owns its data."""

import fcntl
import json
import os
import time
import uuid
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from shadowlane.embedded.broker import check_port_is_free
from shadowlane.embedded.kafka.jars import VERSION, jars
from shadowlane.embedded.kafka.node import Node
from shadowlane.embedded.kafka.settings import DEFAULT_PORT, Layout
from shadowlane.errors import BrokerError

# A node starts in 3 s, and in a minute where twenty others want the processor.
START_SECONDS = 180.0
# How long a stop in order may take. The last nodes of three wait in vain for the others to take over.
STOP_SECONDS = 10.0
# How long the data may still be another's: nodes whose owner was killed take a moment to be gone.
_OWNER_SECONDS = 5.0


class Cluster:
    """One node of Apache Kafka, or three, on 127.0.0.1, with their data in ``data``.

    Nodes are counted from 1. Brokers listen on ``port`` … ``port + nodes - 1``, their controllers on as many
    ports after these. Topics, records, groups and offsets are there again after any end, also that of SIGKILL.

    The nodes end with the *thread* that started them, should it end before ``stop``: on Linux that is how
    they end with a process that was killed. So start them from the main thread. Not for several threads at
    the same time.
    """

    def __init__(self, data: Path, nodes: int = 1, port: int = DEFAULT_PORT) -> None:
        if nodes not in (1, 3):
            raise BrokerError(f"a Kafka of {nodes} nodes: choose 1, or 3 to lose one without losing anything")
        if not 0 < port <= 65536 - 2 * nodes:
            raise BrokerError(
                f"port {port} with the {2 * nodes - 1} after it is no range of ports: choose others"
            )
        self.layout = Layout(data, nodes, port)
        self._lock: int | None = None
        self._nodes: dict[int, Node] = {}

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all nodes, running or not, as ``kafka.bootstrap_servers`` takes them."""
        return self.layout.bootstrap_servers

    @property
    def pids(self) -> dict[int, int]:
        """The process of each node that runs, by its number."""
        return {number: node.pid for number, node in self._nodes.items() if node.pid is not None}

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start every node that does not run, and return once each takes part.

        The first time ever, the broker is fetched from Maven Central, which ``timeout`` (seconds) does not count.

        Raises BrokerError, with nothing left running that was not before: Java, Maven or its repository are
        missing; a port is taken; the data is another process's, or that of another number of nodes; a node
        does not come up in time.
        """
        before = set(self.pids)
        try:
            self._open()
            starting = [node for number, node in self._nodes.items() if number not in before]
            for node in starting:
                node.start()
            deadline = time.monotonic() + timeout
            for node in starting:
                node.wait_until_ready(deadline)
        except BaseException:
            for number in set(self.pids) - before:
                self.kill_node(number)
            if not before:
                self._close()
            raise

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Stop all nodes in order, and kill those that have not ended after ``timeout`` seconds."""
        for node in self._nodes.values():
            node.terminate()
        deadline = time.monotonic() + timeout
        for node in self._nodes.values():
            node.wait(deadline)
        self._close()

    def start_node(self, number: int, timeout: float = START_SECONDS) -> None:
        """Start one node, and return once it takes part: it needs the majority for that. Raises BrokerError."""
        node = self._node(number)
        if node.pid is None:
            node.start()
            node.wait_until_ready(time.monotonic() + timeout)

    def stop_node(self, number: int, timeout: float = STOP_SECONDS) -> None:
        """Stop one node in order; kill it if that takes longer."""
        node = self._node(number)
        node.terminate()
        node.wait(time.monotonic() + timeout)

    def kill_node(self, number: int) -> None:
        """SIGKILL for one node."""
        self._node(number).kill()

    def exit_code(self, number: int) -> int | None:
        """How a node ended; None while it runs."""
        return self._node(number).exit_code

    def last_words(self, number: int) -> str:
        """The last lines that a node said."""
        return self._node(number).last_words()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _node(self, number: int) -> Node:
        if number not in self._nodes:
            raise BrokerError(
                f"there is no node {number}: the cluster has {self.layout.nodes}, once it is started"
            )
        return self._nodes[number]

    def _open(self) -> None:
        """Own the data, and make each node's directory ready."""
        if self._lock is not None:
            return
        classpath = jars()
        data = self.layout.data
        try:
            (data / "logs").mkdir(parents=True, exist_ok=True)
            self._lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as exc:
            raise BrokerError(
                f"Kafka can't keep its data in {data} ({exc.strerror}): choose another place"
            ) from exc
        _own(self._lock, data)
        for port in self.layout.ports:
            check_port_is_free(port)
        cluster_id = self._identity()
        self._nodes = {n: Node(self.layout, n, classpath, self._lock) for n in self.layout.numbers}
        with ThreadPoolExecutor(len(self._nodes)) as pool:
            list(pool.map(lambda node: node.format(cluster_id), self._nodes.values()))

    def _identity(self) -> str:
        """The cluster's id, made once; the number of nodes is kept with it, since data of one is no data of three."""
        path = self.layout.data / "cluster.json"
        if path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
            if known["nodes"] != self.layout.nodes:
                raise BrokerError(
                    f"the data in {self.layout.data} is of {known['nodes']} node(s), not of {self.layout.nodes}: "
                    "start as many, or choose another directory"
                )
            return str(known["cluster_id"])
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        whole = {"cluster_id": cluster_id, "nodes": self.layout.nodes, "made_by": VERSION}
        part = path.with_suffix(".part")
        part.write_text(json.dumps(whole), encoding="utf-8")
        part.replace(path)
        return cluster_id

    def _close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _own(lock: int, data: Path) -> None:
    """Take the lock and leave our process id in it. Raises BrokerError if it stays another's."""
    deadline = time.monotonic() + _OWNER_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
                raise BrokerError(
                    f"the data in {data} belongs to the Kafka that process {owner} started: "
                    "use that one, stop it, or choose another directory"
                ) from None
            time.sleep(0.1)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
