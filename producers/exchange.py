"""One request and its answer while the service works on them: captured as bytes, read later, in the thread.

Nothing here parses, copies or raises. A :class:`Exchange` reserves what it holds from the mirror's byte
bound as it comes; when there is no room it lets go of what it has, and the request is booked as dropped.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from shadowlane.producers.buffer import OVERHEAD_BYTES
from shadowlane.producers.ledger import Drop

if TYPE_CHECKING:
    from shadowlane.producers.pipeline import Pipeline

CHUNK_OVERHEAD_BYTES = 80  # the object of a piece of a stream, and the time when it came
STREAM_FACTOR = 64  # a streamed event wraps some four characters in some 250 bytes


class Exchange:
    """Made by ``Mirror.begin``. After ``finish`` it belongs to the mirror's thread.

    ``left_out`` says why its content is not mirrored, "" if it is. ``error`` is a Failure or "". The times
    are ``time.perf_counter`` seconds, but ``ts`` and ``completed_at``, Unix milliseconds.
    """

    __slots__ = (
        "_max_bytes", "_pipeline", "_size", "attempts", "attributes", "body", "chunk_times", "chunks",
        "completed_at", "content_encoding", "content_type", "cost", "ended", "ended_early", "error",
        "error_message", "finished", "full", "key", "left_out", "protocol", "queued_at", "request_id", "route",
        "service", "started", "status", "traceparent", "ts",
    )  # fmt: skip

    def __init__(
        self,
        pipeline: "Pipeline[Exchange]",
        *,
        request_id: str,
        ts: int,
        started: float,
        service: str,
        route: str,
        protocol: str,
        key: str,
        attributes: dict[str, str],
        traceparent: str,
        max_bytes: int,
        content: bool,
    ) -> None:
        self._pipeline = pipeline
        self._max_bytes = max_bytes
        self._size = 0
        self.request_id = request_id
        self.ts = ts
        self.started = started
        self.service = service
        self.route = route
        self.protocol = protocol
        self.key = key
        self.attributes = attributes
        self.traceparent = traceparent
        self.body = b""
        self.chunks: list[bytes] = []
        self.chunk_times: list[float] = []
        self.content_type = ""
        self.content_encoding = ""
        self.status = 0
        self.attempts = 1
        self.error = ""
        self.error_message = ""
        self.ended_early = False
        self.ended = 0.0
        self.completed_at = 0
        self.queued_at = 0.0
        self.left_out = "" if content else "switched_off"
        self.finished = False
        self.cost = 0
        self.full = False  # the mirror had no room: nothing is held, and it will be dropped
        self._reserve(OVERHEAD_BYTES)

    def request(self, body: bytes) -> None:
        """The request's body, whole."""
        if len(body) > self._max_bytes:
            self.leave_out("request_too_large")
        elif self.wants_content() and self._reserve(len(body)):
            self.body = body

    def respond(self, status: int, content_type: str = "", content_encoding: str = "") -> None:
        """An answer begins; what an earlier attempt had brought is let go."""
        self.forget_response()
        self.status = status
        self.content_type = content_type
        self.content_encoding = content_encoding

    def chunk(self, data: bytes) -> None:
        """One more piece of the answer's body, as it came."""
        if not self.wants_content():
            return
        self._size += len(data)
        factor = STREAM_FACTOR if self.content_type.startswith("text/event-stream") else 1
        if self._size > factor * self._max_bytes:
            self.leave_out("response_too_large")
        elif self._reserve(len(data) + CHUNK_OVERHEAD_BYTES):
            self.chunks.append(data)
            self.chunk_times.append(time.perf_counter())

    def stop_clock(self, now_ms: int) -> None:
        """The answer is over, and what the service still does is none of its latency."""
        self.ended = time.perf_counter()
        self.completed_at = now_ms

    def forget_response(self) -> None:
        self._release(self._held())
        self.chunks, self.chunk_times, self._size = [], [], 0
        self.status, self.error, self.error_message, self.ended_early = 0, "", "", False

    def leave_out(self, why: str) -> None:
        """Mirror it without its content: nobody's answer is cut short in silence."""
        if not self.left_out:
            self.left_out = why
        self._release(len(self.body) + self._held())
        self.body, self.chunks, self.chunk_times = b"", [], []

    def wants_content(self) -> bool:
        return not (self.left_out or self.full)

    def finish(self, *, now_ms: Callable[[], int]) -> None:
        """The answer is over. Queues it for Kafka, or books it as dropped; once, whoever calls again."""
        if self.finished:
            return
        self.finished = True
        pipeline = self._pipeline
        if pipeline.forked:
            return  # it is the parent's
        if not self.completed_at:
            self.stop_clock(now_ms())
        if self.full:
            pipeline.refuse(self.ts, self.service, self.route, Drop.BUFFER_FULL)
            return
        self.queued_at = time.monotonic()
        pipeline.put(self)

    def _held(self) -> int:
        return sum(map(len, self.chunks)) + CHUNK_OVERHEAD_BYTES * len(self.chunks)

    def _reserve(self, size: int) -> bool:
        """False where the mirror has no room: then this exchange holds nothing any more."""
        buffer = self._pipeline.buffer
        if buffer.reserve(size):
            self.cost += size
            return True
        self.full = True
        buffer.release(self.cost)
        self.cost = 0
        self.body, self.chunks, self.chunk_times = b"", [], []
        return False

    def _release(self, size: int) -> None:
        self.cost -= size
        self._pipeline.buffer.release(size)
