"""The other processes of `benchmarks.worker`: a candidate that answers after a while, and two loops that only ask it.

python -m benchmarks.worker_peers candidate --port N [--answer-s 0.05] [--answer-bytes 600]
python -m benchmarks.worker_peers aiohttp|openai --port N --calls N [--in-flight 500]
"""

import argparse
import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import cast

import orjson
import uvloop

IN_FLIGHT = 500
ANSWER_S = 0.05
BODY = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "You answer questions of customers, shortly and kindly. " * 8},
        {
            "role": "user",
            "content": "Where is my parcel? It was to come on Monday, and today is Friday. " * 8,
        },
    ],
    "temperature": 0.2,
    "max_tokens": 200,
}
_SENTENCE = "It is on its way, and comes tomorrow. "


def answer(size: int) -> bytes:
    """A chat completion whose text has at least this many characters."""
    said = _SENTENCE * -(-size // len(_SENTENCE))
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
    usage = {"prompt_tokens": 200, "completion_tokens": 150, "total_tokens": 350}
    return orjson.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
    )


class Candidate(asyncio.Protocol):
    """As little as HTTP can be; ``GET`` tells how many calls there were."""

    calls = 0
    answer_s = ANSWER_S
    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's classes
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            if self._buffer.startswith(b"GET"):
                self._buffer = self._buffer[end + 4 :]
                self._answer(b"%d" % Candidate.calls)
                continue
            at = self._buffer.lower().find(b"content-length:")
            whole = end + 4 + int(self._buffer[at + 15 : self._buffer.find(b"\r", at)])
            if len(self._buffer) < whole:
                return
            self._buffer = self._buffer[whole:]
            Candidate.calls += 1
            asyncio.get_running_loop().call_later(Candidate.answer_s, self._answer, Candidate.answer)

    def _answer(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)


async def serve(port: int) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(Candidate, "127.0.0.1", port, backlog=4096)
    print("candidate: ready", flush=True)
    await stop.wait()
    server.close()


async def ask_with_aiohttp(port: int, calls: int, in_flight: int) -> None:
    """Sends one ready-made body, reads the answer, keeps nothing."""
    import aiohttp

    payload = orjson.dumps(BODY)
    headers = {"content-type": "application/json"}
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:

        async def call() -> None:
            async with session.post(url, data=payload, headers=headers) as reply:
                await reply.read()

        await _all(call, calls, in_flight)


async def ask_with_openai(port: int, calls: int, in_flight: int) -> None:
    """The vendor's client, as its documentation uses it."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="x", max_retries=0) as client:

        async def call() -> None:
            await client.chat.completions.create(**BODY)  # type: ignore[call-overload]  # a ready-made body

        await _all(call, calls, in_flight)


async def _all(call: Callable[[], Awaitable[None]], calls: int, in_flight: int) -> None:
    left = iter(range(calls))

    async def loop() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(loop() for _ in range(in_flight)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("candidate", "aiohttp", "openai"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--calls", type=int, default=0)
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT)
    parser.add_argument("--answer-s", type=float, default=ANSWER_S)
    parser.add_argument("--answer-bytes", type=int, default=600)
    arguments = parser.parse_args()
    if arguments.what == "candidate":
        Candidate.answer_s = arguments.answer_s
        Candidate.answer = answer(arguments.answer_bytes)
        uvloop.run(serve(arguments.port))
    else:
        ask = {"aiohttp": ask_with_aiohttp, "openai": ask_with_openai}[arguments.what]
        uvloop.run(ask(arguments.port, arguments.calls, arguments.in_flight))


if __name__ == "__main__":
    main()
