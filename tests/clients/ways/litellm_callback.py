"""LiteLLM with ``mirror.litellm()`` among its callbacks."""

import asyncio
import logging
import urllib.request
from collections.abc import Callable
from typing import Any

import litellm

from shadowlane.producers import Mirror
from tests.clients.note import QUESTION, Note

litellm.suppress_debug_info = True
logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
ASK: dict[str, Any] = {
    "messages": [{"role": "user", "content": QUESTION}],
    "temperature": 0.3,
    "max_retries": 0,
    "api_key": "k",
}


def fits(way: str, model: str) -> bool:
    if model == "hang":
        return way in ("whole", "a_whole", "a_cancelled")
    if model.startswith("gated-"):
        return way == "gated"
    if way in ("retried", "routed"):
        return model in ("down", "plain")
    if "gated" in way or way == "a_cancelled":
        return False
    return ("stream" in way or "stopped" in way) == ("stream" in model)


def ways(url: str, mirror: Mirror | None) -> dict[str, Callable[[str, Note], Any]]:
    litellm.callbacks = [] if mirror is None else [mirror.litellm()]

    def asking(model: str) -> dict[str, Any]:
        if model.startswith("messages"):
            return {"model": f"anthropic/{model}", "api_base": url.removesuffix("/v1"), **ASK}
        return {"model": f"openai/{model}", "api_base": url, **ASK, "timeout": 0.4 if model == "hang" else 20}

    def whole(model: str, note: Note) -> None:
        answer = litellm.completion(**asking(model))
        note(answer.model_dump_json(exclude={"id"}))
        note.text = answer.choices[0].message.content or ""

    def stream(model: str, note: Note) -> None:
        text = ""
        for part in litellm.completion(stream=True, **asking(model)):
            note(part.model_dump_json(exclude={"id"}))
            text += part.choices[0].delta.content or ""
        note.text = text

    def stopped(model: str, note: Note) -> None:
        for part in litellm.completion(stream=True, **asking(model)):
            note(part.model_dump_json(exclude={"id"}))
            break

    def retried(model: str, note: Note) -> None:
        answer = litellm.completion(**{**asking(model), "num_retries": 2})
        note(answer.model_dump_json(exclude={"id"}))

    async def routed(model: str, note: Note) -> None:
        router = litellm.Router(
            model_list=[{"model_name": "group", "litellm_params": {**asking(model), "messages": None}}],
            num_retries=1,
            retry_after=0,
        )
        answer = await router.acompletion(model="group", messages=ASK["messages"])
        note(answer.model_dump_json(exclude={"id"}))
        await asyncio.sleep(0.05)

    def gated(model: str, note: Note) -> None:
        """The server sends a piece when the one before it is in the service's hands; LiteLLM itself holds back one."""
        for _ in range(2):
            urllib.request.urlopen(f"{url}/go").close()
        for part in litellm.completion(stream=True, **asking(model)):
            note(part.model_dump_json(exclude={"id"}))
            urllib.request.urlopen(f"{url}/go").close()

    async def a_whole(model: str, note: Note) -> None:
        note((await litellm.acompletion(**asking(model))).model_dump_json(exclude={"id"}))
        await asyncio.sleep(0.05)  # its callbacks are called after

    async def a_stream(model: str, note: Note) -> None:
        async for part in await litellm.acompletion(stream=True, **asking(model)):
            note(part.model_dump_json(exclude={"id"}))
        await asyncio.sleep(0.05)

    async def a_cancelled(model: str, note: Note) -> None:
        task = asyncio.create_task(litellm.acompletion(**{**asking(model), "timeout": 20}))
        await asyncio.sleep(0.3)
        task.cancel()
        note(type((await asyncio.gather(task, return_exceptions=True))[0]).__name__)

    return {name: way for name, way in locals().items() if name not in _NOT_WAYS and callable(way)}


_NOT_WAYS = {"asking", "url", "mirror"}
