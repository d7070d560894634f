"""The anthropic SDK, as it comes."""

import asyncio
import urllib.request
from collections.abc import Callable
from typing import Any

import anthropic

from shadowlane.producers import Mirror
from tests.clients.note import QUESTION, Note

ASK: dict[str, Any] = {
    "messages": [{"role": "user", "content": QUESTION}],
    "max_tokens": 99,
    "system": "Be short.",
}


def fits(way: str, model: str) -> bool:
    if model == "hang":
        return way in ("whole", "a_whole", "a_cancelled")
    if model.startswith("gated-"):
        return "gated" in way
    return (
        "gated" not in way and way != "a_cancelled" and ("whole" in way or "raw" in way or "stream" in model)
    )


def ways(url: str, mirror: Mirror | None) -> dict[str, Callable[[str, Note], Any]]:
    def made(kind: Any, model: str) -> Any:
        client = kind(
            base_url=url.removesuffix("/v1"),
            api_key="k",
            max_retries=0,
            timeout=0.4 if model == "hang" else 20,
        )
        return client if mirror is None else mirror.wrap(client)

    def sync(model: str) -> Any:
        return made(anthropic.Anthropic, model).messages

    def a_sync(model: str) -> Any:
        return made(anthropic.AsyncAnthropic, model).messages

    def whole(model: str, note: Note) -> None:
        answer = sync(model).create(model=model, **ASK)
        note(answer.model_dump_json())
        note.text = "".join(block.text for block in answer.content if block.type == "text")

    def raw(model: str, note: Note) -> None:
        answer = sync(model).with_raw_response.create(model=model, **ASK)
        note(answer.status_code, sorted(h for h in answer.headers.items() if h[0] != "date"), answer.content)

    def stream(model: str, note: Note) -> None:
        for event in sync(model).create(model=model, stream=True, **ASK):
            note(event.model_dump_json())

    def helper_stream(model: str, note: Note) -> None:
        with sync(model).stream(model=model, **ASK) as events:
            for event in events:
                note(event.type)
            note.text = events.get_final_text()

    def streamed_response(model: str, note: Note) -> None:
        with sync(model).with_streaming_response.create(model=model, stream=True, **ASK) as answer:
            note(answer.status_code, b"".join(answer.iter_bytes()))

    def stopped(model: str, note: Note) -> None:
        for event in sync(model).create(model=model, stream=True, **ASK):
            note(event.type)
            break

    def gated(model: str, note: Note) -> None:
        """The server sends a piece when the one before it is in the service's hands."""
        for event in sync(model).create(model=model, stream=True, **ASK):
            note(event.type)
            urllib.request.urlopen(f"{url}/go").close()

    def beta_stream(model: str, note: Note) -> None:
        kind = made(anthropic.Anthropic, model).beta.messages
        with kind.stream(model=model, **ASK) as events:
            for event in events:
                note(event.type)

    def text_stream(model: str, note: Note) -> None:
        with sync(model).stream(model=model, **ASK) as events:
            for text in events.text_stream:
                note(text)

    async def a_raw(model: str, note: Note) -> None:
        answer = await a_sync(model).with_raw_response.create(model=model, **ASK)
        note(answer.status_code, answer.content)

    async def a_gated(model: str, note: Note) -> None:
        async for event in await a_sync(model).create(model=model, stream=True, **ASK):
            note(event.type)
            await asyncio.to_thread(lambda: urllib.request.urlopen(f"{url}/go").close())

    async def a_whole(model: str, note: Note) -> None:
        note((await a_sync(model).create(model=model, **ASK)).model_dump_json())

    async def a_stream(model: str, note: Note) -> None:
        async with a_sync(model).stream(model=model, **ASK) as events:
            async for event in events:
                note(event.type)

    async def a_stopped(model: str, note: Note) -> None:
        async with await a_sync(model).create(model=model, stream=True, **ASK) as events:
            async for event in events:
                note(event.type)
                break

    async def a_cancelled(model: str, note: Note) -> None:
        task = asyncio.create_task(a_sync("").create(model=model, **ASK))
        await asyncio.sleep(0.1)
        task.cancel()
        note(type((await asyncio.gather(task, return_exceptions=True))[0]).__name__)

    return {name: way for name, way in locals().items() if name not in _NOT_WAYS and callable(way)}


_NOT_WAYS = {"made", "sync", "a_sync", "url", "mirror"}
