"""The models of the fault suite: one OpenAI-compatible server whose answers, good and bad, follow from the prompt.

``/BEHAVIOUR/v1/chat/completions``; a prompt ends with its number, from which everything follows, so that each
run of the same prompts gives the same answers, whatever was broken meanwhile.
"""

import argparse
import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable

from aiohttp import web

LATENCY_S = 0.01
Behaviour = Callable[[web.Request, int], Awaitable[web.StreamResponse]]
calls: Counter[tuple[str, int]] = Counter()
pace = {"seconds": 0.0}


def answer(number: int) -> str:
    """What the stable model says to a prompt."""
    kinds = ("refund", "delivery", "praise")
    return json.dumps({"ticket": f"HH-{number:06}", "category": kinds[number % 3], "priority": "normal"})


def completion(text: str) -> web.Response:
    message = {"role": "assistant", "content": text}
    return web.json_response(
        {
            "object": "chat.completion",
            "id": "x",
            "created": 0,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
        }
    )


def refusal(status: int, message: str, code: str = "", **headers: str) -> web.Response:
    document = {"error": {"message": message, "code": code}}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response(document, status=status, headers=names)


async def stable(request: web.Request, number: int) -> web.StreamResponse:
    return completion(answer(number))


async def good(request: web.Request, number: int) -> web.StreamResponse:
    """As good as the stable one, in other words now and then."""
    return completion(answer(number).replace("normal", "low") if number % 10 == 3 else answer(number))


async def worse(request: web.Request, number: int) -> web.StreamResponse:
    """Fails on one in eight."""
    return refusal(400, "no") if number % 8 == 0 else completion(answer(number))


async def slow(request: web.Request, number: int) -> web.StreamResponse:
    """As the good one, after a while: calls are in flight at any moment."""
    await asyncio.sleep(0.5)
    return await good(request, number)


async def paced(request: web.Request, number: int) -> web.StreamResponse:
    """As the good one, after as long as it was last told: ``PUT /pace/SECONDS``."""
    await asyncio.sleep(pace["seconds"])
    return await good(request, number)


async def late(request: web.Request, number: int) -> web.StreamResponse:
    """One in twenty comes after the other half has gone out unpaired."""
    if number % 20 == 0:
        await asyncio.sleep(float(request.app["late_s"]))
    return await good(request, number)


def _once(request: web.Request, number: int) -> bool:
    key = (request.path, number)
    calls[key] += 1
    return calls[key] == 1 and number % 3 == 0


async def busy(request: web.Request, number: int) -> web.StreamResponse:
    """429 at the first attempt of every third, with retry-after."""
    if _once(request, number):
        return refusal(429, "slow down", retry_after="1")
    return await good(request, number)


async def curt(request: web.Request, number: int) -> web.StreamResponse:
    """429 at the first attempt of every third, without retry-after."""
    return refusal(429, "slow down") if _once(request, number) else await good(request, number)


async def overloaded(request: web.Request, number: int) -> web.StreamResponse:
    """529 to every fifth, however often it is asked."""
    return refusal(529, "overloaded") if number % 5 == 0 else await good(request, number)


async def spent(request: web.Request, number: int) -> web.StreamResponse:
    """The money is used up after the first prompts."""
    if number >= 150:
        return refusal(429, "You exceeded your current quota", "insufficient_quota")
    return await good(request, number)


async def drip(request: web.Request, number: int) -> web.StreamResponse:
    """Every twentieth answer comes byte by byte, and never ends."""
    if number % 20:
        return await good(request, number)
    response = web.StreamResponse(headers={"content-type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.1)


async def cut(request: web.Request, number: int) -> web.StreamResponse:
    """Every twentieth answer breaks off in its middle."""
    if number % 20:
        return await good(request, number)
    response = web.StreamResponse(headers={"content-type": "application/json", "content-length": "300"})
    await response.prepare(request)
    await response.write(b'{"choices": [{"message"')
    assert request.transport is not None
    request.transport.abort()
    return response


async def garbage(request: web.Request, number: int) -> web.StreamResponse:
    """Every twentieth answer is no JSON."""
    if number % 20:
        return await good(request, number)
    return web.Response(body=b"\x00\xff<html>\x1b[31m", content_type="application/json")


BEHAVIOURS: dict[str, Behaviour] = {
    function.__name__: function
    for function in (
        stable,
        good,
        worse,
        slow,
        paced,
        late,
        busy,
        curt,
        overloaded,
        spent,
        drip,
        cut,
        garbage,
    )
}


async def chat(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    found = re.search(r"(\d+)$", body["messages"][-1]["content"])
    await asyncio.sleep(LATENCY_S)
    return await BEHAVIOURS[request.match_info["behaviour"]](request, int(found.group(1)) if found else 0)


async def set_pace(request: web.Request) -> web.Response:
    pace["seconds"] = float(request.match_info["seconds"])
    return web.Response()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--late-s", type=float, default=15.0)
    arguments = parser.parse_args()
    app = web.Application(client_max_size=64 * 2**20)
    app["late_s"] = arguments.late_s
    app.router.add_post("/{behaviour}/v1/chat/completions", chat)
    app.router.add_put("/pace/{seconds}", set_pace)
    web.run_app(
        app, host="127.0.0.1", port=arguments.port, print=lambda *_: print("model: ready", flush=True)
    )


if __name__ == "__main__":
    main()
