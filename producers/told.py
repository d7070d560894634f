"""Calls of which a library tells by callbacks, and not as the bytes of an HTTP exchange: each is put down as the
chat completion that it stands for, so that it is read, redacted and scored like any other.
"""

from collections.abc import Callable, Mapping
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

import orjson

from shadowlane.producers.calls import ROUTES, failure_of
from shadowlane.producers.exchange import Exchange
from shadowlane.producers.observe import encode_value
from shadowlane.producers.twice import mark_told
from shadowlane.schemas.events import Failure, Protocol

if TYPE_CHECKING:
    from shadowlane.producers.mirror import Mirror

_CHAT = Protocol.OPENAI_CHAT.value
_STREAM = b'"stream":true'


class ToldCall:
    """One logical call. Nothing here raises.

    Who tells of it holds it. Let go of before its end was told, it was abandoned; or, where an attempt of it had
    failed, that failure was its end.
    """

    __slots__ = ("__weakref__", "_began", "_exchange", "_failed", "_first", "_mirror", "_noted")

    def __init__(self, mirror: "Mirror", exchange: Exchange) -> None:
        self._mirror = mirror
        self._exchange = exchange
        self._first = 0.0  # perf_counter seconds; 0 is not yet
        self._began = exchange.started  # the last attempt
        self._noted: tuple[int, str, str] | None = None  # the last failure: status, error, text
        self._failed = False

    @classmethod
    def begin(
        cls,
        mirror: "Mirror",
        route: str,
        body: Callable[[], Mapping[str, Any]],
        began: float | None = None,
    ) -> "ToldCall | None":
        """None where this request is not captured.

        Args:
            body: gives what was asked, as the body of a chat completion.
            began: when the service made the call, Unix seconds; None is now.
        """
        try:
            exchange = mirror.begin(route or ROUTES[_CHAT], _CHAT)
            if exchange is None:
                return None
            if began is not None:
                exchange.started = min(_perf(began), exchange.started)
            call = cls(mirror, exchange)
            mirror.told.add(call)
            call._ask(body)
            mark_told(mirror, exchange)
            return call
        except Exception as exc:
            mirror.trouble(exc)
            return None

    @property
    def failed(self) -> bool:
        """It has failed, and might be tried again."""
        return self._failed and not self._exchange.finished

    @property
    def attempts(self) -> int:
        return self._exchange.attempts

    def again(self, body: Callable[[], Mapping[str, Any]]) -> None:
        """Another attempt begins, which may ask somewhat else."""
        try:
            exchange = self._exchange
            if not exchange.finished:
                exchange.attempts += 1
                exchange.forget_response()
                exchange.ended = 0.0
                self._began = perf_counter()
                self._first, self._failed = 0.0, False
                self._ask(body)
        except Exception as exc:
            self._mirror.trouble(exc)

    def token(self) -> None:
        """A part of the answer came."""
        self._first = self._first or perf_counter()

    def answered(
        self,
        completion: Callable[[], Mapping[str, Any]],
        *,
        first: float | None = None,
        ended: float | None = None,
    ) -> None:
        """The answer, as the body of a chat completion.

        Args:
            first: of streams, when the first token came, Unix seconds, where :meth:`token` was not told.
            ended: when the answer's end came, Unix seconds; None is now.
        """
        try:
            exchange = self._exchange
            if exchange.finished:
                return
            exchange.stop_clock()
            if ended is not None:
                exchange.ended = max(_perf(ended), exchange.started)
            if first is not None:
                self._first = max(_perf(first), exchange.started)
            self._take(completion)
            self._mirror.finish(exchange)
        except Exception as exc:
            self._mirror.trouble(exc)

    def broke(
        self,
        error: BaseException,
        partial: Callable[[], Mapping[str, Any]] | None = None,
        *,
        last: bool = True,
    ) -> None:
        """The call failed.

        Args:
            partial: gives what had come until then, as a chat completion without a finish reason.
            last: it will not be tried again.
        """
        try:
            exchange = self._exchange
            if exchange.finished:
                return
            exchange.stop_clock()
            if self._first and partial is not None:
                self._take(partial)
            _note(exchange, error)
            self._noted = (exchange.status, exchange.error, exchange.error_message)
            self._failed = True
            if last:
                self._mirror.finish(exchange)
        except Exception as exc:
            self._mirror.trouble(exc)

    def over(self) -> None:
        """Nothing more will be told of it."""
        try:
            exchange = self._exchange
            if not exchange.finished:
                if self._noted is None:
                    exchange.ended_early = True
                elif not self._failed:
                    exchange.stop_clock()
                    exchange.ended = self._began
                    exchange.status, exchange.error, exchange.error_message = self._noted
                self._mirror.finish(exchange)
        except Exception as exc:
            self._mirror.trouble(exc)

    def __del__(self) -> None:
        self.over()

    def __deepcopy__(self, memo: object) -> "ToldCall":
        return self  # libraries copy what they carry it in

    def _ask(self, body: Callable[[], Mapping[str, Any]]) -> None:
        exchange = self._exchange
        if not exchange.wants_content():
            return
        try:
            raw = encode_value(body())
        except Exception:  # orjson's, or that of a model that dumps itself
            exchange.leave_out("request_not_json")
        else:
            exchange.request(raw)

    def _take(self, completion: Callable[[], Mapping[str, Any]]) -> None:
        exchange = self._exchange
        streamed = self._first > 0
        if not exchange.wants_content():
            exchange.respond(200)
            return
        try:
            told = completion()
            body = _events(told) if streamed else encode_value(told)
        except Exception:
            exchange.leave_out("response_not_json")
            return
        exchange.respond(200, "text/event-stream" if streamed else "application/json")
        exchange.chunk(body)
        if streamed and exchange.chunk_times:
            exchange.chunk_times = [self._first]
            if _STREAM not in exchange.body:  # a library may not say so before its first token
                exchange.body = exchange.body.removesuffix(b"}") + b"," + _STREAM + b"}"


