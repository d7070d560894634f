"""``mirror.langchain``: a callback handler for LangChain, made of the service's own ``langchain_core``, which is no
dependency of ours.

Of all that LangChain tells, the calls of chat models are taken, and of chains only that they go on: a chain that
retries (``with_retry``) ends after the last of the attempts that it makes.
Format: https://reference.langchain.com/python/langchain_core/callbacks/
"""

import asyncio
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from shadowlane.errors import ConfigError
from shadowlane.producers.told import ToldCall, chat_body
from shadowlane.schemas.answers.answer import STOP, TOOL_CALLS
from shadowlane.schemas.answers.anthropic import FINISH

if TYPE_CHECKING:
    from shadowlane.producers.mirror import Mirror

_RETRY = "retry:attempt:"  # a tag of the second attempt and those after it
_NOT_ASKED = frozenset(
    {"_type", "model", "model_name", "max_retries", "stream"}
)  # LangChain's own, or said apart
_KEPT = 10_000  # runs; older ones are those of which nothing more was told

Convert = Callable[[Any], Any]  # messages of LangChain's, or one, in OpenAI's form


def make_handler(mirror: "Mirror", route: str) -> Any:
    """A ``BaseCallbackHandler`` of the langchain_core that is installed.

    Raises:
        ConfigError: there is none.
    """
    try:
        base: Any = import_module("langchain_core.callbacks").BaseCallbackHandler
        convert: Convert = import_module("langchain_core.messages").convert_to_openai_messages
    except (ImportError, AttributeError) as exc:
        raise ConfigError(
            "mirror.langchain() needs the package langchain-core (0.3.11 or newer), which can't be imported here"
        ) from exc
    if not mirror.enabled:
        return base()
    runs = _Runs(mirror, route, convert)

    class ShadowlaneHandler(base):  # type: ignore[misc]  # a class known at run time only
        run_inline = True  # in the service's own context, and not in a thread of a pool

        def on_chat_model_start(
            self,
            serialized: Any,
            messages: Any,
            *,
            run_id: UUID,
            parent_run_id: UUID | None = None,
            **more: Any,
        ) -> None:
            runs.begin(run_id, parent_run_id, messages, more)

        def on_llm_start(self, serialized: Any, prompts: Any, **more: Any) -> None:
            """Models of before chat, which take a text: not mirrored."""

        def on_llm_new_token(self, token: Any, *, run_id: UUID, chunk: Any = None, **more: Any) -> None:
            runs.token(run_id, token, chunk)

        def on_llm_end(self, response: Any, *, run_id: UUID, **more: Any) -> None:
            runs.answered(run_id, response)

        def on_llm_error(
            self, error: BaseException, *, run_id: UUID, response: Any = None, **more: Any
        ) -> None:
            runs.broke(run_id, error, response)

        def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **more: Any) -> None:
            runs.chain_begins(run_id)

        def on_chain_end(self, outputs: Any, *, run_id: UUID, **more: Any) -> None:
            runs.chain_ends(run_id)

        def on_chain_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
            runs.chain_ends(run_id)

    return ShadowlaneHandler()


