"""Reading a request's body within bounds: its own, unpacked, and those of all that are held at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from shadowlane.errors import CodecError
from shadowlane.producers.decoding import decode_chunks


class FullError(Exception):
    """As much is held already as may be."""


class TooLargeError(Exception):
    """A body is over its bound."""


class UnknownEncodingError(Exception):
    """A body is packed in a way that is not read here, or not as it says."""


class Held:
    """Bytes of one request's bodies."""

    def __init__(self, room: "Room") -> None:
        self._room = room
        self.bytes = 0

    def take(self, size: int) -> None:
        """Raises FullError where there is no room."""
        if self._room.bytes + size > self._room.most:
            raise FullError
        self._room.bytes += size
        self.bytes += size


class Room:
    """How many bytes are held, of at most ``most``."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """What is taken within the ``with`` block is given back at its end."""
        held = Held(self)
        try:
            yield held
        finally:
            self.bytes -= held.bytes


async def read_body(request: web.Request, held: Held, most: int) -> bytes:
    """The body, unpacked where it is gzip or deflate: at most ``most`` bytes, packed and unpacked.

    Raises:
        FullError, TooLargeError, UnknownEncodingError.
    """
    if (request.content_length or 0) > most:
        raise TooLargeError
    chunks, size = [], 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > most:
            raise TooLargeError
        held.take(len(chunk))
        chunks.append(chunk)
    encoding = request.headers.get("Content-Encoding", "")
    try:
        body = b"".join(decode_chunks(chunks, encoding, most))
    except CodecError as exc:
        if str(exc) == "response_too_large":
            raise TooLargeError from exc
        raise UnknownEncodingError from exc
    if encoding:
        held.take(len(body))
    return body
