"""``mirror.wsgi``: the JSON requests of a web service, as WSGI middleware (PEP 3333).

The body is seen as the application reads it, the answer as the server takes it; streamed answers stay streamed.
Requests whose content type is not JSON, and shadow requests, pass untouched and are not eligible.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from shadowlane.producers.asgi import is_json
from shadowlane.producers.calls import failure_of
from shadowlane.producers.context import shadowing
from shadowlane.producers.exchange import Exchange
from shadowlane.schemas.events import Failure, Protocol
from shadowlane.schemas.marks import SHADOW

if TYPE_CHECKING:
    from shadowlane.producers.mirror import Mirror

ROUTE = "shadowlane.route"
"""The key of the environment in which the application names its route, at any time before the answer ends."""

_SHADOW = "HTTP_" + SHADOW.upper().replace("-", "_")
_PROTOCOL = Protocol.JSON.value

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]


class WsgiMiddleware:
    """``app``, mirrored. ``routes``: only paths that start with one of them; None is all, and () is none."""

    def __init__(self, mirror: "Mirror", app: Any, routes: Collection[str] | None = None) -> None:
        self.mirror = mirror
        self.app = app
        self.routes = None if routes is None else tuple(routes)

    def __getattr__(self, name: str) -> Any:
        # A framework's application stays usable as such: app.config, app.route, ….
        if name == "app":
            raise AttributeError(name)
        return getattr(self.app, name)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if _SHADOW in environ:
            return self._shadowed(environ, start_response)
        tee = self._tee(environ)
        if tee is None:
            answer: Iterable[bytes] = self.app(environ, start_response)
            return answer

        def start_teed(
            status: str, headers: list[tuple[str, str]], *exc_info: Any
        ) -> Callable[[bytes], object]:
            write = start_response(status, headers, *exc_info)
            tee.started(status, headers)

            def write_teed(data: bytes) -> object:
                result = write(data)
                tee.chunk(data)
                return result

            return write_teed

        try:
            pieces = self.app(environ, start_teed)
        except BaseException as error:
            tee.over(environ, error)
            raise
        return (_SizedPieces if hasattr(pieces, "__len__") else _Pieces)(pieces, tee, environ)

    def _shadowed(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        """The answer to a shadow request; what the application asks on the way to it is not mirrored either."""
        with shadowing():
            pieces = self.app(environ, start_response)
            each = iter(pieces)
        try:
            while True:
                with shadowing():  # not across a yield: what follows it here is the server's
                    piece = next(each, None)
                if piece is None:
                    return
                yield piece
        finally:
            if callable(close := getattr(pieces, "close", None)):
                close()

    def _tee(self, environ: Environ) -> "_Tee | None":
        """None: not ours to see."""
        try:
            path = environ.get("PATH_INFO", "") or "/"
            if self.routes is not None and not path.startswith(self.routes):
                return None
            if not is_json(environ.get("CONTENT_TYPE", "")):
                return None
            exchange = self.mirror.begin(path, _PROTOCOL, traceparent=environ.get("HTTP_TRACEPARENT", ""))
            if exchange is None:
                return None
            exchange.host = environ.get("HTTP_HOST", "")
            tee = _Tee(self.mirror, exchange, _length(environ))
            environ["wsgi.input"] = _Input(environ["wsgi.input"], tee)
            return tee
        except Exception as exc:
            self.mirror.trouble(exc)
            return None


class _Tee:
    """One request. Nothing here raises."""

    def __init__(self, mirror: "Mirror", exchange: Exchange, length: int | None) -> None:
        self._mirror = mirror
        self._exchange = exchange
        self._left = length  # of the request's body, bytes that are not read yet; None where it has no length
        self._read = length == 0
        self._over = False

    def received(self, data: bytes, *, asked: bool) -> None:
        """``asked``: for more than nothing, so that no data is the body's end."""
        try:
            if self._read:
                return
            if self._left is not None:
                self._left -= len(data)
            self._read = (asked and not data) or (self._left is not None and self._left <= 0)
            if data or self._read:
                self._exchange.request_piece(data, last=self._read)
        except Exception as exc:
            self._mirror.trouble(exc)

    def started(self, status: str, headers: list[tuple[str, str]]) -> None:
        try:
            named = {name.lower(): value for name, value in headers}
            content_type = named.get("content-type", "").lower()
            self._exchange.respond(
                int(status.split(None, 1)[0]), content_type, named.get("content-encoding", "")
            )
            if not (is_json(content_type) or content_type.startswith("text/") or not content_type):
                self._exchange.leave_out("response_not_text")
        except Exception as exc:
            self._mirror.trouble(exc)

    def chunk(self, data: bytes) -> None:
        try:
            if data:
                self._exchange.chunk(data)
        except Exception as exc:
            self._mirror.trouble(exc)

    def over(self, environ: Environ, error: BaseException | None, *, whole: bool = False) -> None:
        """Once. ``whole``: the server has taken the answer to its end."""
        try:
            if self._over:
                return
            self._over = True
            exchange = self._exchange
            if not self._read and exchange.wants_content():
                # The application answered without reading the request to its end.
                exchange.leave_out("request_not_read")
            if not whole:
                exchange.ended_early = True
                if error is not None:
                    exchange.error, exchange.error_message = failure_of(error)
                    if exchange.error != Failure.ABANDONED:
                        exchange.error = Failure.EXCEPTION
            route = environ.get(ROUTE)
            if isinstance(route, str):
                exchange.name_route(route)
            self._mirror.finish(exchange)
        except Exception as exc:
            self._mirror.trouble(exc)


