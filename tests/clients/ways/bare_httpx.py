"""httpx or httpx2 by itself, whichever is installed."""

import asyncio
import importlib.util
import urllib.request
from collections.abc import Callable
from typing import Any

from shadowlane.producers import Mirror
from tests.clients.note import QUESTION, Note

httpx: Any = importlib.import_module("httpx2" if importlib.util.find_spec("httpx2") else "httpx")


def fits(way: str, model: str) -> bool:
    if model == "hang":
        return way in ("whole", "a_whole", "a_cancelled")
    return ("gated" in way) == model.startswith("gated-") and way != "a_cancelled"


def ways(url: str, mirror: Mirror | None) -> dict[str, Callable[[str, Note], Any]]:
    def body(model: str) -> dict[str, Any]:
        return {"model": model, "messages": [{"role": "user", "content": QUESTION}]}

    def made(kind: Any, model: str) -> Any:
        client = kind(timeout=0.4 if model == "hang" else 20)
        return client if mirror is None else mirror.wrap(client)

    def shown(answer: Any) -> Any:
        return answer.status_code, sorted(h for h in answer.headers.items() if h[0] != "date"), answer.content

    def whole(model: str, note: Note) -> None:
        with made(httpx.Client, model) as client:
            note(shown(client.post(f"{url}/chat/completions", json=body(model))))

    def lines(model: str, note: Note) -> None:
        with (
            made(httpx.Client, model) as client,
            client.stream("POST", f"{url}/chat/completions", json=body(model)) as answer,
        ):
            note(list(answer.iter_lines()))

    def raw(model: str, note: Note) -> None:
        with (
            made(httpx.Client, model) as client,
            client.stream("POST", f"{url}/chat/completions", json=body(model)) as answer,
        ):
            note(b"".join(answer.iter_raw()))

    def stopped(model: str, note: Note) -> None:
        with (
            made(httpx.Client, model) as client,
            client.stream("POST", f"{url}/chat/completions", json=body(model)) as answer,
        ):
            for piece in answer.iter_bytes():
                note(piece[:1])
                break

    def gated(model: str, note: Note) -> None:
        with (
            made(httpx.Client, model) as client,
            client.stream("POST", f"{url}/chat/completions", json=body(model)) as answer,
        ):
            for piece in answer.iter_bytes():
                note(piece)
                urllib.request.urlopen(f"{url}/go").close()

    async def a_whole(model: str, note: Note) -> None:
        async with made(httpx.AsyncClient, model) as client:
            note(shown(await client.post(f"{url}/chat/completions", json=body(model))))

    async def a_lines(model: str, note: Note) -> None:
        async with (
            made(httpx.AsyncClient, model) as client,
            client.stream("POST", f"{url}/chat/completions", json=body(model)) as answer,
        ):
            note([line async for line in answer.aiter_lines()])

    async def a_cancelled(model: str, note: Note) -> None:
        async with made(httpx.AsyncClient, "") as client:
            task = asyncio.create_task(client.post(f"{url}/chat/completions", json=body(model)))
            await asyncio.sleep(0.1)
            task.cancel()
            note(type((await asyncio.gather(task, return_exceptions=True))[0]).__name__)

    return {name: way for name, way in locals().items() if name not in _NOT_WAYS and callable(way)}


_NOT_WAYS = {"body", "made", "shown", "url", "mirror"}
