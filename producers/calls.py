"""The hooks that attachments place in a service's path: each one swallows what goes wrong inside itself.

A :class:`Call` is one logical call of a client: the attempts that the client makes inside it are one mirrored
request, of which the last attempt is the answer that the service got.
"""

from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from shadowlane.producers.teed import TeedExchange
from shadowlane.producers.twice import notice
from shadowlane.schemas.events import Failure, Protocol

if TYPE_CHECKING:
    from shadowlane.producers.mirror import Mirror

A = TypeVar("A", bound="Attempt")

ROUTES: dict[str, str] = {
    Protocol.OPENAI_CHAT: "chat.completions",
    Protocol.OPENAI_RESPONSES: "responses",
    Protocol.ANTHROPIC_MESSAGES: "messages",
}
"""What a client's calls are called where the service does not name them."""


class Call:
    """Several attempts, one exchange. The attempt whose body is still open as the call returns (a stream)
    finishes it later.

    It knows no attempt: each knows its call, and in a circle a stream that a service drops would not end then.
    """

    __slots__ = ("attempts", "exchange", "lone", "mirror", "opened", "over", "route", "started")
    mirror: "Mirror"
    route: str
    started: float  # time.perf_counter seconds
    lone: bool  # of one HTTP exchange, and over with it
    attempts: int
    opened: int  # number of the attempt whose answer is being read; 0 is none
    over: bool  # returned, or raised
    exchange: TeedExchange | None

    def attempt(self, made: type[A], protocol: str, request: Any) -> A | None:
        """The next one, as ``made``, of a request of httpx; None where it is not captured."""
        mirror = self.mirror
        try:
            self.attempts = number = self.attempts + 1
            if number == 1:
                exchange = TeedExchange()
                route = self.route or ROUTES[protocol]
                if mirror.begin(route, protocol, started=self.started, into=exchange) is None:
                    return None
                try:
                    body = request.content
                except Exception:  # RequestNotRead: uploaded in pieces, by hand
                    body = None
                exchange.asked(body, request.headers)
                if mirror.looks_for_twice:
                    notice(mirror, exchange)
                self.exchange = exchange
            else:
                earlier = self.exchange
                if earlier is None or earlier.finished:
                    return None
                exchange = earlier
                exchange.attempts = number
                exchange.forget_response()
            self.opened = number
            attempt = made()
            attempt.ended = False
            attempt.number = number
            attempt.call = self
            attempt.exchange = exchange
            return attempt
        except Exception as exc:
            mirror.trouble(exc)
            return None

    def returned(self) -> None:
        """The client handed its result, or its exception, to the service."""
        try:
            self.over = True
            exchange = self.exchange
            if exchange is not None and not self.opened:
                exchange.finish()
        except Exception as exc:
            self.mirror.trouble(exc)

    def raised(self, error: BaseException) -> None:
        """The client raised. Where an answer came, that says what it was; a body still open is given up."""
        exchange = self.exchange
        if exchange is not None and not exchange.finished:
            if self.opened:
                self.opened = 0
                exchange.ended_early = True
                exchange.give_up_answer()
            if not exchange.error and not exchange.status:
                exchange.error, exchange.error_message = failure_of(error)
        self.returned()


def new_call(mirror: "Mirror", route: str, *, lone: bool = False) -> Call:
    """A call that begins now. An ``__init__`` would cost twice as much."""
    call = Call()
    call.mirror = mirror
    call.route = route
    call.lone = lone
    call.attempts = call.opened = 0
    call.over = False
    call.exchange = None
    call.started = perf_counter()
    return call


class Attempt:
    """One HTTP exchange of a call. It has no ``__init__``: :meth:`Call.attempt` makes it, and sets the first four."""

    __slots__ = ("call", "chunks", "ended", "exchange", "number", "room", "times")
    ended: bool
    number: int
    call: Call
    exchange: TeedExchange
    chunks: list[bytes]
    times: list[float]
    room: int

    def respond(self, status: int, headers: Any) -> None:
        """An answer begins. Whoever reads it appends the pieces to ``chunks`` and when they came to ``times``, as long
        as they fit ``room``, and tells :meth:`more` of one that does not."""
        self.room, self.chunks, self.times = self.exchange.answered(status, headers)

    def more(self, chunk: bytes) -> int:
        """A piece for which there is no room left: the room from now on; below 0, none."""
        exchange = self.exchange
        if (
            self.ended
            or self.number != self.call.attempts
            or exchange.finished
            or not exchange.wants_content()
        ):
            return -1
        self.chunks.append(chunk)
        self.times.append(perf_counter())
        return exchange.count()

    def end(self, error: BaseException | None = None, *, early: bool = False) -> None:
        """The answer's body is read to its end, was closed early, or broke with ``error``. Once."""
        call = self.call
        try:
            if self.ended:
                return
            self.ended = True
            exchange = self.exchange
            if self.number != call.attempts or exchange.finished:
                return  # the client has gone on to another attempt
            if error is not None:
                exchange.error, exchange.error_message = failure_of(error)
                exchange.ended_early = exchange.error == Failure.ABANDONED
            elif early:
                exchange.ended_early = True
            if call.opened == self.number:
                call.opened = 0
                if call.over:
                    exchange.finish()
        except Exception as exc:
            call.mirror.trouble(exc)


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
