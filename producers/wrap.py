"""``mirror.wrap``: what the clients of ``openai`` and ``anthropic`` ask models, sync or async; or any SDK's that is
given its HTTP client.

Two changes are made to the client object. Its HTTP client's transports get a tee, which sees the bytes. And
its ``request`` method, through which the SDK's every call and retry goes, opens a call around itself, so that
the attempts are one mirrored request. ``copy`` and ``with_options`` wrap what they make. Of an HTTP client alone
there is the tee, and each exchange is a request.
"""

import inspect
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from shadowlane.errors import ConfigError
from shadowlane.producers.calls import Call, new_call
from shadowlane.producers.tee import library_of, tee_client

if TYPE_CHECKING:
    from shadowlane.producers.mirror import Mirror

_MARK = "_shadowlane_mirrors"


def wrap_client(mirror: "Mirror", client: Any, route: str) -> None:
    """Change ``client`` in place; once for each mirror.

    Raises:
        ConfigError: it is neither a client of the openai or anthropic SDK nor an HTTP client of httpx.
    """
    bare = bool(library_of(client))
    http_client = client if bare else getattr(client, "_client", None)
    library = library_of(http_client)
    asks = hasattr(client, "chat") or hasattr(client, "messages")
    if not library or not (bare or (asks and callable(getattr(client, "request", None)))):
        raise ConfigError(
            "mirror.wrap takes a client of openai (OpenAI, AsyncOpenAI, AzureOpenAI, …) or of anthropic (Anthropic, "
            f"AsyncAnthropic), or the httpx client that another SDK is given; not {type(client).__name__}"
        )
    marked: list[Mirror] = client.__dict__.setdefault(_MARK, [])
    if any(one is mirror for one in marked):
        return
    try:
        tee_client(http_client, mirror, route, library, alone=bare)
        if not bare:
            _attach(mirror, client, route)
    except Exception as exc:
        mirror.trouble(exc)
        return
    marked.append(mirror)


def _attach(mirror: "Mirror", client: Any, route: str) -> None:
    current = mirror.current_call
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
        call = new_call(mirror, route)
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
        call = new_call(mirror, route)
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
