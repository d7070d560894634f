"""The hooks that attachments place in a service's path: each one swallows what goes wrong inside itself.

A :class:`Call` is one logical call of a client: the attempts that the client makes inside it are one mirrored
request, of which the last attempt is the answer that the service got.
"""

from typing import TYPE_CHECKING

from shadowlane.producers.exchange import Exchange
from shadowlane.producers.twice import notice
from shadowlane.schemas.events import Failure, Protocol

if TYPE_CHECKING:
    from shadowlane.producers.mirror import Mirror

ROUTES: dict[str, str] = {
    Protocol.OPENAI_CHAT: "chat.completions",
    Protocol.OPENAI_RESPONSES: "responses",
    Protocol.ANTHROPIC_MESSAGES: "messages",
}
"""What a client's calls are called where the service does not name them."""


class Call:
    """Several attempts, one exchange. The attempt whose body is still open as the call returns (a stream)
    finishes it later."""

    __slots__ = ("_mirror", "_open", "_returned", "decided", "exchange", "route", "started")

    def __init__(self, mirror: "Mirror", route: str, started: float) -> None:
        self._mirror = mirror
        self._open = 0  # number of the attempt whose answer is being read; 0 is none
        self._returned = False
        self.route = route
        self.started = started
        self.decided = False  # sampled in or out
        self.exchange: Exchange | None = None

    def attempt(self, protocol: str, body: bytes | None, traceparent: str) -> "Attempt | None":
        """None where this request is not captured."""
        try:
            if not self.decided:
                self.decided = True
                self.exchange = self._mirror.begin(
                    self.route or ROUTES.get(protocol, protocol),
                    protocol,
                    traceparent=traceparent,
                    started=self.started,
                )
                if self.exchange is not None:
                    self.exchange.attempts = 0
            exchange = self.exchange
            if exchange is None or exchange.finished:
                return None
            exchange.attempts += 1
            exchange.forget_response()
            if exchange.attempts == 1:
                if body is None:
                    exchange.leave_out("request_not_readable")
                else:
                    exchange.request(body)
                if self._mirror.looks_for_twice:
                    notice(self._mirror, exchange)
            self._open = exchange.attempts
            return Attempt(self, exchange, self._open)
        except Exception as exc:
            self.trouble(exc)
            return None

    def returned(self) -> None:
        """The client handed its result, or its exception, to the service."""
        try:
            self._returned = True
            if self.exchange is not None and not self._open:
                self._mirror.finish(self.exchange)
        except Exception as exc:
            self.trouble(exc)

    def raised(self, error: BaseException) -> None:
        """The client raised. Where an answer came, that says what it was; a body still open is given up."""
        exchange = self.exchange
        if exchange is not None and not exchange.finished:
            exchange.ended_early = exchange.ended_early or self._open > 0
            self._open = 0
            if not exchange.error and not exchange.status:
                exchange.error, exchange.error_message = failure_of(error)
        self.returned()

    def over(self, attempt: int) -> None:
        """An attempt's answer is read, closed or broken."""
        if attempt == self._open:
            self._open = 0
            if self._returned and self.exchange is not None:
                self._mirror.finish(self.exchange)

    def trouble(self, exc: BaseException) -> None:
        self._mirror.trouble(exc)


class Attempt:
    """One HTTP exchange of a call."""

    __slots__ = ("_call", "_exchange", "_number", "_over")

    def __init__(self, call: Call, exchange: Exchange, number: int) -> None:
        self._call = call
        self._exchange = exchange
        self._number = number
        self._over = False

    def respond(self, status: int, content_type: str, content_encoding: str) -> None:
        try:
            self._exchange.respond(status, content_type, content_encoding)
        except Exception as exc:
            self._call.trouble(exc)

    def chunk(self, data: bytes) -> None:
        try:
            if not self._over:
                self._exchange.chunk(data)
        except Exception as exc:
            self._call.trouble(exc)

    def end(self, error: BaseException | None = None, *, early: bool = False) -> None:
        """The answer's body is read to its end, was closed early, or broke with ``error``. Once."""
        try:
            if self._over:
                return
            self._over = True
            exchange = self._exchange
            if exchange.finished or self._number != exchange.attempts:
                return  # the client has gone on to another attempt
            if error is not None:
                exchange.error, exchange.error_message = failure_of(error)
                exchange.ended_early = exchange.error == Failure.ABANDONED
            elif early:
                exchange.ended_early = True
            self._call.over(self._number)
        except Exception as exc:
            self._call.trouble(exc)


def failure_of(error: BaseException) -> tuple[Failure, str]:
    """(kind, text). By the names of the classes: which HTTP library it is does not matter, and it may not
    be imported here."""
    names = {cls.__name__ for cls in type(error).__mro__}
    text = f"{type(error).__name__}: {error}"[:500]
    if names & {"GeneratorExit", "CancelledError", "KeyboardInterrupt", "SystemExit"}:
        return Failure.ABANDONED, type(error).__name__
    if names & {"TimeoutException", "TimeoutError", "APITimeoutError"}:
        return Failure.TIMEOUT, text
    if names & {"TransportError", "RequestError", "APIConnectionError", "OSError", "EndOfStream"}:
        return Failure.CONNECTION, text
    return Failure.EXCEPTION, text
