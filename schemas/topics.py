"""The topics, and the one rule that says which partition a record goes to."""

import zlib
from dataclasses import dataclass


def partition_of(request_id: str, partitions: int) -> int:
    """``crc32(request id) mod partitions``.

    Always set by the writer: the default partitioners of the Kafka clients disagree with each other.
    librdkafka's ``partitioner=consistent`` with the request id as key gives the same.
    """
    return zlib.crc32(request_id.encode("utf-8", "surrogatepass")) % partitions


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics' names under one prefix."""

    prefix: str = "shadowlane"

    @property
    def requests(self) -> str:
        return f"{self.prefix}.requests"

    @property
    def served(self) -> str:
        return f"{self.prefix}.responses.served"

    @property
    def shadow(self) -> str:
        return f"{self.prefix}.responses.shadow"

    @property
    def pairs(self) -> str:
        return f"{self.prefix}.pairs"

    @property
    def noise(self) -> str:
        """Noise pairs: apart from the others, so that nothing that reads those can count them."""
        return f"{self.prefix}.noise"

    @property
    def dead_letters(self) -> str:
        return f"{self.prefix}.dead-letters"

    @property
    def ledger(self) -> str:
        return f"{self.prefix}.ledger"

    @property
    def rollouts(self) -> str:
        """Compacted: the last state of each rollout."""
        return f"{self.prefix}.rollouts"

    @property
    def budgets(self) -> str:
        """Compacted: who has taken how much of which budget."""
        return f"{self.prefix}.budgets"

    @property
    def stops(self) -> str:
        """Compacted: which rollouts' calls are stopped by hand."""
        return f"{self.prefix}.stops"

    @property
    def compacted(self) -> tuple[str, ...]:
        """Each of one partition, read whole by whoever starts."""
        return (self.rollouts, self.budgets, self.stops)

    @property
    def copartitioned(self) -> tuple[str, ...]:
        """These must have one number of partitions: pairing meets both halves in the same partition."""
        return (self.requests, self.served, self.shadow)

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.copartitioned, self.pairs, self.noise, self.dead_letters, self.ledger, *self.compacted)
