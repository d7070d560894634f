"""``@mirror.observe``: the calls of a function, sync or async: its arguments by name and its result."""

import inspect
import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

import orjson

from shadowlane.producers.calls import failure_of
from shadowlane.producers.exchange import Exchange
from shadowlane.schemas.events import Failure, Protocol

if TYPE_CHECKING:
    from shadowlane.producers.mirror import Mirror

_PROTOCOL = Protocol.CALL  # a member of an enumeration takes a quarter of a microsecond to look up


def observe_function(
    mirror: "Mirror",
    function: Any,
    route: str | None,
    key: Callable[[Mapping[str, Any]], object] | None,
    leave_out: frozenset[str],
) -> Any:
    """``function``, observed. The arguments are encoded as the call begins, since the function may change
    them; that costs the caller the JSON encoding, a few microseconds a kilobyte.

    Raises:
        TypeError: a generator function, whose result is no single answer.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"mirror.observe can't take the generator {function.__qualname__}: "
            "observe the function that consumes it"
        )
    observed = _Observed(mirror, function, route or function.__qualname__, key, leave_out)
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def observed_async(*args: Any, **kwargs: Any) -> Any:
            exchange = observed.begin(args, kwargs)
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                observed.raised(exchange, error)
                raise
            observed.returned(exchange, result)
            return result

        return observed_async

    @wraps(function)
    def observed_sync(*args: Any, **kwargs: Any) -> Any:
        exchange = observed.begin(args, kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            observed.raised(exchange, error)
            raise
        observed.returned(exchange, result)
        return result

    return observed_sync


class _Observed:
    """The hooks around one function. None of them raises."""

    def __init__(
        self,
        mirror: "Mirror",
        function: Any,
        route: str,
        key: Callable[[Mapping[str, Any]], object] | None,
        leave_out: frozenset[str],
    ) -> None:
        self._mirror = mirror
        self._route = route
        self._key = key
        self._signature = inspect.signature(function)
        first = next(iter(self._signature.parameters), "")
        self._leave_out = leave_out | ({first} & {"self", "cls"})

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Exchange | None:
        try:
            arguments = self._arguments(args, kwargs)
            if arguments is None:
                return None  # the call itself will raise TypeError
            key = self._key_of(arguments)
            exchange = self._mirror.begin(self._route, _PROTOCOL, key=key)
            if exchange is not None and exchange.wants_content():
                try:
                    body = encode_value(arguments)
                except Exception:  # orjson's, or that of a model that dumps itself
                    exchange.leave_out("request_not_json")
                else:
                    exchange.request(body)
            if exchange is not None:
                exchange.started = time.perf_counter()
            return exchange
        except Exception as exc:
            self._mirror.trouble(exc)
            return None

    def returned(self, exchange: Exchange | None, result: Any) -> None:
        if exchange is None:
            return
        try:
            if exchange.wants_content():
                try:
                    text = result.encode() if isinstance(result, str) else encode_value(result)
                except Exception:
                    exchange.leave_out("response_not_json")
                else:
                    exchange.end(0, text)
                    return
            self._mirror.finish(exchange)
        except Exception as exc:
            self._mirror.trouble(exc)

    def raised(self, exchange: Exchange | None, error: BaseException) -> None:
        if exchange is None:
            return
        try:
            exchange.error, exchange.error_message = failure_of(error)
            if exchange.error != Failure.ABANDONED:
                exchange.error = Failure.EXCEPTION
            self._mirror.finish(exchange)
        except Exception as exc:
            self._mirror.trouble(exc)

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError:
            return None
        bound.apply_defaults()
        return {name: value for name, value in bound.arguments.items() if name not in self._leave_out}

    def _key_of(self, arguments: dict[str, Any]) -> str:
        if self._key is None:
            return ""
        try:
            return str(self._key(arguments))
        except Exception as exc:
            self._mirror.trouble(exc)
            return ""


def encode_value(value: Any) -> bytes:
    """JSON of what a function takes or gives: JSON's own types, dataclasses, dates, UUIDs, enums, and models
    that have ``model_dump`` (pydantic).

    Raises:
        TypeError: anything else.
    """
    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    raise TypeError(f"{type(value).__name__} has no JSON form")
