"""Encoded records into envelopes: a request and its served response always travel in twin envelopes."""

from collections.abc import Iterable

from shadowlane.schemas.codec import ENVELOPE_MAX_BYTES, pack


class Packed:
    """One request, encoded; what is left of it is what the books need."""

    __slots__ = ("cost", "request_line", "response_line", "route", "service", "ts")

    def __init__(
        self, ts: int, service: str, route: str, cost: int, request_line: bytes, response_line: bytes
    ) -> None:
        self.ts = ts
        self.service = service
        self.route = route
        self.cost = cost
        self.request_line = request_line
        self.response_line = response_line


class Batch:
    """Requests of one partition: one envelope for the requests, one for their served responses."""

    __slots__ = ("items", "partition", "request_bytes", "response_bytes")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.items: list[Packed] = []
        self.request_bytes = 0
        self.response_bytes = 0

    def fits(self, item: Packed) -> bool:
        return (
            self.request_bytes + len(item.request_line) < ENVELOPE_MAX_BYTES
            and self.response_bytes + len(item.response_line) < ENVELOPE_MAX_BYTES
        )

    def add(self, item: Packed) -> None:
        self.items.append(item)
        self.request_bytes += len(item.request_line) + 1
        self.response_bytes += len(item.response_line) + 1

    def envelopes(self) -> tuple[bytes, bytes]:
        """(requests, served responses), line by line the same request ids."""
        return pack(i.request_line for i in self.items), pack(i.response_line for i in self.items)


class Packer:
    """Gathers requests by partition. A batch is closed when the next request would not fit."""

    def __init__(self) -> None:
        self._open: dict[int, Batch] = {}

    def add(self, item: Packed, partition: int) -> Batch | None:
        """The batch that had to be closed for this request, if any."""
        batch = self._open.get(partition)
        closed = None
        if batch is not None and not batch.fits(item):
            closed, batch = batch, None
        if batch is None:
            batch = self._open[partition] = Batch(partition)
        batch.add(item)
        return closed

    def take(self) -> Iterable[Batch]:
        """Every open batch, closed."""
        batches, self._open = list(self._open.values()), {}
        return batches

    def empty(self) -> bool:
        return not self._open
