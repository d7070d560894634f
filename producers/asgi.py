"""``mirror.asgi``: the JSON requests of a web service, as pure ASGI middleware.

Messages pass through as they come, before anything is noted of them; streamed answers stay streamed.
WebSockets, requests whose content type is not JSON, and shadow requests pass untouched and are not eligible. The
lifespan passes too, and at its end what the mirror holds is sent: uvicorn then ends the process by the signal that it
got, and no handler of Python's runs after that.
"""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import TYPE_CHECKING, Any

from shadowlane.producers.calls import failure_of
from shadowlane.producers.context import shadowing
from shadowlane.producers.exchange import Exchange
from shadowlane.schemas.events import Failure, Protocol
from shadowlane.schemas.marks import SHADOW

if TYPE_CHECKING:
    from shadowlane.producers.mirror import Mirror

_SHADOW = SHADOW.encode()
_PROTOCOL = Protocol.JSON  # a member of an enumeration takes a quarter of a microsecond to look up

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class MirrorMiddleware:
    """``app``, mirrored. ``routes``: only paths that start with one of them; None is all, and () is none."""

    def __init__(self, mirror: "Mirror", app: Any, routes: Collection[str] | None = None) -> None:
        self.mirror = mirror
        self.app = app
        self.routes = None if routes is None else tuple(routes)

    def __getattr__(self, name: str) -> Any:
        # A framework's application stays usable as such: app.state, app.router, ….
        if name == "app":
            raise AttributeError(name)
        return getattr(self.app, name)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope.get("type") == "lifespan":
            await self.app(scope, receive, self._flushing(send))
            return
        tee = self._tee(scope)
        if tee is None:
            if any(name == _SHADOW for name, _ in scope.get("headers", ())):
                with shadowing():
                    await self.app(scope, receive, send)
            else:
                await self.app(scope, receive, send)
            return

        async def receive_teed() -> Message:
            message = await receive()
            tee.received(message)
            return message

        async def send_teed(message: Message) -> None:
            await send(message)
            tee.sent(message)

        try:
            await self.app(scope, receive_teed, send_teed)
        except BaseException as error:
            tee.over(scope, error)
            raise
        tee.over(scope, None)

    def _flushing(self, send: Send) -> Send:
        """``send``, and before it says that the application has shut down, all that is left goes to Kafka."""

        async def send_after_flush(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                # Blocks for exit_timeout at most, and nobody: connections and background tasks are over.
                self.mirror.flush(self.mirror.settings.exit_timeout)
            await send(message)

        return send_after_flush

    def _tee(self, scope: MutableMapping[str, Any]) -> "_Tee | None":
        """None: not ours to see."""
        try:
            if scope["type"] != "http" or (
                self.routes is not None and not scope["path"].startswith(self.routes)
            ):
                return None
            headers = dict(scope["headers"])
            if _SHADOW in headers or not is_json(headers.get(b"content-type", b"").decode("latin-1")):
                return None
            traceparent = headers.get(b"traceparent", b"").decode("latin-1")
            exchange = self.mirror.begin(scope["path"], _PROTOCOL, traceparent=traceparent)
            if exchange is None:
                return None
            exchange.host = headers.get(b"host", b"").decode("latin-1")
            return _Tee(self.mirror, exchange)
        except Exception as exc:
            self.mirror.trouble(exc)
            return None


class _Tee:
    """One request. Nothing here raises."""

    def __init__(self, mirror: "Mirror", exchange: Exchange) -> None:
        self._mirror = mirror
        self._exchange = exchange
        self._request_complete = False
        self._answer_complete = False

    def received(self, message: Message) -> None:
        try:
            if message["type"] != "http.request" or self._request_complete:
                return
            self._request_complete = not message.get("more_body", False)
            self._exchange.request_piece(message.get("body", b""), last=self._request_complete)
        except Exception as exc:
            self._mirror.trouble(exc)

    def sent(self, message: Message) -> None:
        try:
            if message["type"] == "http.response.start":
                headers = {name.lower(): value for name, value in message.get("headers", ())}
                content_type = headers.get(b"content-type", b"").decode("latin-1").lower()
                encoding = headers.get(b"content-encoding", b"").decode("latin-1")
                self._exchange.respond(message["status"], content_type, encoding)
                if not (is_json(content_type) or content_type.startswith("text/") or not content_type):
                    self._exchange.leave_out("response_not_text")
            elif message["type"] == "http.response.body":
                part = message.get("body", b"")
                if part:
                    self._exchange.chunk(bytes(part))
                if not message.get("more_body", False):
                    self._answer_complete = True
                    # Background tasks run on after the last byte; the answer is over here.
                    self._exchange.stop_clock()
        except Exception as exc:
            self._mirror.trouble(exc)

    def over(self, scope: MutableMapping[str, Any], error: BaseException | None) -> None:
        try:
            exchange = self._exchange
            if not self._request_complete and exchange.wants_content():
                # The application answered without reading the request to its end.
                exchange.leave_out("request_not_read")
            if not self._answer_complete:
                exchange.ended_early = True
                if error is not None:
                    exchange.error, exchange.error_message = failure_of(error)
                    if exchange.error != Failure.ABANDONED:
                        exchange.error = Failure.EXCEPTION
                elif not exchange.status:
                    exchange.error = Failure.EXCEPTION
                    exchange.error_message = "the application ended without an answer"
            template = getattr(scope.get("route"), "path", None)
            if isinstance(template, str):
                exchange.name_route(template)
            self._mirror.finish(exchange)
        except Exception as exc:
            self._mirror.trouble(exc)


def is_json(content_type: str) -> bool:
    """``application/json`` and ``…+json``, with or without parameters."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
