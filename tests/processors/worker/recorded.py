"""Recorded prompts, asked in each API of a candidate of each other one by the worker; what got lost on the way.

    SHADOWLANE_RECORDED_MODELS=… python -m tests.processors.worker.recorded

asks all of them in all ways (a minute), and prints the table of docs/worker.md. A folder of recordings has
``prompts.jsonl.gz``, ``models/`` and ``serve.py``, which serves them over chat completions and Anthropic's messages;
the candidates of the two other APIs are served here.
"""

import asyncio
import contextlib
import gzip
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from shadowlane.processors.worker.caller import Caller
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.codec import decode, encode
from shadowlane.schemas.config import Rollout, Worker
from shadowlane.schemas.events import MirroredRequest, Response
from tests.processors.worker.prompts_in_apis import BEDROCK, BODIES, CHAT, MESSAGES, RESPONSES
from tests.processors.worker.serving import responded
from tests.services import free_port

RECORDED = "SHADOWLANE_RECORDED_MODELS"
MODEL = "gpt4_1106_preview"
FAULTS = {  # what becomes of a call of a model; the other models answer as they did
    "claude": "tools",
    "claude-2": "error",
    "falcon-7b-instruct": "rate_limit",
    "vicuna-13b-v1.5": "garbage",
    "gpt-3.5-turbo-1106": "cut",
    "gpt-4o-2024-05-13": "empty",
}
KINDS = {CHAT: "openai", RESPONSES: "openai-responses", MESSAGES: "anthropic", BEDROCK: "bedrock"}
WORKER = Worker(timeout_s=60, max_attempts=1, concurrency=64)

Asked = tuple[str, str, str]
"""(prompt id, protocol, what is asked beside the prompt: a key of BODIES)."""


@dataclass(frozen=True, slots=True)
class Recordings:
    folder: Path
    prompts: Mapping[str, str]  # by id
    answers: Mapping[str, str]  # of MODEL, by prompt

    @classmethod
    def of(cls, folder: Path) -> "Recordings":
        prompts = {str(row["id"]): row["prompt"] for row in _rows(folder / "prompts.jsonl.gz")}
        answers = {
            prompts[str(row["id"])]: row["output"] for row in _rows(folder / "models" / f"{MODEL}.jsonl.gz")
        }
        return cls(folder, prompts, answers)

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """The address of serve.py."""
        port = free_port()
        faults = [f"--fault={model}:{kind}:1" for model, kind in FAULTS.items()]
        serving = subprocess.Popen([sys.executable, str(self.folder / "serve.py"), f"--port={port}", *faults])
        try:
            for _ in range(1200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            serving.kill()
            serving.wait()


def ask(
    recordings: Recordings, url: str, target: str, asked: Iterable[Asked], model: str = MODEL
) -> dict[Asked, Response]:
    """What a candidate of an API answers, through the worker's own caller. ``url``: where serve.py is."""
    return asyncio.run(_ask(recordings, url, target, list(asked), model))


def becomes_of(recordings: Recordings, asked: Asked, response: Response) -> tuple[str, list[str]]:
    """``whole``, ``left out`` or ``not comparable``, and what or why; ``lost`` and ``wrong`` are faults of ours."""
    prompt_id, protocol, shape = asked
    prompt = recordings.prompts[prompt_id]
    if response.error == "unsupported":
        return "not comparable", [response.error_message.partition(": ")[2]]
    if response.error or response.output != recordings.answers[prompt]:
        return "wrong", [f"{shape}: {response.error} {response.error_message}"]
    if gone := lost(BODIES[protocol][shape](prompt), response.request, response.left_out):
        return "lost", [f"{shape}: {each}" for each in gone]
    return ("left out" if response.left_out else "whole"), response.left_out


async def _ask(
    recordings: Recordings, url: str, target: str, asked: list[Asked], model: str
) -> dict[Asked, Response]:
    app = web.Application(client_max_size=64 * 2**20)

    async def respond(request: web.Request) -> web.Response:
        return web.json_response(_answered(await request.json(), recordings.answers))

    app.router.add_post("/v1/responses", respond)
    app.router.add_post("/model/{model}/converse", respond)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    own = f"http://127.0.0.1:{runner.addresses[0][1]}"
    address = {CHAT: f"{url}/v1", MESSAGES: f"{url}/v1", RESPONSES: f"{own}/v1", BEDROCK: own}[target]
    candidate: dict[str, Any] = {"kind": KINDS[target], "model": model, "base_url": address}
    if target == BEDROCK:
        candidate |= {"bedrock": {"region": "eu-central-1"}}
    plan = Plan.of(Rollout.model_validate({"name": "r", "candidate": candidate}), WORKER)
    caller, found = Caller(WORKER), {}

    async def one(each: Asked) -> None:
        prompt_id, protocol, shape = each
        body = BODIES[protocol][shape](recordings.prompts[prompt_id])
        request = MirroredRequest(
            request_id=prompt_id, ts=1, service="s", route="/r", protocol=protocol, model="asked", body=body
        )
        found[each] = decode(Response, encode(await responded(caller, request, plan)))

    try:
        for start in range(0, len(asked), WORKER.concurrency):
            await asyncio.gather(*(one(each) for each in asked[start : start + WORKER.concurrency]))
    finally:
        await caller.close()
        await runner.cleanup()
    return found


def _answered(body: Any, answers: Mapping[str, str]) -> Any:
    """As the provider documents its answer: the recorded one to the last thing that the user said."""
    if "input" in body:
        last = body["input"]
        said = last if isinstance(last, str) else last[-1]["content"]
        text = said if isinstance(said, str) else "".join(part.get("text", "") for part in said)
        words = [{"type": "output_text", "text": answers[text], "annotations": []}]
        message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": words}
        usage = {"input_tokens": 5, "output_tokens": 6, "total_tokens": 11}
        return {"id": "r", "status": "completed", "model": MODEL, "output": [message], "usage": usage}
    text = "".join(part.get("text", "") for part in body["messages"][-1]["content"])
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": answers[text]}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 5, "outputTokens": 6, "totalTokens": 11},
    }


