"""An exchange that a tee in an HTTP client sees pass: the tee itself puts the pieces of the answer into a list, and
asks here only when they are many.

Between two calls of an SDK nothing of this is in any cache, and each function that is called and each object that is
looked into costs. So while an answer is small nothing is counted here, and no header is read before the mirror's thread
does: httpx decodes them all for one.
"""

from time import perf_counter
from typing import Any

from shadowlane.producers.buffer import FREE_BYTES, OVERHEAD_BYTES
from shadowlane.producers.exchange import CHUNK_OVERHEAD_BYTES, OVER, PIECES, Exchange

_OVER_SMALL = -5  # of ``room``: over, without ever having left the short way


class TeedExchange(Exchange):
    """The short way is a small body given to :meth:`asked`, an answer of few pieces, and :meth:`finish`."""

    __slots__ = ("_answered", "_asked", "_counted", "chunk_times")
    _asked: Any  # headers of the request, and of the answer, as httpx has them, while nobody has read them
    _answered: Any
    _counted: int  # pieces
    chunk_times: list[float] | None

    def asked(self, body: bytes | None, headers: Any) -> None:
        """The request: its body whole, None where it can't be read."""
        self.status = 0
        self.chunk_times = None
        self._asked = headers
        if body is None:
            self.leave_out("request_not_readable")
        elif (room := self.room - len(body)) >= 0:
            self.room = room
            self.body = body
        else:
            self.request(body)

    def answered(self, status: int, headers: Any) -> tuple[int, list[bytes], list[float]]:
        """An answer begins.

        Returns:
            The bytes that may come before :meth:`count` is asked, each piece with ``CHUNK_OVERHEAD_BYTES``; below 0,
            nothing more is to be put down. Where the pieces go, and when they came.
        """
        chunks: list[bytes] = []
        times: list[float] = []
        room = self.room
        if room < 0:
            self._take(status, headers, chunks, times)
            return self.count(), chunks, times
        self._answered = headers
        self.chunks = chunks
        self.chunk_times = times
        self.status = status
        return room, chunks, times

    def count(self) -> int:
        """Count the pieces that came since the last time. Returns the room from now on, as :meth:`answered`."""
        if self.room >= 0:
            self._leave_short_way()
        if self.room != PIECES:
            return -1
        new = self.chunks[self._counted :]
        size = sum(map(len, new))
        self._counted += len(new)
        self._answer += size
        self.unreserved += size + CHUNK_OVERHEAD_BYTES * len(new)
        if self._answer > self._max_answer:
            self.leave_out("response_too_large")
        elif self.unreserved <= FREE_BYTES or self._reserve():
            return FREE_BYTES - self.unreserved
        return -1

    def forget_response(self) -> None:
        if self.room < 0 and self.status:
            self.count()
        super().forget_response()

    def give_up_answer(self) -> None:
        """Nobody waits for the answer that is being read, though it may be read on: that goes nowhere."""
        if self.status:
            self.chunks = [*self.chunks]

    def finish(self) -> None:
        if self.room < 0:
            if not self.finished:
                if self.status:
                    self.count()
                self._read_asked()
                super().finish()
            return
        self.ended = perf_counter()
        self.room = _OVER_SMALL
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

    def charge(self) -> int:
        if self.room != _OVER_SMALL:
            return super().charge()
        self.room = OVER
        if self.status:
            self.content_type, encoding = _kind(self._answered)
            if encoding:
                self.content_encoding = encoding
            self._answered = None
        else:
            self.chunks, self.content_type = [], ""
        self._read_asked()
        pieces = sum(map(len, self.chunks)) + CHUNK_OVERHEAD_BYTES * len(self.chunks)
        self.cost = size = OVERHEAD_BYTES + len(self.body) + pieces
        return size

    def _leave_short_way(self) -> None:
        if status := self.status:
            chunks, times = self.chunks, self.chunk_times
            self._widen()
            self._take(status, self._answered, chunks, times)
        else:
            self._widen()

    def _take(self, status: int, headers: Any, chunks: list[bytes], times: list[float] | None) -> None:
        self.respond(status, *_kind(headers))
        self.chunks, self.chunk_times, self._counted = chunks, times, 0
        self._answered = None

    def _hold_nothing(self) -> None:
        self.chunks.clear()  # the tee has the same list
        super()._hold_nothing()

    def _read_asked(self) -> None:
        if traceparent := _header(self._asked, b"traceparent"):
            self.say("", traceparent)
        self._asked = None


def _kind(headers: Any) -> tuple[str, str]:
    """(content type, content encoding)."""
    return _header(headers, b"content-type").lower(), _header(headers, b"content-encoding")


def _header(headers: Any, name: bytes) -> str:
    """By its bytes: a look-up by name would leave a mark in the service's object. Asked while the books are locked, so
    nothing is raised, whatever a transport of the service's own gives."""
    try:
        found = [value for key, value in headers.raw if len(key) == len(name) and key.lower() == name]
        return b", ".join(found).decode("latin-1")
    except Exception:
        return ""
