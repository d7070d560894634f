"""``mirror.wrap``: the chat completions of an ``openai`` client, sync or async.

Two changes are made to the client object. Its HTTP client's transports get a tee, which sees the bytes. And
its ``request`` method, through which the SDK's every call and retry goes, opens a call around itself, so that
the attempts are one mirrored request. ``copy`` and ``with_options`` wrap what they make.
"""

import inspect
import time
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from shadowlane.errors import ConfigError
from shadowlane.producers.calls import Call
from shadowlane.producers.tee import library_of, tee_client

if TYPE_CHECKING:
    from shadowlane.producers.mirror import Mirror

ROUTE = "chat.completions"
_MARK = "_shadowlane_mirrors"


def wrap_client(mirror: "Mirror", client: Any, route: str) -> None:
    """Change ``client`` in place; once for each mirror.

    Raises:
        ConfigError: it is not a client of the openai SDK.
    """
    http_client = getattr(client, "_client", None)
    library = library_of(http_client)
    if not library or not hasattr(client, "chat") or not callable(getattr(client, "request", None)):
        raise ConfigError(
            f"mirror.wrap takes an openai.OpenAI or openai.AsyncOpenAI client, not {type(client).__name__}"
        )
    marked: list[Mirror] = client.__dict__.setdefault(_MARK, [])
    if any(one is mirror for one in marked):
        return
    try:
        _attach(mirror, client, http_client, library, route or ROUTE)
    except Exception as exc:
        mirror.trouble(exc)
        return
    marked.append(mirror)


def _attach(mirror: "Mirror", client: Any, http_client: Any, library: str, route: str) -> None:
    current = mirror.current_call
    tee_client(http_client, current, lambda: Call(mirror, route, time.perf_counter()), library, owner=mirror)
    client.request = (
        _async_request(mirror, client.request, route, current)
        if inspect.iscoroutinefunction(client.request)
        else _request(mirror, client.request, route, current)
    )
    for name in ("copy", "with_options"):
        setattr(client, name, _copying(mirror, getattr(client, name), route))


def _request(mirror: "Mirror", request: Any, route: str, current: ContextVar[Call | None]) -> Any:
    @wraps(request)
    def mirrored(*args: Any, **kwargs: Any) -> Any:
        call = Call(mirror, route, time.perf_counter())
        token = current.set(call)
        try:
            result = request(*args, **kwargs)
        except BaseException as error:
            call.raised(error)
            raise
        finally:
            current.reset(token)
        call.returned()
        return result

    return mirrored


def _async_request(mirror: "Mirror", request: Any, route: str, current: ContextVar[Call | None]) -> Any:
    @wraps(request)
    async def mirrored(*args: Any, **kwargs: Any) -> Any:
        call = Call(mirror, route, time.perf_counter())
        token = current.set(call)
        try:
            result = await request(*args, **kwargs)
        except BaseException as error:
            call.raised(error)
            raise
        finally:
            current.reset(token)
        call.returned()
        return result

    return mirrored


def _copying(mirror: "Mirror", copy: Any, route: str) -> Any:
    @wraps(copy)
    def mirrored(*args: Any, **kwargs: Any) -> Any:
        made = copy(*args, **kwargs)
        try:
            wrap_client(mirror, made, route)
        except Exception as exc:
            mirror.trouble(exc)
        return made

    return mirrored
