"""A WSGI service: `gunicorn --preload`. The mirror is made before the fork, as at any import."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from openai import OpenAI

from shadowlane.producers import Mirror

mirror = Mirror()
client = mirror.wrap(OpenAI(base_url=os.environ["MODEL_URL"], api_key="stable", max_retries=0), route="/desk")


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    question = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0)).decode()
    with mirror.context(key=question[-2:], route="/desk", attributes={"language": "en"}):
        done = client.chat.completions.create(
            model="desk-1", messages=[{"role": "user", "content": question}]
        )
    answer = (done.choices[0].message.content or "").encode()
    start_response("200 OK", [("content-type", "application/json"), ("content-length", str(len(answer)))])
    return [answer]
