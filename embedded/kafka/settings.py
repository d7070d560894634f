"""What a node is started with.

``broker_settings`` holds on every way to run Kafka that the project knows: here, in docker-compose.yml and in
the tests' container; a test compares them.
"""

from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
DEFAULT_PORT = 9092
# Of each node. Kafka leaves records to the system's page cache; this is for requests, indexes and groups.
HEAP_MB = 384
LARGEST_MESSAGE = 8 * 2**20


def broker_settings(nodes: int) -> dict[str, str]:
    """Names and values as in Kafka's server.properties, for a cluster of so many nodes."""
    copies, in_sync = (3, 2) if nodes >= 3 else (1, 1)
    return {
        # shadowlane makes its topics itself, with the number of partitions that pairing needs.
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(LARGEST_MESSAGE),
        "replica.fetch.max.bytes": str(LARGEST_MESSAGE),
        "log.retention.hours": "72",
        "default.replication.factor": str(copies),
        "min.insync.replicas": str(in_sync),
        "offsets.topic.replication.factor": str(copies),
        "transaction.state.log.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(in_sync),
        # A group forms as soon as its first member is there; one that crashed is missed after two seconds, if it
        # asked for that.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "2000",
    }


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the nodes are, and where each keeps what.

    Brokers listen on ``port`` … ``port + nodes - 1``, their controllers on the ports after these.
    """

    data: Path
    nodes: int
    port: int

    @property
    def numbers(self) -> range:
        return range(1, self.nodes + 1)

    @property
    def ports(self) -> range:
        """All that have to be free."""
        return range(self.port, self.port + 2 * self.nodes)

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(self.address(number) for number in self.numbers)

    def address(self, number: int) -> str:
        return f"{HOST}:{self.port + number - 1}"

    def controller(self, number: int) -> str:
        return f"{HOST}:{self.port + self.nodes + number - 1}"

    def records(self, number: int) -> Path:
        return self.data / f"node-{number}"

    def log(self, number: int) -> Path:
        return self.data / "logs" / f"node-{number}.log"

    def properties_file(self, number: int) -> Path:
        return self.data / f"node-{number}.properties"

    def properties(self, number: int) -> str:
        """The text of one node's server.properties."""
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(number),
            "controller.quorum.voters": ",".join(f"{n}@{self.controller(n)}" for n in self.numbers),
            "listeners": f"PLAINTEXT://{self.address(number)},CONTROLLER://{self.controller(number)}",
            "advertised.listeners": f"PLAINTEXT://{self.address(number)}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.records(number).resolve()),
            **broker_settings(self.nodes),
            # One machine needs no fifty partitions for its offsets, nor threads for disks that it does not have.
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.num.partitions": "8",
            "num.network.threads": "2",
            "num.io.threads": "4",
            "log.cleaner.dedupe.buffer.size": str(16 * 2**20),
        }
        # A backslash begins an escape in this format.
        return "".join(f"{name}={value}\n".replace("\\", "\\\\") for name, value in settings.items())
