"""One request and its answer while the service works on them: captured as bytes, read later, in the thread.

Nothing here parses, copies or raises. An :class:`Exchange` reserves what it holds from the mirror's byte
bound as it comes; when there is no room it lets go of what it has, and the request is booked as dropped.
This is the service's path: what can be left to the thread (the id, the dates) is.
"""

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING

from shadowlane.producers.buffer import OVERHEAD_BYTES
from shadowlane.producers.ledger import Drop

if TYPE_CHECKING:
    from shadowlane.producers.pipeline import Pipeline

CHUNK_OVERHEAD_BYTES = 80  # the object of a piece of a stream, and the time when it came
STREAM_FACTOR = 64  # a streamed event wraps some four characters in some 250 bytes
BLOCK_BYTES = 4096  # room is taken by the block, so that a piece of a stream costs no lock


class Exchange:
    """Made by ``Mirror.begin``. After ``finish`` it belongs to the mirror's thread.

    ``request_id`` is "" until the thread gives it one, where the service or the sampling needed none.
    ``left_out`` says why its content is not mirrored, "" if it is. ``error`` is a Failure or "". ``started``,
    ``ended`` and ``chunk_times`` are ``time.perf_counter`` seconds, ``ts`` is Unix milliseconds.
    """

    request_id: str
    ts: int
    service: str
    route: str
    # What most exchanges never change is the class's own: setting it each time is most of the cost.
    body: bytes = b""
    content_type: str = ""
    content_encoding: str = ""
    status: int = 0
    attempts: int = 1
    error: str = ""
    error_message: str = ""
    ended_early: bool = False
    ended: float = 0.0
    finished: bool = False
    arm: str = ""  # who served it, as the router said, and the rollout's stage then
    stage: str = ""
    cost: int = 0
    full: bool = False  # the mirror had no room: nothing is held, and it will be dropped
    _pieces: tuple[bytes, ...] = ()  # of a request's body that is still coming
    _credit: int = 0  # bytes reserved and not yet used
    _size: int = 0

    def __init__(
        self,
        pipeline: "Pipeline[Exchange]",
        request_id: str,
        ts: int,
        started: float,
        service: str,
        route: str,
        protocol: str,
        key: str,
        attributes: Mapping[str, str],
        traceparent: str,
        max_bytes: int,
        left_out: str,
    ) -> None:
        self._pipeline = pipeline
        self.request_id = request_id
        self.ts = ts
        self.started = started
        self.service = service
        self.route = route
        self.protocol = protocol
        self.key = key
        self.attributes = attributes
        self.traceparent = traceparent
        self.left_out = left_out
        self.chunks: list[bytes] = []
        self.chunk_times: list[float] = []
        self._max_bytes = self._max_answer = max_bytes

    @property
    def queued_at(self) -> float:
        return self.ended

    @property
    def completed_at(self) -> int:
        """Unix milliseconds."""
        return self.ts + round((self.ended - self.started) * 1000)

    def request(self, body: bytes) -> None:
        """The request's body, whole."""
        if len(body) > self._max_bytes:
            self.leave_out("request_too_large")
        elif self.wants_content() and self._reserve(len(body)):
            self.body = body

    def request_piece(self, data: bytes, *, last: bool) -> None:
        """The request's body as it is read."""
        if not self.wants_content():
            return
        if sum(map(len, self._pieces)) + len(data) > self._max_bytes:
            self.leave_out("request_too_large")
        elif self._reserve(len(data)):
            self._pieces += (data,)
            if last:
                self.body, self._pieces = b"".join(self._pieces), ()

    def respond(self, status: int, content_type: str = "", content_encoding: str = "") -> None:
        """An answer begins; what an earlier attempt had brought is let go."""
        if self.status or self.chunks:
            self.forget_response()
        self.status = status
        self.content_type = content_type
        self.content_encoding = content_encoding
        if content_type.startswith("text/event-stream"):
            self._max_answer = STREAM_FACTOR * self._max_bytes

    def chunk(self, data: bytes) -> None:
        """One more piece of the answer's body, as it came."""
        if self.left_out or self.full:
            return
        size = len(data)
        self._size += size
        if self._size > self._max_answer:
            self.leave_out("response_too_large")
        elif self._reserve(size + CHUNK_OVERHEAD_BYTES):
            self.chunks.append(data)
            self.chunk_times.append(perf_counter())

    def forget_response(self) -> None:
        self._credit += self._held()
        self.chunks, self.chunk_times, self._size = [], [], 0
        self.status, self.error, self.error_message, self.ended_early = 0, "", "", False
        self._max_answer = self._max_bytes

    def leave_out(self, why: str) -> None:
        """Mirror it without its content: nobody's answer is cut short in silence."""
        if not self.left_out:
            self.left_out = why
        self._credit += len(self.body) + sum(map(len, self._pieces)) + self._held()
        self.body, self._pieces, self.chunks, self.chunk_times = b"", (), [], []
        self._give_back()

    def wants_content(self) -> bool:
        return not (self.left_out or self.full)

    def stop_clock(self) -> None:
        """The answer is over, and what the service still does is none of its latency."""
        self.ended = perf_counter()

    def finish(self) -> None:
        """The answer is over. Queues it for Kafka, or books it as dropped; once, whoever calls again."""
        if self.finished:
            return
        self.finished = True
        pipeline = self._pipeline
        if pipeline.forked:
            return  # it is the parent's
        if not self.ended:
            self.ended = perf_counter()
        if not self.cost:
            self._reserve(0)
        if self.full:
            pipeline.refuse(self.ts, self.service, self.route, Drop.BUFFER_FULL)
            return
        if self._credit > BLOCK_BYTES:
            self._give_back()
        pipeline.put(self)

    def _held(self) -> int:
        return sum(map(len, self.chunks)) + CHUNK_OVERHEAD_BYTES * len(self.chunks)

    def _reserve(self, size: int) -> bool:
        """False where the mirror has no room: then this exchange holds nothing any more."""
        if size < self._credit:
            self._credit -= size
            return True
        if self.full:
            return False
        wanted = size + BLOCK_BYTES + (0 if self.cost else OVERHEAD_BYTES)
        buffer = self._pipeline.buffer
        if buffer.reserve(wanted):
            self.cost += wanted
            self._credit += wanted - size
            return True
        self.full = True
        buffer.release(self.cost)
        self.cost = self._credit = 0
        self.body, self._pieces, self.chunks, self.chunk_times = b"", (), [], []
        return False

    def _give_back(self) -> None:
        self.cost -= self._credit
        self._pipeline.buffer.release(self._credit)
        self._credit = 0
