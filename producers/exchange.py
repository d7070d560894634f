"""One request and its answer while the service works on them: captured as bytes, read later, in the thread.

Nothing here parses, copies, waits or raises. This is the service's path, so whatever can be left to the thread
is: the id, the date, the route's redaction, what the service said around the call. What holds more than
``FREE_BYTES`` asks for room, by the block, and where there is none lets go of what it has, to be booked as dropped.

Who walks this path has mostly slept just before, and pays for every instruction and every object that is in no
cache any more. So the way of most exchanges is short, and what few of them need is looked for off it.
"""

from collections.abc import Mapping
from time import perf_counter

from shadowlane.producers.buffer import FREE_BYTES, OVERHEAD_BYTES, Buffer
from shadowlane.producers.context import Said
from shadowlane.producers.ledger import Drop
from shadowlane.producers.routes import Routes

CHUNK_OVERHEAD_BYTES = 80  # the object of a piece of a stream, and the time when it came
STREAM_FACTOR = 64  # a streamed event wraps some four characters in some 250 bytes

# Of an exchange that is off the short way, ``room`` says where it is.
PIECES = -1  # what comes is counted piece by piece
_BARE = -2  # nothing is held any more of what comes
OVER = -3
_SHORT = -4  # over, without ever having left it


class Source:
    """What all exchanges of one mirror in one process have in common."""

    __slots__ = ("buffer", "max_bytes", "room", "routes", "service")

    def __init__(self, buffer: "Buffer[Exchange]", service: str, routes: Routes, max_bytes: int) -> None:
        self.buffer = buffer
        self.service = service
        self.routes = routes
        self.max_bytes = max_bytes
        self.room = min(max_bytes, FREE_BYTES - OVERHEAD_BYTES - CHUNK_OVERHEAD_BYTES)


