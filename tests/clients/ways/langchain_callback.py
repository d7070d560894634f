"""LangChain: ``mirror.langchain()`` as its callback, and its models' HTTP clients wrapped instead."""

import asyncio
import urllib.request
from collections.abc import Callable
from typing import Any

import httpx2
from langchain_openai import ChatOpenAI

from shadowlane.producers import Mirror
from tests.clients.note import QUESTION, Note


def fits(way: str, model: str) -> bool:
    if model == "hang":
        return way in ("whole", "a_whole", "a_cancelled")
    if model.startswith("gated-"):
        return way == "gated"
    if way == "retried":
        return model in ("down", "plain")
    if "gated" in way or way == "a_cancelled":
        return False
    return ("stream" in way or "stopped" in way) == ("stream" in model)


def ways(url: str, mirror: Mirror | None) -> dict[str, Callable[[str, Note], Any]]:
    config: Any = {} if mirror is None else {"callbacks": [mirror.langchain()]}

    def chat(model: str, **more: Any) -> Any:
        return ChatOpenAI(
            model=model,
            base_url=url,
            api_key="k",
            max_retries=0,
            timeout=0.4 if model == "hang" else 20,
            **more,
        )

    def shown(message: Any) -> str:
        return str(message.model_dump_json(exclude={"id"}))

    def whole(model: str, note: Note) -> None:
        answer = chat(model).invoke(QUESTION, config)
        note(shown(answer))
        note.text = answer.content

    def batch(model: str, note: Note) -> None:
        note([shown(answer) for answer in chat(model).batch([QUESTION], config)])

    def stream(model: str, note: Note) -> None:
        text = ""
        for part in chat(model).stream(QUESTION, config):
            note(shown(part))
            text += part.content
        note.text = text

    def stopped(model: str, note: Note) -> None:
        for part in chat(model).stream(QUESTION, config):
            note(shown(part))
            break

    def retried(model: str, note: Note) -> None:
        tried = chat(model).with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
        note(shown(tried.invoke(QUESTION, config)))

    def wrapped(model: str, note: Note) -> None:
        client = httpx2.Client()
        note(shown(chat(model, http_client=mirror.wrap(client) if mirror else client).invoke(QUESTION)))

    def wrapped_root(model: str, note: Note) -> None:
        asked = chat(model)
        if mirror is not None:
            mirror.wrap(asked.root_client)
        note(shown(asked.invoke(QUESTION)))

    def gated(model: str, note: Note) -> None:
        """The server sends a piece when the one before it is in the service's hands."""
        for part in chat(model).stream(QUESTION, config):
            note(shown(part))
            urllib.request.urlopen(f"{url}/go").close()

    async def a_whole(model: str, note: Note) -> None:
        note(shown(await chat(model).ainvoke(QUESTION, config)))

    async def a_stream(model: str, note: Note) -> None:
        async for part in chat(model).astream(QUESTION, config):
            note(shown(part))

    async def a_cancelled(model: str, note: Note) -> None:
        asked = ChatOpenAI(model=model, base_url=url, api_key="k", max_retries=0, timeout=20)
        task = asyncio.create_task(asked.ainvoke(QUESTION, config))
        await asyncio.sleep(0.1)
        task.cancel()
        note(type((await asyncio.gather(task, return_exceptions=True))[0]).__name__)

    return {name: way for name, way in locals().items() if name not in _NOT_WAYS and callable(way)}


_NOT_WAYS = {"chat", "shown", "config", "url", "mirror"}