class _Runs:
    """What is told of runs. Nothing here raises."""

    def __init__(self, mirror: "Mirror", route: str, convert: Convert) -> None:
        self._mirror = mirror
        self._route = route
        self._convert = convert
        self._calls: dict[UUID, _Run] = {}
        self._chains: dict[UUID, ToldCall | None] = {}  # that go on; and the call of each that failed last

    def begin(self, run: UUID, parent: UUID | None, messages: Any, more: Mapping[str, Any]) -> None:
        try:

            def body() -> dict[str, Any]:
                return _asked(self._convert(list(messages[0])), more)

            call = self._failed_before(parent) if _is_retry(more) else None
            if call is not None:
                call.again(body)
            else:
                call = ToldCall.begin(self._mirror, self._route, body)
            if call is not None:
                _keep(self._calls, run, _Run(call, parent, lambda: self._calls.pop(run, None)))
        except Exception as exc:
            self._mirror.trouble(exc)

    def token(self, run: UUID, token: Any, chunk: Any) -> None:
        try:
            known = self._calls.get(run)
            if known and (token or getattr(getattr(chunk, "message", None), "tool_call_chunks", None)):
                known.call.token()
        except Exception as exc:
            self._mirror.trouble(exc)

    def answered(self, run: UUID, response: Any) -> None:
        try:
            known = self._calls.pop(run, None)
            if known is not None:
                known.told()
                known.call.answered(lambda: _completion(response, self._convert, whole=True))
        except Exception as exc:
            self._mirror.trouble(exc)

    def broke(self, run: UUID, error: BaseException, response: Any) -> None:
        try:
            known = self._calls.pop(run, None)
            if known is None:
                return
            known.told()
            retried = known.parent is not None and known.parent in self._chains
            if known.parent is not None and retried:
                self._chains[known.parent] = known.call
            partial = None if response is None else lambda: _completion(response, self._convert, whole=False)
            known.call.broke(error, partial, last=not retried)
        except Exception as exc:
            self._mirror.trouble(exc)

    def chain_begins(self, run: UUID) -> None:
        _keep(self._chains, run, None)

    def chain_ends(self, run: UUID) -> None:
        call = self._chains.pop(run, None)
        if call is not None and call.failed:
            call.over()

    def _failed_before(self, parent: UUID | None) -> ToldCall | None:
        call = None if parent is None else self._chains.get(parent)
        return call if call is not None and call.failed else None


class _Run:
    """A call that goes on, and the chain around it. Of one that is cancelled nothing is told: then the end of the
    task that made it is its end."""

    def __init__(self, call: ToldCall, parent: UUID | None, forget: Callable[[], object]) -> None:
        self.call = call
        self.parent = parent
        self._forget = forget
        try:
            self._task = asyncio.current_task()
        except RuntimeError:  # not in a loop
            self._task = None
        if self._task is not None:
            self._task.add_done_callback(self._task_ended)

    def told(self) -> None:
        """Its end was told."""
        if self._task is not None:
            self._task.remove_done_callback(self._task_ended)

    def _task_ended(self, _: object) -> None:
        self._forget()
        self.call.over()


def _keep(runs: dict[UUID, Any], run: UUID, what: Any) -> None:
    if len(runs) >= _KEPT:
        runs.pop(next(iter(runs)), None)
    runs[run] = what


def _is_retry(more: Mapping[str, Any]) -> bool:
    return any(str(tag).startswith(_RETRY) for tag in more.get("tags") or ())


def _asked(messages: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    told = more.get("invocation_params") or {}
    model = (
        told.get("model") or told.get("model_name") or (more.get("metadata") or {}).get("ls_model_name") or ""
    )
    parameters = {k: v for k, v in told.items() if k not in _NOT_ASKED and v is not None}
    return chat_body(model, messages, parameters)


def _completion(response: Any, convert: Convert, *, whole: bool) -> dict[str, Any]:
    """An ``LLMResult`` as a chat completion. What is ``whole`` has a finish reason, whether LangChain tells it or
    not."""
    message = response.generations[0][0].message
    told, usage = message.response_metadata or {}, message.usage_metadata or {}
    content = convert(message).get("content")
    calls = [_call(call["name"], orjson.dumps(call["args"]).decode()) for call in message.tool_calls]
    calls += [_call(call["name"], call["args"]) for call in message.invalid_tool_calls]
    reason = told.get("finish_reason") or told.get("stop_reason") or (TOOL_CALLS if calls else STOP)
    return {
        "model": told.get("model_name") or told.get("model"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "tool_calls": calls or None},
                "finish_reason": FINISH.get(reason, reason) if whole else None,
            }
        ],
        "usage": {
            "prompt_tokens": usage.get("input_tokens"),
            "completion_tokens": usage.get("output_tokens"),
        },
    }


def _call(name: Any, arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name or "", "arguments": arguments or ""}}