# What is the same in each API by another word, or says nothing to a model: a schema's name is a label.
_WORDS = frozenset({"type", "role", "model", "id", "status", "user", "user_id", "service_tier", "signature"})
_UNHEARD = frozenset({"cache_control", "cachePoint", "stream_options", "truncation", "requestMetadata"})
_LABELS = frozenset({"json_schema", "jsonSchema", "format"})
_CALLED = {
    "stop_sequences": "stop",
    "stopSequences": "stop",
    "media_type": "format",
    "url": "image_url",
    "max_output_tokens": "max_tokens",
}


def lost(asked: Any, sent: Any, left_out: Iterable[str]) -> list[str]:
    """What the request has and the candidate was neither sent nor named in ``left_out``: places in the request.

    It compares words and numbers wherever they stand, and knows nothing of how requests are translated.
    """
    there = Counter(_plain(value) for _, value in _leaves(sent, ()))
    named = {part for name in left_out for part in name.split(".")}
    missing = []
    for place, value in _leaves(asked, ()):
        if place[-1] in _WORDS or _UNHEARD.intersection(place) or value == "auto":
            continue
        if place[-1] == "name" and place[-2] in _LABELS:
            continue
        if there[_plain(value)] > 0:
            there[_plain(value)] -= 1
        elif named.isdisjoint({*place, *(_CALLED.get(part, part) for part in place)}):
            missing.append(f"{'.'.join(place)}: {value!r:.60}")
    return missing


def _leaves(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Words and numbers, and their places; of JSON in a text what it says, of an image in an address the image."""
    if isinstance(value, dict):
        for name, each in value.items():
            if place[-1:] == ("properties",) or name == "logit_bias":
                yield (*place, name), name
            yield from _leaves(each, (*place, name))
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each, (*place, "list"))
    elif isinstance(value, str) and value.startswith("data:"):
        about, _, data = value.partition(",")
        yield (*place, "format"), about.removeprefix("data:").partition(";")[0]
        yield (*place, "data"), data
    elif isinstance(value, str) and value.startswith("{") and place[-1] in ("arguments", "schema"):
        yield from _leaves(json.loads(value), place)
    elif value is not None and not isinstance(value, bool):
        yield place, value


def _plain(value: Any) -> str:
    return str(value).removeprefix("image/")


def _rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [orjson.loads(line) for line in lines]


def main() -> None:
    recordings = Recordings.of(Path(os.environ[RECORDED]))
    os.environ |= {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "x"}
    asked = [
        (each, protocol, shape)
        for protocol, shapes in BODIES.items()
        for shape in shapes
        for each in recordings.prompts
    ]
    heads = ("of", "to", "asked", "whole", "without a part", "not comparable", "without what")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    with recordings.served() as url:
        for target in BODIES:
            found = ask(recordings, url, target, asked)
            for source in (each for each in BODIES if each != target):
                told = [becomes_of(recordings, each, found[each]) for each in asked if each[1] == source]
                counts = Counter(kind for kind, _ in told)
                what = Counter(name for kind, names in told for name in names if kind != "not comparable")
                if counts["lost"] or counts["wrong"]:
                    sys.exit(f"{source} to {target}: {dict(counts)}, {dict(what)}")
                cells = len(told), counts["whole"], counts["left out"], counts["not comparable"]
                names = ", ".join(f"`{name}`" for name in sorted(what))
                print(f"| {source} | {target} | {' | '.join(f'{n:,}' for n in cells)} | {names} |")


if __name__ == "__main__":
    main()
