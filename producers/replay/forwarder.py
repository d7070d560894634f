"""Requests onto Kafka, and up to which one Kafka has acknowledged all of them."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from shadowlane.errors import BrokerError, CodecError
from shadowlane.producers.ledger import Drop, Row
from shadowlane.producers.link import Done, Link
from shadowlane.producers.outflow import Outflow, Samples
from shadowlane.producers.packing import Batch, Packer
from shadowlane.producers.replay.books import Books, Place, minute_of
from shadowlane.producers.worker import LINGER_S, RECORD_MAX_BYTES
from shadowlane.schemas.codec import ENVELOPE_MAX_BYTES, encode, pack
from shadowlane.schemas.events import MirroredRequest, Response
from shadowlane.schemas.topics import Topics, partition_of

POLL_S = 0.05


@dataclass(slots=True)
class _Sent:
    place: Place
    mark: bytes
    settled: bool = False


class Forwarder:
    """One thread's way to Kafka. It waits where Kafka is slow, and gives up where Kafka does not take a record.

    Args:
        link: Kafka; closed by :meth:`close`.
        buffer_bytes: how much may wait for Kafka's acknowledgement before :meth:`send` waits.

    Raises:
        BrokerError: Kafka can't be reached, or its topics are missing or of different sizes.
    """

    def __init__(self, link: Link, topics: Topics, outflow: Outflow, *, buffer_bytes: int) -> None:
        found = link.partitions()
        requests, served = found.get(topics.requests, 0), found.get(topics.served, 0)
        if not requests or requests != served or not found.get(topics.ledger):
            raise BrokerError(
                f"{topics.requests} has {requests} partitions, {topics.served} {served} and {topics.ledger} "
                f"{found.get(topics.ledger, 0)}: create them, the first two with the same number"
            )
        self.books = Books()
        self.acknowledged = 0
        """Requests from the first one on that Kafka has, or that were dropped; all of them, without a gap."""
        self.mark = b""
        """As :meth:`send` was given it with the last of them."""
        self._link = link
        self._topics = topics
        self._partitions, self._ledger_partitions = requests, found[topics.ledger]
        self._outflow = outflow
        # By key alone: how many a second is for the replay's own pace to say.
        self._samples = Samples(outflow.capture.without_caps())
        self.without_content: Counter[str] = Counter()
        """By reason, of what this run sent."""
        self._limit = buffer_bytes
        self._in_flight = 0  # bytes
        self._packer = Packer()
        self._packed_at = 0.0
        self._open: dict[int, list[_Sent]] = {}  # by partition, of its open batch
        self._sent: deque[_Sent] = deque()  # in order, from the first that is not settled
        self._ledger_in_flight = 0
        self._problem = ""

    def recount(self, request: MirroredRequest, response: Response, instance: str, mark: bytes) -> None:
        """Book a request that Kafka has acknowledged before this began; nothing is sent."""
        left_out = self._left_out(request)
        if left_out is not None:
            self._settled(_place(left_out, instance, Row.SAMPLED_OUT), mark)
            return
        try:
            place = _place(self._encoded(request, response)[0], instance, Row.MIRRORED)
        except _DroppedError as exc:
            place = _place(exc.request, instance, Row.DROPPED, exc.drop)
        self._settled(place, mark)

    def send(
        self, request: MirroredRequest, response: Response, instance: str, mark: bytes, now: float
    ) -> bool:
        """Send one request with its response; waits while too much is under way. ``now``: monotonic, seconds.
        False: it is not in the sample, and is booked.

        Raises:
            CodecError: the records have no JSON form, or are too large for Kafka; the request is booked as dropped.
            BrokerError: Kafka did not take something within its time.
        """
        if (left_out := self._left_out(request)) is not None:
            self._settled(_place(left_out, instance, Row.SAMPLED_OUT), mark)
            return False
        try:
            request, lines, why = self._encoded(request, response)
        except _DroppedError as exc:
            self._settled(_place(exc.request, instance, Row.DROPPED, exc.drop), mark)
            raise
        if why:
            self.without_content[why] += 1
        if self._packer.empty():
            self._packed_at = now
        sent = _Sent(_place(request, instance, Row.MIRRORED), mark)
        self._sent.append(sent)
        partition = partition_of(request.request_id, self._partitions)
        size = sum(map(len, lines))
        self._in_flight += size
        closed = self._packer.add(
            partition, (sent.place.minute, request.service, request.route), size, *lines
        )
        if closed is not None:
            self._dispatch(closed)
        self._open.setdefault(partition, []).append(sent)
        self.poll(0.0, now)
        while self._in_flight > self._limit:
            self._dispatch_open()
            self.poll(POLL_S, now)
        return True

    def poll(self, timeout_s: float, now: float) -> None:
        """Send what has waited for company long enough, and hear of what Kafka has.

        Raises:
            BrokerError: Kafka did not take something within its time.
        """
        if not self._packer.empty() and now - self._packed_at >= LINGER_S:
            self._dispatch_open()
        self._link.poll(timeout_s)
        if self._problem:
            raise BrokerError(
                f"Kafka did not take everything within its time: {self._problem}. What it has is noted: the same "
                "command goes on from there"
            )

    def say(self) -> None:
        """Send the ledger's cells that have changed, if those before are through."""
        if self._ledger_in_flight:
            return
        cells = self.books.unsaid()
        while cells:
            said: list[tuple[Place, int]] = []
            lines: list[bytes] = []
            size = 0
            while cells and size < ENVELOPE_MAX_BYTES // 2:
                said.append(cells.pop())
                lines += map(encode, self.books.cells(said[-1][0]))
                size += len(lines[-1]) + len(lines[-2])

            def done(error: str, said: list[tuple[Place, int]] = said) -> None:
                self._ledger_in_flight -= 1
                if not error:
                    self.books.acknowledge(said)

            self._ledger_in_flight += 1
            partition = partition_of(said[0][0].instance, self._ledger_partitions)
            self._offer(self._topics.ledger, partition, pack(lines), done)

    def settled(self) -> bool:
        """Whether Kafka has everything, the ledger that says so included; sends what it has not."""
        self._dispatch_open()
        if not self._sent:
            self.say()
        return not self._sent and not self.books.unsaid()

    def close(self) -> None:
        """Give up on what is not acknowledged: whoever goes on from :attr:`acknowledged` sends it again."""
        self._link.close()

    def _left_out(self, request: MirroredRequest) -> MirroredRequest | None:
        """What the books may know of a request that is not in the sample; None of one that is."""
        if self._samples.left_out(request.route, request.key or request.request_id, 0.0) is None:
            return None
        return replace(request, route=self._outflow.route(request.route))

    def _encoded(
        self, request: MirroredRequest, response: Response
    ) -> tuple[MirroredRequest, tuple[bytes, bytes], str]:
        try:
            request, response, why = self._outflow.let_out(request, response)
            lines = encode(request), encode(response)
        except CodecError as exc:
            raise _DroppedError(request, Drop.ENCODE_FAILED, str(exc)) from exc
        if max(map(len, lines)) > RECORD_MAX_BYTES:
            said = f"over {RECORD_MAX_BYTES} bytes, which Kafka does not take"
            raise _DroppedError(request, Drop.TOO_LARGE, said)
        return request, lines, why

    def _dispatch_open(self) -> None:
        for batch in self._packer.take():
            self._dispatch(batch)

    def _dispatch(self, batch: Batch) -> None:
        members = self._open.pop(batch.partition)
        waiting = 2

        def done(error: str) -> None:
            nonlocal waiting
            waiting -= 1
            if error:
                self._problem = error
            elif not waiting and not self._problem:
                self._in_flight -= batch.cost
                self._settle(members)

        for topic, envelope in zip(
            (self._topics.requests, self._topics.served), batch.envelopes(), strict=True
        ):
            self._offer(topic, batch.partition, envelope, done)

    def _offer(self, topic: str, partition: int, value: bytes, done: Done) -> None:
        while not self._link.send(topic, partition, value, done):
            self._link.poll(POLL_S)  # the client's queue is full

    def _settled(self, place: Place, mark: bytes) -> None:
        self._sent.append(_Sent(place, mark, settled=True))
        self._advance()

    def _settle(self, members: Iterable[_Sent]) -> None:
        for sent in members:
            sent.settled = True
        self._advance()

    def _advance(self) -> None:
        while self._sent and self._sent[0].settled:
            first = self._sent.popleft()
            self.books.book(first.place)
            self.acknowledged += 1
            self.mark = first.mark


class _DroppedError(CodecError):
    def __init__(self, request: MirroredRequest, drop: Drop, reason: str) -> None:
        super().__init__(reason)
        self.request = request
        self.drop = drop


def _place(request: MirroredRequest, instance: str, row: Row, reason: str = "") -> Place:
    return Place(instance, minute_of(request.ts), request.service, request.route, row, reason)