class Exchange:
    """Made by ``Mirror.begin``, which sets the first line of its slots: an ``__init__`` would cost as much again.
    After ``finish`` it belongs to the mirror's thread.

    The short way is a small body given whole to ``request`` and a small one to ``end``: nothing is counted on it
    but ``room``, the bytes that may still come. Whatever else happens begins with :meth:`_widen`.

    ``request_id`` is "" until the thread gives it one, where the service or the sampling needed none.
    ``left_out`` says why its content is not mirrored, "" if it is. ``error`` is a Failure or "". ``started``,
    ``ended`` and ``chunk_times`` (of streams alone) are ``time.perf_counter`` seconds, ``came`` is Unix
    nanoseconds.
    """

    # What every exchange sets or asks for has a slot; what few of them have is a default of the class.
    __slots__ = (
        *("body", "came", "protocol", "request_id", "room", "said", "source", "started", "told_route"),
        *("chunks", "content_type", "cost", "ended", "status"),
        *("__dict__", "__weakref__", "_answer", "_max_answer", "unreserved"),
    )
    source: Source
    protocol: str
    told_route: str  # by the attachment
    said: Said
    request_id: str
    came: int
    started: float
    room: int
    body: bytes
    ended: float
    status: int
    content_type: str
    chunks: list[bytes]
    cost: int  # bytes reserved
    unreserved: int  # bytes held that are not reserved yet
    _answer: int  # bytes
    _max_answer: int
    content_encoding: str = ""
    chunk_times: list[float] | None = None
    left_out: str = ""
    full: bool = False  # the mirror had no room: nothing is held, and it will be dropped
    attempts: int = 1
    error: str = ""
    error_message: str = ""
    ended_early: bool = False
    host: str = ""  # that was asked, as the request named it
    _own_key: str = ""
    _own_traceparent: str = ""
    _pieces: tuple[bytes, ...] = ()  # of a request's body that is still coming

    @property
    def ts(self) -> int:
        """Unix milliseconds."""
        return self.came // 1_000_000

    @property
    def service(self) -> str:
        return self.source.service

    @property
    def route(self) -> str:
        """Redacted; for the mirror's thread."""
        return self.source.routes.redacted(self.own_route)

    @property
    def own_route(self) -> str:
        """As the service named it."""
        return self.said.route or self.told_route

    @property
    def key(self) -> str:
        return self.said.key or self._own_key

    @property
    def attributes(self) -> Mapping[str, str]:
        return self.said.attributes

    @property
    def traceparent(self) -> str:
        return self.said.traceparent or self._own_traceparent

    @property
    def arm(self) -> str:
        """Who served it, as the router said."""
        return self.said.arm

    @property
    def stage(self) -> str:
        """The rollout's, as the router said."""
        return self.said.stage if self.said.arm else ""

    @property
    def queued_at(self) -> float:
        return self.ended

    @property
    def finished(self) -> bool:
        return self.room <= OVER

    def say(self, key: str, traceparent: str) -> None:
        """What the attachment knows of it; what the service itself says comes first."""
        self._own_key = key
        self._own_traceparent = traceparent

    def name_route(self, route: str) -> None:
        """The route is known only now. What the service itself said stays."""
        self.told_route = route

    def request(self, body: bytes) -> None:
        """The request's body, whole."""
        room = self.room - len(body)
        if room >= 0:
            self.room = room
            self.body = body
        elif len(body) > self.source.max_bytes:
            self.leave_out("request_too_large")
        elif self._hold(len(body)):
            self.body = body

    def request_piece(self, data: bytes, *, last: bool) -> None:
        """The request's body as it is read."""
        if last and not self._pieces:
            self.request(data)
        elif sum(map(len, self._pieces)) + len(data) > self.source.max_bytes:
            self.leave_out("request_too_large")
        elif self._hold(len(data)):
            self._pieces += (data,)
            if last:
                self.body, self._pieces = b"".join(self._pieces), ()

    def respond(self, status: int, content_type: str = "", content_encoding: str = "") -> None:
        """An answer begins; what an earlier attempt had brought is let go."""
        if self.room >= 0:
            self._widen()
        elif self.status or self.chunks:
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
        if self.room >= 0:
            self._widen()
        if self.room != PIECES:
            return
        size = len(data)
        self._answer += size
        if self._answer > self._max_answer:
            self.leave_out("response_too_large")
            return
        # _hold, without the calls: a stream comes here for each of its events.
        self.unreserved += size + CHUNK_OVERHEAD_BYTES
        if self.unreserved <= FREE_BYTES or self._reserve():
            self.chunks.append(data)
            if self.chunk_times is not None:
                self.chunk_times.append(perf_counter())

    def forget_response(self) -> None:
        """Another attempt begins."""
        if self.finished:
            return
        if self.room < 0:
            if self.chunks:
                self._let_go(self._answer + CHUNK_OVERHEAD_BYTES * len(self.chunks))
                self.chunks = []
            self._answer, self._max_answer = 0, self.source.max_bytes
            self.chunk_times = None
        self.content_encoding = ""
        self.status, self.error, self.error_message, self.ended_early = 0, "", "", False

    def leave_out(self, why: str) -> None:
        """Mirror it without its content: nobody's answer is cut short in silence."""
        if self.finished:
            return
        self._widen()
        if not self.left_out:
            self.left_out = why
        held = len(self.body) + sum(map(len, self._pieces))
        held += sum(map(len, self.chunks)) + CHUNK_OVERHEAD_BYTES * len(self.chunks)
        self._hold_nothing()
        if not self.full:
            self._let_go(held)

    def wants_content(self) -> bool:
        return self.room >= PIECES

    def stop_clock(self) -> None:
        """The answer is over, and what the service still does is none of its latency."""
        self._widen()
        self.ended = perf_counter()

    def end(self, status: int, body: bytes, content_type: str = "", content_encoding: str = "") -> None:
        """The answer, whole, and the end of it: ``respond``, ``chunk`` and ``finish`` in one."""
        if len(body) > self.room or content_encoding:
            if not self.finished:
                self._widen()
                self.ended = self.ended or perf_counter()
                self.respond(status, content_type, content_encoding)
                self.chunk(body)
                self.finish()
            return
        self.ended = perf_counter()
        self.room = _SHORT
        self.status = status
        self.content_type = content_type
        self.chunks = [body]
        # Buffer.offer, without the call.
        buffer = self.source.buffer
        incoming = buffer.incoming
        if len(incoming) < buffer.free:
            incoming.append(self)
            if buffer.free:
                return
            reason = buffer.look_again(self)
        else:
            reason = buffer.offer_exactly(self)
        if reason:
            self._refuse(reason)

    def finish(self) -> None:
        """The answer is over. Queues it for Kafka, or books it as dropped; once, whoever calls again."""
        if self.finished:
            return
        self._widen()
        self.room = OVER
        self.ended = self.ended or perf_counter()
        reason = Drop.BUFFER_FULL if self.full else self.source.buffer.offer(self)
        if reason:
            self._refuse(reason)

    def charge(self) -> int:
        """As ``Queued.charge``."""
        if self.room == _SHORT:
            self.cost = size = OVERHEAD_BYTES + CHUNK_OVERHEAD_BYTES + len(self.body) + len(self.chunks[0])
            self.room = OVER
        else:
            size, self.unreserved = self.unreserved, 0
            self.cost += size
        return size

    def _refuse(self, reason: str) -> None:
        source = self.source
        route = source.routes.at_once(self.said.route or self.told_route)
        source.buffer.refuse(self.ts, source.service, route, reason)
        if source.buffer.asleep:
            source.buffer.wake()

    def _widen(self) -> None:
        """Leave the short way, if that is where it is: what comes from now on is counted as it comes."""
        if self.room < 0:
            return
        self.room = PIECES
        self.unreserved = OVERHEAD_BYTES + len(self.body)
        self.cost = 0
        self.status = 0
        self.content_type = ""
        self.chunks = []
        self.ended = 0.0
        self._answer = 0
        self._max_answer = self.source.max_bytes

    def _hold(self, size: int) -> bool:
        """Count what is about to be held; False where it may not be."""
        self._widen()
        if self.room != PIECES:
            return False
        self.unreserved += size
        return self.unreserved <= FREE_BYTES or self._reserve()

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
        self._hold_nothing()
        return False

    def _hold_nothing(self) -> None:
        self.room = _BARE
        self.body, self._pieces, self.chunks = b"", (), []

    def _let_go(self, size: int) -> None:
        self.unreserved -= size
        if self.unreserved < -FREE_BYTES:
            back = -self.unreserved
            self.cost -= back
            self.unreserved = 0
            self.source.buffer.release(back)
