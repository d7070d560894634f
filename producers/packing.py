"""Encoded records into envelopes: a request and its served response always travel in twin envelopes."""

from collections import Counter
from collections.abc import Iterable
from io import BytesIO

from shadowlane.producers.buffer import Book
from shadowlane.schemas.codec import ENVELOPE_MAX_BYTES


class Batch:
    """Requests of one partition: one envelope for the requests, one for their served responses.

    What is left of the requests besides is what the books need: how many there are by ``books``, and ``cost``, the
    bytes that are reserved for all of them. Lines are written into their envelope as they come: held one by one until
    it is closed, they would take memory that the system has to hand out anew for each batch.
    """

    __slots__ = ("_requests", "_served", "books", "cost", "partition")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.books: Counter[Book] = Counter()
        self.cost = 0
        self._requests = BytesIO()
        self._served = BytesIO()

    def add(self, book: Book, cost: int, request_line: bytes, response_line: bytes) -> bool:
        """False where it would be too large then; the first request always fits."""
        requests, served = self._requests, self._served
        if self.books:
            if (
                requests.tell() + len(request_line) >= ENVELOPE_MAX_BYTES
                or served.tell() + len(response_line) >= ENVELOPE_MAX_BYTES
            ):
                return False
            requests.write(b"\n")
            served.write(b"\n")
        requests.write(request_line)
        served.write(response_line)
        self.books[book] += 1
        self.cost += cost
        return True

    def envelopes(self) -> tuple[bytes, bytes]:
        """(requests, served responses), line by line the same request ids. Once: the batch lets go of them."""
        both = self._requests.getvalue(), self._served.getvalue()
        self._requests, self._served = BytesIO(), BytesIO()
        return both


class Packer:
    """Gathers requests by partition. A batch is closed when the next request would not fit."""

    def __init__(self) -> None:
        self._open: dict[int, Batch] = {}

    def add(
        self, partition: int, book: Book, cost: int, request_line: bytes, response_line: bytes
    ) -> Batch | None:
        """The batch that had to be closed for this request, if any."""
        batch = self._open.get(partition)
        if batch is not None and batch.add(book, cost, request_line, response_line):
            return None
        opened = self._open[partition] = Batch(partition)
        opened.add(book, cost, request_line, response_line)
        return batch

    def take(self) -> Iterable[Batch]:
        """Every open batch, closed."""
        batches, self._open = list(self._open.values()), {}
        return batches

    def empty(self) -> bool:
        return not self._open
