"""One request and its answer while the service works on them: captured as bytes, read later, in the thread.

Nothing here parses, copies, waits or raises. This is the service's path, so whatever can be left to the thread
is: the id, the date, the route's redaction, what the service said around the call. What holds more than
``FREE_BYTES`` asks for room, by the block, and where there is none lets go of what it has, to be booked as dropped.
"""

from collections.abc import Mapping
from time import perf_counter, time_ns

from shadowlane.producers.buffer import FREE_BYTES, OVERHEAD_BYTES, Buffer
from shadowlane.producers.context import Said
from shadowlane.producers.ledger import Drop
from shadowlane.producers.routes import Routes

CHUNK_OVERHEAD_BYTES = 80  # the object of a piece of a stream, and the time when it came
STREAM_FACTOR = 64  # a streamed event wraps some four characters in some 250 bytes


class Source:
    """What all exchanges of one mirror in one process have in common."""

    __slots__ = ("buffer", "max_bytes", "routes", "service")

    def __init__(self, buffer: "Buffer[Exchange]", service: str, routes: Routes, max_bytes: int) -> None:
        self.buffer = buffer
        self.service = service
        self.routes = routes
        self.max_bytes = max_bytes


class Exchange:
    """Made by ``Mirror.begin``. After ``finish`` it belongs to the mirror's thread.

    ``request_id`` is "" until the thread gives it one, where the service or the sampling needed none.
    ``left_out`` says why its content is not mirrored, "" if it is. ``error`` is a Failure or "". ``started``,
    ``ended`` and ``chunk_times`` (of streams alone) are ``time.perf_counter`` seconds, ``ts`` is Unix
    milliseconds.
    """

    # What every exchange sets or asks for has a slot; what few of them have is a default of the class.
    __slots__ = (
        *("__dict__", "__weakref__", "_answer", "_came", "_max_answer", "_route", "_said"),
        *("body", "chunk_times", "chunks", "content_type", "cost", "ended", "finished", "full"),
        *("left_out", "protocol", "source", "started", "status", "unreserved"),
    )
    request_id: str = ""
    content_encoding: str = ""
    attempts: int = 1
    error: str = ""
    error_message: str = ""
    ended_early: bool = False
    _own_key: str = ""
    _own_traceparent: str = ""
    _pieces: tuple[bytes, ...] = ()  # of a request's body that is still coming

    def __init__(self, source: Source, route: str, protocol: str, said: Said) -> None:
        self.source = source
        self.protocol = protocol
        self._route = route
        self._said = said
        self._came = time_ns()
        self.started = perf_counter()
        self.ended = 0.0
        self.finished = False
        self.body = b""
        self.status = 0
        self.content_type = ""
        self.chunks: list[bytes] = []
        self.chunk_times: list[float] | None = None
        self.left_out = ""
        self.full = False  # the mirror had no room: nothing is held, and it will be dropped
        self.cost = 0  # bytes reserved
        self.unreserved = OVERHEAD_BYTES  # bytes held that are not reserved yet
        self._answer = 0  # bytes
        self._max_answer = source.max_bytes

    @property
    def ts(self) -> int:
        """Unix milliseconds."""
        return self._came // 1_000_000

    @property
    def service(self) -> str:
        return self.source.service

    @property
    def route(self) -> str:
        """Redacted; for the mirror's thread."""
        return self.source.routes.redacted(self._said.route or self._route)

    @property
    def key(self) -> str:
        return self._said.key or self._own_key

    @property
    def attributes(self) -> Mapping[str, str]:
        return self._said.attributes

    @property
    def traceparent(self) -> str:
        return self._said.traceparent or self._own_traceparent

    @property
    def arm(self) -> str:
        """Who served it, as the router said."""
        return self._said.arm

    @property
    def stage(self) -> str:
        """The rollout's, as the router said."""
        return self._said.stage if self._said.arm else ""

    @property
    def queued_at(self) -> float:
        return self.ended

    def say(self, key: str, traceparent: str) -> None:
        """What the attachment knows of it; what the service itself says comes first."""
        self._own_key = key
        self._own_traceparent = traceparent

    def name_route(self, route: str) -> None:
        """The route is known only now. What the service itself said stays."""
        self._route = route

    def request(self, body: bytes) -> None:
        """The request's body, whole."""
        size = len(body)
        if size > self.source.max_bytes:
            self.leave_out("request_too_large")
        elif not (self.left_out or self.full):
            self.unreserved += size
            if self.unreserved <= FREE_BYTES or self._reserve():
                self.body = body

    def request_piece(self, data: bytes, *, last: bool) -> None:
        """The request's body as it is read."""
        if last and not self._pieces:
            self.request(data)
        elif self.wants_content():
            if sum(map(len, self._pieces)) + len(data) > self.source.max_bytes:
                self.leave_out("request_too_large")
                return
            self.unreserved += len(data)
            if self.unreserved <= FREE_BYTES or self._reserve():
                self._pieces += (data,)
                if last:
                    self.body, self._pieces = b"".join(self._pieces), ()

    def respond(self, status: int, content_type: str = "", content_encoding: str = "") -> None:
        """An answer begins; what an earlier attempt had brought is let go."""
        if self.status or self.chunks:
            self.forget_response()
        self.status = status
        self.content_type = content_type
        if content_encoding:
            self.content_encoding = content_encoding
        if content_type.startswith("text/event-stream"):
            self._max_answer = STREAM_FACTOR * self.source.max_bytes
            self.chunk_times = []

    def chunk(self, data: bytes) -> None:
        """One more piece of the answer's body, as it came."""
        if self.left_out or self.full:
            return
        size = len(data)
        self._answer += size
        if self._answer > self._max_answer:
            self.leave_out("response_too_large")
            return
        self.unreserved += size + CHUNK_OVERHEAD_BYTES
        if self.unreserved <= FREE_BYTES or self._reserve():
            self.chunks.append(data)
            if self.chunk_times is not None:
                self.chunk_times.append(perf_counter())

    def forget_response(self) -> None:
        if self.chunks:
            self._let_go(self._answer + CHUNK_OVERHEAD_BYTES * len(self.chunks))
            self.chunks = []
        self._answer, self._max_answer = 0, self.source.max_bytes
        self.chunk_times = None
        self.content_encoding = ""
        self.status, self.error, self.error_message, self.ended_early = 0, "", "", False

    def leave_out(self, why: str) -> None:
        """Mirror it without its content: nobody's answer is cut short in silence."""
        if not self.left_out:
            self.left_out = why
        held = len(self.body) + sum(map(len, self._pieces))
        held += sum(map(len, self.chunks)) + CHUNK_OVERHEAD_BYTES * len(self.chunks)
        self.body, self._pieces, self.chunks = b"", (), []
        if not self.full:
            self._let_go(held)

    def wants_content(self) -> bool:
        return not (self.left_out or self.full)

    def stop_clock(self) -> None:
        """The answer is over, and what the service still does is none of its latency."""
        self.ended = perf_counter()

    def end(self, status: int, body: bytes, content_type: str = "", content_encoding: str = "") -> None:
        """The answer, whole, and the end of it: ``respond``, ``chunk`` and ``finish`` in one."""
        if self.finished:
            return
        self.ended = self.ended or perf_counter()
        size = len(body)
        held = self.unreserved + size + CHUNK_OVERHEAD_BYTES
        if (
            held > FREE_BYTES
            or size > self._max_answer
            or self.left_out
            or self.full
            or self.status
            or self.chunks
        ):
            self.respond(status, content_type, content_encoding)
            self.chunk(body)
            self.finish()
            return
        self.finished = True
        self.status = status
        self.content_type = content_type
        if content_encoding:
            self.content_encoding = content_encoding
        self.chunks.append(body)
        self.unreserved = held
        reason = self.source.buffer.offer(self)
        if reason:
            self._refuse(reason)

    def finish(self) -> None:
        """The answer is over. Queues it for Kafka, or books it as dropped; once, whoever calls again."""
        if self.finished:
            return
        self.finished = True
        if not self.ended:
            self.ended = perf_counter()
        reason = Drop.BUFFER_FULL if self.full else self.source.buffer.offer(self)
        if reason:
            self._refuse(reason)

    def _refuse(self, reason: str) -> None:
        source = self.source
        route = source.routes.at_once(self._said.route or self._route)
        source.buffer.refuse(self.ts, source.service, route, reason)
        if source.buffer.asleep:
            source.buffer.wake()

    def _reserve(self) -> bool:
        """False where the mirror has no room: then this exchange holds nothing any more."""
        wanted = self.unreserved + FREE_BYTES
        if self.source.buffer.reserve(wanted):
            self.cost += wanted
            self.unreserved = -FREE_BYTES  # so much may come until it asks again
            return True
        self.full = True
        self.source.buffer.release(self.cost)
        self.cost = self.unreserved = 0
        self.body, self._pieces, self.chunks = b"", (), []
        return False

    def _let_go(self, size: int) -> None:
        self.unreserved -= size
        if self.unreserved < -FREE_BYTES:
            back = -self.unreserved
            self.cost -= back
            self.unreserved = 0
            self.source.buffer.release(back)
