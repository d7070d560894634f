"""``mirror.litellm``: a callback for LiteLLM, made of the service's own ``litellm``, which is no dependency of ours.

LiteLLM tells of a call before each of its attempts and after its end, from whatever thread it likes. All that it
tells with is one dictionary, which lives as long as the call does: there the call's capture is kept.
Format: https://docs.litellm.ai/docs/observability/custom_callback
"""

import weakref
from collections.abc import Mapping
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from shadowlane.errors import ConfigError
from shadowlane.producers.told import ToldCall, chat_body

if TYPE_CHECKING:
    from shadowlane.producers.mirror import Mirror

_OURS = "shadowlane_call"
_CHAT = ("completion", "acompletion")
_NOT_ASKED = frozenset(
    {"max_retries", "extra_body", "extra_headers", "stream"}
)  # of the parameters: LiteLLM's own


def make_callback(mirror: "Mirror", route: str) -> Any:
    """A ``CustomLogger`` of the litellm that is installed.

    Raises:
        ConfigError: there is none.
    """
    try:
        base: Any = import_module("litellm.integrations.custom_logger").CustomLogger
    except ImportError as exc:
        raise ConfigError("mirror.litellm() needs the package litellm, which can't be imported here") from exc
    if not mirror.enabled:
        return base()
    calls = _Calls(mirror, route)

    class ShadowlaneCallback(base):  # type: ignore[misc]  # a class known at run time only
        def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
            calls.attempt(kwargs)

        def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            calls.answered(kwargs, response_obj, end_time)

        def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            calls.broke(kwargs)

        async def async_log_success_event(
            self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
        ) -> None:
            calls.answered(kwargs, response_obj, end_time)

        async def async_log_failure_event(
            self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
        ) -> None:
            calls.broke(kwargs)

    return ShadowlaneCallback()


class _Calls:
    """What is told of calls. Nothing here raises.

    LiteLLM's own retries (``num_retries``) go on with the same dictionary, and the end of the last is not told. A
    Router's have each a dictionary of their own and share the trace's id.
    """

    def __init__(self, mirror: "Mirror", route: str) -> None:
        self._mirror = mirror
        self._route = route
        self._routed: weakref.WeakValueDictionary[str, ToldCall] = weakref.WeakValueDictionary()

    def attempt(self, told: dict[str, Any]) -> None:
        try:
            if told.get("call_type") not in _CHAT:
                return
            call = told.get(_OURS) or self._tried_before(told)
            if isinstance(call, ToldCall):
                call.again(lambda: _asked(told))
            else:
                call = ToldCall.begin(
                    self._mirror, self._route, lambda: _asked(told), _unix(told.get("start_time"))
                )
            # False: it was looked at, and is not captured.
            told[_OURS] = call or False
            told.setdefault(_OURS + "_retries", told.get("max_retries") or 0)
            if call and _routing(told):
                self._routed[_group(told)] = call
        except Exception as exc:
            self._mirror.trouble(exc)

    def answered(self, told: dict[str, Any], response: Any, end: datetime) -> None:
        try:
            call = told.get(_OURS)
            if not isinstance(call, ToldCall):
                return
            streamed = bool(told.get("stream"))
            whole = told.get("async_complete_streaming_response") or told.get("complete_streaming_response")
            call.answered(
                lambda: (whole or response).model_dump(mode="json"),
                first=_unix(told.get("completion_start_time")) if streamed else None,
                ended=_unix(end),
            )
        except Exception as exc:
            self._mirror.trouble(exc)

    def broke(self, told: dict[str, Any]) -> None:
        try:
            call = told.get(_OURS)
            if not isinstance(call, ToldCall):
                return
            routing = _routing(told)
            retries = (
                routing.get("max_retries", 0) - routing.get("attempted_retries", 0)
                if routing
                else told.get(_OURS + "_retries", 0) - call.attempts + 1
            )
            error = told.get("exception")
            call.broke(
                error if isinstance(error, BaseException) else RuntimeError(str(error)), last=retries <= 0
            )
        except Exception as exc:
            self._mirror.trouble(exc)

    def _tried_before(self, told: dict[str, Any]) -> ToldCall | None:
        """The call of which a Router makes this attempt. Another model that it falls back to is another request."""
        if not _routing(told).get("attempted_retries"):
            return None
        call = self._routed.get(_group(told))
        return call if call is not None and call.failed else None


def _asked(told: Mapping[str, Any]) -> dict[str, Any]:
    parameters = dict(told.get("optional_params") or {})
    more = parameters.get("extra_body")
    asked = {
        name: value for name, value in parameters.items() if name not in _NOT_ASKED and value is not None
    }
    if told.get("stream"):
        asked["stream"] = True
    return chat_body(
        told.get("model"), told.get("messages"), {**(more if isinstance(more, dict) else {}), **asked}
    )


def _routing(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a Router says of its attempt; empty where it is none's."""
    metadata = (told.get("litellm_params") or {}).get("metadata")
    return metadata if isinstance(metadata, Mapping) and "model_group" in metadata else {}


def _group(told: Mapping[str, Any]) -> str:
    return f"{told.get('litellm_trace_id')} {_routing(told).get('model_group')}"


def _unix(at: Any) -> float | None:
    """Seconds."""
    return at.timestamp() if isinstance(at, datetime) else None
