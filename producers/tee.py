"""A tee in the transport of an httpx2 (or httpx) client: what passes is seen, and passes as it is.

httpx's transports and streams are duck-typed but for two classes that its client checks for
(``SyncByteStream``, ``AsyncByteStream``); those are taken from the library that the client itself is of, so
nothing is imported that the service has not imported.
"""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any

from shadowlane.producers.calls import Attempt, Call
from shadowlane.schemas.events import Protocol

# What a path ends with says which API it is; Azure's and those of other servers have more before it.
_ENDS = (b"/chat/completions", b"/responses", b"/messages")
_PROTOCOLS = {
    b"/completions": Protocol.OPENAI_CHAT.value,
    b"/responses": Protocol.OPENAI_RESPONSES.value,
    b"/messages": Protocol.ANTHROPIC_MESSAGES.value,
}

NewCall = Callable[[], Call]


class TeeTransport:
    """Takes the place of ``inner`` in a client. Everything but the requests themselves goes to ``inner``.

    Args:
        inner: an httpx transport, sync or async.
        call: the logical call that the SDK is in, if any.
        new_call: makes the call for an exchange outside any.
        library: the module ``httpx2`` or ``httpx`` by name.
        alone: an exchange outside any call is one too. Else it is somebody else's, who shares the client.
    """

    def __init__(
        self,
        inner: Any,
        call: ContextVar[Call | None],
        new_call: NewCall,
        library: str,
        owner: object,
        *,
        alone: bool,
    ) -> None:
        self._inner = inner
        self._call = call
        self._new_call = new_call
        self._library = library
        self.owner = owner
        self.alone = alone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def handle_request(self, request: Any) -> Any:
        call, attempt = self._begin(request)
        if attempt is None:
            return self._inner.handle_request(request)
        try:
            response = self._inner.handle_request(request)
        except BaseException as error:
            attempt.end(error)
            if call is not None:
                call.raised(error)
            raise
        return self._tee(response, attempt, call, asynchronous=False)

    async def handle_async_request(self, request: Any) -> Any:
        call, attempt = self._begin(request)
        if attempt is None:
            return await self._inner.handle_async_request(request)
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            attempt.end(error)
            if call is not None:
                call.raised(error)
            raise
        return self._tee(response, attempt, call, asynchronous=True)

    def _begin(self, request: Any) -> tuple[Call | None, Attempt | None]:
        """(the call made for this exchange alone, or None within the SDK's; what to tell)."""
        call: Call | None = None
        try:
            path = request.url.raw_path.partition(b"?")[0]
            if request.method != "POST" or not path.endswith(_ENDS):
                return None, None
            protocol = _PROTOCOLS[path[path.rfind(b"/") :]]
            within = self._call.get()
            if within is None:
                if not self.alone:
                    return None, None
                within = call = self._new_call()
            try:
                body = request.content
            except Exception:  # RequestNotRead: uploaded in pieces, by hand
                body = None
            traceparent = ""
            for name, value in request.headers.raw:  # a look-up by name would first decode them all
                if len(name) == 11 and name.lower() == b"traceparent":
                    traceparent = value.decode("latin-1")
            return call, within.attempt(protocol, body, traceparent)
        except Exception as exc:
            self._new_call().trouble(exc)
            return None, None

    def _tee(self, response: Any, attempt: Attempt, call: Call | None, *, asynchronous: bool) -> Any:
        try:
            headers = response.headers
            attempt.respond(
                response.status_code,
                headers.get("content-type", "").lower(),
                headers.get("content-encoding", ""),
            )
            sync_stream, async_stream = stream_classes(self._library)
            response.stream = (async_stream if asynchronous else sync_stream)(response.stream, attempt)
        except Exception as exc:
            attempt.end(exc)
            self._new_call().trouble(exc)
        if call is not None:
            call.returned()  # nothing but the body is left of it
        return response

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


@cache
def stream_classes(library: str) -> tuple[type, type]:
    """The two tees of streams, as classes of ``library``."""
    module: Any = sys.modules[library]

    class TeeStream(module.SyncByteStream):  # type: ignore[misc]  # a class known at run time only
        def __init__(self, inner: Any, attempt: Attempt) -> None:
            self._inner = inner
            self._attempt = attempt

        def __iter__(self) -> Iterator[bytes]:
            try:
                for chunk in self._inner:
                    self._attempt.chunk(chunk)
                    yield chunk
            except BaseException as error:
                self._attempt.end(error)
                raise
            self._attempt.end()

        def close(self) -> None:
            try:
                self._inner.close()
            finally:
                self._attempt.end(early=True)

        def __del__(self) -> None:
            self._attempt.end(early=True)  # neither read to its end nor closed

    class AsyncTeeStream(module.AsyncByteStream):  # type: ignore[misc]  # a class known at run time only
        def __init__(self, inner: Any, attempt: Attempt) -> None:
            self._inner = inner
            self._attempt = attempt

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in self._inner:
                    self._attempt.chunk(chunk)
                    yield chunk
            except BaseException as error:
                self._attempt.end(error)
                raise
            self._attempt.end()

        async def aclose(self) -> None:
            try:
                await self._inner.aclose()
            finally:
                self._attempt.end(early=True)

        def __del__(self) -> None:
            self._attempt.end(early=True)  # neither read to its end nor closed

    return TeeStream, AsyncTeeStream


def library_of(client: Any) -> str:
    """``httpx2`` or ``httpx``, whichever an HTTP client is of; "" if neither."""
    for cls in type(client).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in ("httpx2", "httpx"):
            return root
    return ""


def tee_client(
    client: Any,
    call: ContextVar[Call | None],
    new_call: NewCall,
    library: str,
    owner: object,
    *,
    alone: bool,
) -> None:
    """Put a tee into each transport of an HTTP client that has none of this owner's."""

    def teed(transport: Any) -> Any:
        inner = transport
        while isinstance(inner, TeeTransport):
            if inner.owner is owner:
                inner.alone = inner.alone or alone
                return transport
            inner = inner._inner
        return TeeTransport(transport, call, new_call, library, owner, alone=alone)

    mounts = {
        pattern: None if transport is None else teed(transport)
        for pattern, transport in client._mounts.items()
    }
    client._transport = teed(client._transport)
    client._mounts = mounts
