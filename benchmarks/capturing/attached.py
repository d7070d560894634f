"""Each capture, attached to an openai client as its documentation says, and the same client without it."""

import json
import os
import time
from collections.abc import Callable
from typing import Any

QUESTION = "Where is my order? It was promised for Tuesday and nobody answers the phone. " * 13
ASK: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": QUESTION}],
    "temperature": 0.3,
}
IMPORTS = {
    "mirror": "from shadowlane import Mirror",
    "litellm": "import litellm",
    "langfuse": "from langfuse.openai import OpenAI",
    "opentelemetry": "from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor\n"
    "from opentelemetry.sdk.trace.export import BatchSpanProcessor\n"
    "from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter",
}
INSTALLS = {
    "mirror": ("confluent-kafka", "orjson", "pydantic"),
    "litellm": ("litellm",),
    "langfuse": ("langfuse",),
    "opentelemetry": (
        "opentelemetry-instrumentation-openai-v2",
        "opentelemetry-sdk",
        "opentelemetry-exporter-otlp-proto-http",
    ),
}


class Arm:
    """A way to make the calls.

    Args:
        create, a_create: what makes a chat completion, sync and async.
        ready: called before a block of calls.
        done: waits until all that was captured is handed over; false where something still is not.
    """

    def __init__(
        self,
        create: Callable[..., Any],
        a_create: Callable[..., Any],
        ready: Callable[[], None] = lambda: None,
        done: Callable[[], bool] = lambda: True,
    ) -> None:
        self.create = create
        self.a_create = a_create
        self.ready = ready
        self.done = done

    def whole(self) -> None:
        self.create(**ASK).choices[0].message.content  # noqa: B018  # what a service reads

    def stream(self) -> None:
        for _ in self.create(stream=True, **ASK):
            pass

    async def a_whole(self) -> None:
        (await self.a_create(**ASK)).choices[0].message.content  # noqa: B018

    async def a_stream(self) -> None:
        async for _ in await self.a_create(stream=True, **ASK):
            pass


def openai_arm(url: str, wrap: Callable[[Any], Any] = lambda client: client, **more: Any) -> Arm:
    import openai

    client, a_client = wrap(openai.OpenAI(base_url=url)), wrap(openai.AsyncOpenAI(base_url=url))
    return Arm(client.chat.completions.create, a_client.chat.completions.create, **more)


def bare(url: str, _sink: str) -> dict[str, Arm]:
    return {"bare": openai_arm(url)}


def mirror(url: str, sink: str) -> dict[str, Arm]:
    from shadowlane import Mirror

    attached = Mirror("bench", kafka=sink, topic_prefix="bench-captures", buffer_bytes=256_000_000)

    def done() -> bool:
        flushed = attached.flush(30)
        stats = attached.stats()
        assert stats["eligible"] == stats["mirrored"], stats
        assert not stats["without_content"], stats
        return flushed

    return {"bare": openai_arm(url), "captured": openai_arm(url, attached.wrap, done=done)}


def litellm(url: str, _sink: str) -> dict[str, Arm]:
    """The callback keeps what it was told as JSON, and sends it nowhere."""
    import litellm

    litellm.suppress_debug_info = True
    told: list[str] = []
    asked = 0

    class Callback(litellm.integrations.custom_logger.CustomLogger):  # type: ignore[misc,name-defined]  # not installed here
        def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            told.append(json.dumps([kwargs["messages"], response_obj.model_dump()]))

        async def async_log_success_event(
            self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
        ) -> None:
            told.append(json.dumps([kwargs["messages"], response_obj.model_dump()]))

    callback = Callback()
    to = {"api_base": url, "api_key": "k", "custom_llm_provider": "openai"}

    def create(**ask: Any) -> Any:
        nonlocal asked
        asked += 1
        return litellm.completion(**ask, **to)

    async def a_create(**ask: Any) -> Any:
        nonlocal asked
        asked += 1
        return await litellm.acompletion(**ask, **to)

    def turn(callbacks: list[Any]) -> Callable[[], None]:
        def ready() -> None:
            nonlocal asked
            litellm.logging_callback_manager._reset_all_callbacks()
            litellm.callbacks = callbacks
            asked = 0
            told.clear()

        return ready

    return {
        "bare": openai_arm(url),
        "library": Arm(create, a_create, turn([])),
        "captured": Arm(create, a_create, turn([callback]), lambda: len(told) >= asked),
    }


def langfuse(url: str, sink: str) -> dict[str, Arm]:
    from openai.resources.chat.completions import AsyncCompletions, Completions

    plain = Completions.create, AsyncCompletions.create
    from langfuse import Langfuse
    from langfuse.openai import OpenAI

    del OpenAI  # its import is what attaches it
    attached = Langfuse(public_key="pk", secret_key="sk", base_url=sink)

    def flush() -> bool:
        attached.flush()
        return True

    return _patched(url, plain, flush)


def opentelemetry(url: str, sink: str) -> dict[str, Arm]:
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
    os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"
    from openai.resources.chat.completions import AsyncCompletions, Completions
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    plain = Completions.create, AsyncCompletions.create
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{sink}/v1/traces")))
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    return _patched(url, plain, provider.force_flush)


def _patched(url: str, plain: tuple[Any, Any], flush: Callable[[], bool]) -> dict[str, Arm]:
    """Of captures that put themselves into the SDK's classes; ``plain`` is what was there before."""
    import openai
    from openai.resources.chat.completions import AsyncCompletions, Completions

    captured = Completions.create, AsyncCompletions.create
    client, a_client = openai.OpenAI(base_url=url), openai.AsyncOpenAI(base_url=url)

    def turn(methods: tuple[Any, Any]) -> Callable[[], None]:
        def ready() -> None:
            Completions.create, AsyncCompletions.create = methods

        return ready

    def create(**ask: Any) -> Any:
        return client.chat.completions.create(**ask)

    def a_create(**ask: Any) -> Any:
        return a_client.chat.completions.create(**ask)

    return {
        "bare": Arm(create, a_create, turn(plain)),
        "captured": Arm(create, a_create, turn(captured), flush),
    }


CAPTURES = {
    "bare": bare,
    "mirror": mirror,
    "litellm": litellm,
    "langfuse": langfuse,
    "opentelemetry": opentelemetry,
}


def wait(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not done():
        assert time.monotonic() < until, "what was captured was not handed over"
        time.sleep(0.002)
