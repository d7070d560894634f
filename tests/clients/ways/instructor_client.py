"""instructor, made of a wrapped client of openai."""

from collections.abc import Callable
from typing import Any

import instructor
import openai
import pydantic

from shadowlane.producers import Mirror
from tests.clients.note import QUESTION, Note

ASK: Any = {"messages": [{"role": "user", "content": QUESTION}], "max_retries": 0}


class Found(pydantic.BaseModel):
    """What the model is asked for."""

    n: int


def fits(way: str, model: str) -> bool:
    return True


def ways(url: str, mirror: Mirror | None) -> dict[str, Callable[[str, Note], Any]]:
    def made(kind: Any) -> Any:
        client = kind(base_url=url, api_key="k", max_retries=0)
        return instructor.from_openai(client if mirror is None else mirror.wrap(client))

    def whole(model: str, note: Note) -> None:
        note(made(openai.OpenAI).chat.completions.create(model=model, response_model=Found, **ASK).n)

    def with_completion(model: str, note: Note) -> None:
        create = made(openai.OpenAI).chat.completions.create_with_completion
        found, completion = create(model=model, response_model=Found, **ASK)
        note(found.n, completion.model_dump_json())

    async def a_whole(model: str, note: Note) -> None:
        create = made(openai.AsyncOpenAI).chat.completions.create
        note((await create(model=model, response_model=Found, **ASK)).n)

    return {name: way for name, way in locals().items() if name not in _NOT_WAYS and callable(way)}


_NOT_WAYS = {"made", "url", "mirror"}
