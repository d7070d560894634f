"""A tee in the transport of an httpx2 (or httpx) client: what passes is seen, and passes as it is.

httpx's transports and streams are duck-typed but for two classes that its client checks for
(``SyncByteStream``, ``AsyncByteStream``); those are taken from the library that the client itself is of, so
nothing is imported that the service has not imported.
"""

import sys
from collections.abc import AsyncIterator, Iterator
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

from shadowlane.producers.calls import Attempt, new_call
from shadowlane.producers.exchange import CHUNK_OVERHEAD_BYTES
from shadowlane.schemas.events import Protocol

if TYPE_CHECKING:
    from shadowlane.producers.mirror import Mirror

# What a path ends with says which API it is; Azure's and those of other servers have more before it.
_PROTOCOLS = {
    b"/chat/completions": Protocol.OPENAI_CHAT.value,
    b"/responses": Protocol.OPENAI_RESPONSES.value,
    b"/messages": Protocol.ANTHROPIC_MESSAGES.value,
}
_REMEMBERED = 100  # paths


class TeeTransport:
    """Takes the place of ``inner`` in a client. Everything but the requests themselves goes to ``inner``.

    Args:
        inner: an httpx transport, sync or async.
        mirror: whose tee it is.
        route: of an exchange outside any call that an SDK opened.
        library: the module ``httpx2`` or ``httpx`` by name.
        alone: such an exchange is a call by itself. Else it is somebody else's, who shares the client.
    """

    def __init__(self, inner: Any, mirror: "Mirror", route: str, library: str, *, alone: bool) -> None:
        self._inner = inner
        self._call = mirror.current_call
        self._route = route
        self._stream, self._async_stream = stream_classes(library)
        self._paths: dict[bytes, str] = {}  # with their queries, to protocols
        self.mirror = mirror
        self.alone = alone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def handle_request(self, request: Any) -> Any:
        attempt = self._begin(self._stream, request)
        if attempt is None:
            return self._inner.handle_request(request)
        try:
            response = self._inner.handle_request(request)
        except BaseException as error:
            attempt.failed(error)
            raise
        attempt.tee(response)
        return response

    async def handle_async_request(self, request: Any) -> Any:
        attempt = self._begin(self._async_stream, request)
        if attempt is None:
            return await self._inner.handle_async_request(request)
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            attempt.failed(error)
            raise
        attempt.tee(response)
        return response

    def _begin(self, made: "type[TeeStream]", request: Any) -> "TeeStream | None":
        """None where this request is not captured."""
        try:
            if request.method != "POST":
                return None
            path = request.url.raw_path
            protocol = self._paths.get(path) or self._protocol(path)
            if not protocol:
                return None
            call = self._call.get()
            if call is None:
                if not self.alone:
                    return None
                call = new_call(self.mirror, self._route, lone=True)
            return call.attempt(made, protocol, request)
        except Exception as exc:
            self.mirror.trouble(exc)
            return None

    def _protocol(self, path: bytes) -> str:
        """ "" is none."""
        asked = path.partition(b"?")[0]
        for end, protocol in _PROTOCOLS.items():
            if asked.endswith(end):
                if len(self._paths) < _REMEMBERED:
                    self._paths[path] = protocol
                return protocol
        return ""

    def __enter__(self) -> Any:
        self._inner.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._inner.__exit__(*exc)

    async def __aenter__(self) -> Any:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._inner.__aexit__(*exc)


class TeeStream(Attempt):
    """An answer's body on its way to the service, and what is told of it."""

    __slots__ = ("_inner",)

    def tee(self, response: Any) -> None:
        """Take the place of the stream of ``response``. Of nothing here the service hears."""
        try:
            self._inner = response.stream
            self.respond(response.status_code, response.headers)
            if response.is_closed:  # a transport of the service's own gave it whole
                self.more(response.content)
                self.end()
            else:
                response.stream = self
        except Exception as exc:
            self.end(exc)
            self.call.mirror.trouble(exc)
        if self.call.lone:
            self.call.returned()  # nothing but the body is left of it

    def failed(self, error: BaseException) -> None:
        """There will be no answer."""
        self.end(error)
        if self.call.lone:
            self.call.raised(error)

    def __del__(self) -> None:
        if not self.ended:
            self.end(early=True)  # neither read to its end nor closed


class _AsyncPieces:
    """The pieces of an answer's body as they come. No async generator: an event loop keeps a weak reference to each of
    those, and makes a task to close each that is left before its end, as the openai SDK leaves a stream at ``[DONE]``.

    Args:
        tee: told of what passes.
        pieces: as they come.
    """

    __slots__ = ("_pieces", "_tee")

    def __init__(self, tee: TeeStream, pieces: AsyncIterator[bytes]) -> None:
        self._tee = tee
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        tee = self._tee
        try:
            chunk = await anext(self._pieces)
        except StopAsyncIteration:
            tee.end()
            raise
        except BaseException as error:
            tee.end(error)
            raise
        try:
            tee.room = room = tee.room - len(chunk) - CHUNK_OVERHEAD_BYTES
            if room >= 0:
                tee.chunks.append(chunk)
                tee.times.append(perf_counter())
            else:
                tee.room = tee.more(chunk)
        except Exception as exc:
            tee.call.mirror.trouble(exc)
        return chunk

    def __del__(self) -> None:
        if not self._tee.ended:
            self._tee.end(early=True)  # nobody will ask for the rest


@cache
def stream_classes(library: str) -> tuple[type[TeeStream], type[TeeStream]]:
    """The two tees of streams, as classes of ``library``."""
    module: Any = sys.modules[library]

    class SyncTee(TeeStream, module.SyncByteStream):  # type: ignore[misc]  # a class known at run time only
        def __iter__(self) -> Iterator[bytes]:
            room, chunks, times = self.room, self.chunks, self.times
            try:
                for chunk in self._inner:
                    try:
                        room -= len(chunk) + CHUNK_OVERHEAD_BYTES
                        if room >= 0:
                            chunks.append(chunk)
                            times.append(perf_counter())
                        else:
                            room = self.more(chunk)
                    except Exception as exc:
                        self.call.mirror.trouble(exc)
                    yield chunk
            except BaseException as error:
                self.end(error)
                raise
            self.end()

        def close(self) -> None:
            try:
                self._inner.close()
            finally:
                if not self.ended:
                    self.end(early=True)

    class AsyncTee(TeeStream, module.AsyncByteStream):  # type: ignore[misc]  # a class known at run time only
        def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                return _AsyncPieces(self, self._inner.__aiter__())
            except BaseException as error:
                self.end(error)
                raise

        async def aclose(self) -> None:
            try:
                await self._inner.aclose()
            finally:
                if not self.ended:
                    self.end(early=True)

    return SyncTee, AsyncTee


def library_of(client: Any) -> str:
    """``httpx2`` or ``httpx``, whichever an HTTP client is of; "" if neither."""
    for cls in type(client).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in ("httpx2", "httpx"):
            return root
    return ""


def tee_client(client: Any, mirror: "Mirror", route: str, library: str, *, alone: bool) -> None:
    """Put a tee into each transport of an HTTP client that has none of this mirror's."""

    def teed(transport: Any) -> Any:
        inner = transport
        while isinstance(inner, TeeTransport):
            if inner.mirror is mirror:
                inner.alone = inner.alone or alone
                return transport
            inner = inner._inner
        return TeeTransport(transport, mirror, route, library, alone=alone)

    mounts = {
        pattern: None if transport is None else teed(transport)
        for pattern, transport in client._mounts.items()
    }
    client._transport = teed(client._transport)
    client._mounts = mounts