def _perf(unix_s: float) -> float:
    """A time that has been, as ``perf_counter`` would have shown it."""
    return perf_counter() - (time() - unix_s)


def chat_body(model: object, messages: object, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a chat completion that asks this; tools in Anthropic's form are put in OpenAI's."""
    body = {"model": model, "messages": messages, **parameters}
    tools = body.get("tools")
    if isinstance(tools, list):
        body["tools"] = [_openai_tool(tool) for tool in tools]
    return body


def _openai_tool(tool: Any) -> Any:
    if not isinstance(tool, Mapping) or "input_schema" not in tool:
        return tool
    function = {name: tool[name] for name in ("name", "description") if name in tool}
    return {"type": "function", "function": {**function, "parameters": tool["input_schema"]}}


def _events(completion: Mapping[str, Any]) -> bytes:
    """A completion as a stream that brings it in one event."""
    told = orjson.loads(encode_value(completion))
    choice = told["choices"][0]
    delta = choice.get("message") or {}
    calls = [{**call, "index": at} for at, call in enumerate(delta.get("tool_calls") or ())]
    finish = choice.get("finish_reason")
    event = {
        **told,
        "choices": [{"index": 0, "delta": {**delta, "tool_calls": calls}, "finish_reason": finish}],
    }
    return b"data: " + orjson.dumps(event) + b"\n\n" + (b"data: [DONE]\n\n" if finish else b"")


def _note(exchange: Exchange, error: BaseException) -> None:
    """What the service's exception says of the failure: by its class, else by the status that it carries."""
    kind, text = failure_of(error)
    status = getattr(error, "status_code", None)
    exchange.ended_early = kind == Failure.ABANDONED
    if kind == Failure.EXCEPTION and isinstance(status, int) and status >= 400:
        exchange.status, exchange.error_message = status, text
        kind = Failure.THROTTLED if status in (429, 529) else Failure.HTTP
    elif kind == Failure.EXCEPTION and any(cls.__name__ == "APIError" for cls in type(error).__mro__):
        kind = Failure.HTTP  # told by an event, after a 200
    exchange.error, exchange.error_message = kind, text
