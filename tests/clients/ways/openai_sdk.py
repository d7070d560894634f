"""The openai SDK, on httpx2 or on httpx, as it comes."""

import asyncio
import urllib.request
from collections.abc import Callable
from typing import Any

import openai
import pydantic

from shadowlane.producers import Mirror
from tests.clients.note import QUESTION, Note

MESSAGES: Any = [{"role": "user", "content": QUESTION}]
ASK: dict[str, Any] = {"messages": MESSAGES, "temperature": 0.3}


class Place(pydantic.BaseModel):
    """What a model is asked for."""

    city: str


def fits(way: str, model: str) -> bool:
    if model == "hang":
        return way in ("whole", "a_whole", "a_cancelled")
    if model.startswith("gated-"):
        return way in ("gated", "a_gated")
    if model.removeprefix("cut-").startswith("responses"):
        return way in ("responses_async", "responses_raw") or (
            way.startswith("responses") and ("stream" in model) == (way != "responses")
        )
    if "gated" in way or way == "a_cancelled" or way.startswith("responses"):
        return False
    streaming = "stream" in way or "helper" in way or "stopped" in way
    return streaming == ("stream" in model) or model in ("down", "bad")


def ways(url: str, mirror: Mirror | None) -> dict[str, Callable[[str, Note], Any]]:
    def options(model: str) -> dict[str, Any]:
        retries = 1 if model in ("down", "throttled") else 0
        return {"api_key": "k", "max_retries": retries, "timeout": 0.4 if model == "hang" else 20}

    def made(client: Any) -> Any:
        return client if mirror is None else mirror.wrap(client)

    def sync(model: str) -> Any:
        return made(openai.OpenAI(base_url=url, **options(model)))

    def a_sync(model: str, **more: Any) -> Any:
        return made(openai.AsyncOpenAI(base_url=url, **options(model), **more))

    def whole(model: str, note: Note) -> None:
        answer = sync(model).chat.completions.create(model=model, **ASK)
        note(answer.model_dump_json())
        note.text = answer.choices[0].message.content or ""

    def by_options(model: str, note: Note) -> None:
        client = sync(model).with_options(timeout=10).copy(max_retries=0)
        note(client.chat.completions.create(model=model, **ASK).model_dump_json())

    def azure(model: str, note: Note) -> None:
        client = made(
            openai.AzureOpenAI(azure_endpoint=url.removesuffix("/v1"), api_version="1", **options(model))
        )
        note(client.chat.completions.create(model=model, **ASK).model_dump_json())

    async def a_azure(model: str, note: Note) -> None:
        client = made(
            openai.AsyncAzureOpenAI(azure_endpoint=url.removesuffix("/v1"), api_version="1", **options(model))
        )
        note((await client.chat.completions.create(model=model, **ASK)).model_dump_json())

    def parsed(model: str, note: Note) -> None:
        answer = sync(model).chat.completions.parse(model=model, response_format=Place, **ASK)
        note(answer.model_dump_json())

    def beta_helper_stream(model: str, note: Note) -> None:
        with sync(model).beta.chat.completions.stream(model=model, **ASK) as events:
            for event in events:
                note(event.type)

    def stream(model: str, note: Note) -> None:
        with sync(model).chat.completions.create(model=model, stream=True, **ASK) as parts:
            text = ""
            for part in parts:
                note(part.model_dump_json())
                text += (
                    part.choices[0].delta.content or "" if part.choices and not part.choices[0].index else ""
                )
        note.text = text

    def helper(model: str, note: Note) -> None:
        with sync(model).chat.completions.stream(model=model, **ASK) as events:
            for event in events:
                note(event.type)
            note(events.get_final_completion().model_dump_json())

    def raw(model: str, note: Note) -> None:
        answer = sync(model).chat.completions.with_raw_response.create(model=model, **ASK)
        note(answer.status_code, sorted(h for h in answer.headers.items() if h[0] != "date"), answer.content)
        note(answer.parse().model_dump_json())

    def raw_stream(model: str, note: Note) -> None:
        api = sync(model).chat.completions.with_streaming_response
        with api.create(model=model, stream=True, **ASK) as answer:
            note(answer.status_code, b"".join(answer.iter_bytes()))

    async def a_raw(model: str, note: Note) -> None:
        async with a_sync(model) as client:
            answer = await client.chat.completions.with_raw_response.create(model=model, **ASK)
            note(answer.status_code, answer.content)
            note(answer.parse().model_dump_json())

    async def a_raw_stream(model: str, note: Note) -> None:
        async with a_sync(model) as client:
            api = client.chat.completions.with_streaming_response
            async with api.create(model=model, stream=True, **ASK) as answer:
                note(answer.status_code, [line async for line in answer.iter_lines()])

    def stopped(model: str, note: Note) -> None:
        for part in sync(model).chat.completions.create(model=model, stream=True, **ASK):
            note(part.model_dump_json())
            break

    def gated(model: str, note: Note) -> None:
        """The server sends a piece when the one before it is in the service's hands."""
        for part in sync(model).chat.completions.create(model=model, stream=True, **ASK):
            note(part.model_dump_json())
            urllib.request.urlopen(f"{url}/go").close()

    async def a_whole(model: str, note: Note) -> None:
        async with a_sync(model) as client:
            note((await client.chat.completions.create(model=model, **ASK)).model_dump_json())

    async def a_stream(model: str, note: Note) -> None:
        async with a_sync(model) as client:
            async for part in await client.chat.completions.create(model=model, stream=True, **ASK):
                note(part.model_dump_json())

    async def a_helper(model: str, note: Note) -> None:
        async with a_sync(model) as client, client.chat.completions.stream(model=model, **ASK) as events:
            async for event in events:
                note(event.type)

    async def a_stopped(model: str, note: Note) -> None:
        async with a_sync(model) as client:
            parts = await client.chat.completions.create(model=model, stream=True, **ASK)
            async for part in parts:
                note(part.model_dump_json())
                break
            await parts.close()

    async def a_gated(model: str, note: Note) -> None:
        async with a_sync(model) as client:
            async for part in await client.chat.completions.create(model=model, stream=True, **ASK):
                note(part.model_dump_json())
                await asyncio.to_thread(lambda: urllib.request.urlopen(f"{url}/go").close())

    async def a_cancelled(model: str, note: Note) -> None:
        async with a_sync("") as client:
            task = asyncio.create_task(client.chat.completions.create(model=model, **ASK))
            await asyncio.sleep(0.1)
            task.cancel()
            note(type((await asyncio.gather(task, return_exceptions=True))[0]).__name__)

    async def aiohttp(model: str, note: Note) -> None:
        async with a_sync(model, http_client=openai.DefaultAioHttpClient()) as client:
            note((await client.chat.completions.create(model=model, **ASK)).model_dump_json())

    async def aiohttp_stream(model: str, note: Note) -> None:
        async with a_sync(model, http_client=openai.DefaultAioHttpClient()) as client:
            async for part in await client.chat.completions.create(model=model, stream=True, **ASK):
                note(part.model_dump_json())

    def responses(model: str, note: Note) -> None:
        note(sync(model).responses.create(model=model, input="Hi").model_dump_json())

    def responses_stream(model: str, note: Note) -> None:
        for event in sync(model).responses.create(model=model, input="Hi", stream=True):
            note(event.model_dump_json())

    def responses_helper(model: str, note: Note) -> None:
        with sync(model).responses.stream(model=model, input="Hi") as events:
            for event in events:
                note(event.type)

    async def responses_async(model: str, note: Note) -> None:
        async with a_sync(model) as client:
            if "stream" not in model:
                note((await client.responses.create(model=model, input="Hi")).model_dump_json())
                return
            async for event in await client.responses.create(model=model, input="Hi", stream=True):
                note(event.model_dump_json())

    def responses_raw(model: str, note: Note) -> None:
        api = sync(model).responses.with_raw_response
        note(api.create(model=model, input="Hi", stream="stream" in model).http_response.read())

    return {name: way for name, way in locals().items() if name not in _NOT_WAYS and callable(way)}


_NOT_WAYS = {"options", "made", "sync", "a_sync", "url", "mirror"}