class _Input:
    """The request's body, seen as the application reads it: with what PEP 3333 has it have, and nothing more, for
    what the server's has besides would be read past the tee."""

    def __init__(self, inner: Any, tee: _Tee) -> None:
        self._inner = inner
        self._tee = tee

    def read(self, size: int | None = -1) -> bytes:
        data: bytes = self._inner.read() if size is None or size < 0 else self._inner.read(size)
        self._tee.received(data, asked=size != 0)
        if size is None or size < 0:
            self._tee.received(b"", asked=True)  # that was all of it
        return data

    def readline(self, size: int | None = -1) -> bytes:
        line: bytes = self._inner.readline() if size is None or size < 0 else self._inner.readline(size)
        self._tee.received(line, asked=size != 0)
        return line

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        lines: list[bytes] = self._inner.readlines() if hint is None else self._inner.readlines(hint)
        self._tee.received(b"".join(lines), asked=True)
        if hint is None or hint <= 0:
            self._tee.received(b"", asked=True)  # that was all of it
        return lines

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line


class _Pieces:
    """The answer's pieces, seen as the server takes them."""

    def __init__(self, pieces: Iterable[bytes], tee: _Tee, environ: Environ) -> None:
        self._pieces = pieces
        self._iterator: Iterator[bytes] | None = None
        self._tee = tee
        self._environ = environ

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._iterator is None:
                self._iterator = iter(self._pieces)
            piece = next(self._iterator)
        except StopIteration:
            self._tee.over(self._environ, None, whole=True)
            raise
        except BaseException as error:
            self._tee.over(self._environ, error)
            raise
        self._tee.chunk(piece)
        return piece

    def close(self) -> None:
        """The server has the answer, or gave it up."""
        try:
            if (close := getattr(self._pieces, "close", None)) is not None:
                close()
        finally:
            self._tee.over(self._environ, None)


class _SizedPieces(_Pieces):
    """Of a list: servers set the Content-Length of one that has a single piece."""

    def __len__(self) -> int:
        return len(self._pieces)  # type: ignore[arg-type]  # it has a length, or it were no _SizedPieces


def _length(environ: Environ) -> int | None:
    """Of the request's body, bytes; None where it comes in chunks."""
    given = environ.get("CONTENT_LENGTH", "")
    return int(given) if str(given).isdigit() else None if environ.get("HTTP_TRANSFER_ENCODING") else 0
