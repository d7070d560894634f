"""A model server on loopback that answers every chat completion with the same bytes, and a sink for whatever else
is posted to it, which answers 200 with nothing. ``GET /`` says how many bytes were posted.

    python -m benchmarks.capturing.server      prints its port
"""

import asyncio
import json

ANSWER = "I'm sorry about the delay. Your order left the warehouse and is on its way to you. " * 12
EVENTS = 40
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%s\r\n\r\n"


def _whole() -> bytes:
    message = {"role": "assistant", "content": ANSWER}
    body = json.dumps(
        {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 250, "completion_tokens": 250, "total_tokens": 500},
        }
    ).encode()
    return HEAD % (b"application/json", b"content-length: %d" % len(body)) + body


def _stream() -> bytes:
    """Each event is a piece of its own, and so comes through the client's transport as one."""
    size = -(-len(ANSWER) // (EVENTS - 1))
    deltas = [{"content": ANSWER[n * size : (n + 1) * size]} for n in range(EVENTS - 1)]
    events = [
        b"data: "
        + json.dumps(
            {
                "id": "c1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}],
            }
        ).encode()
        + b"\n\n"
        for delta in [*deltas, {}]
    ] + [b"data: [DONE]\n\n"]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
    return HEAD % (b"text/event-stream", b"transfer-encoding: chunked") + chunks + b"0\r\n\r\n"


WHOLE, STREAM = _whole(), _stream()
EMPTY = HEAD % (b"application/x-protobuf", b"content-length: 0")


class Server(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    posted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        _, stated, rest = head.lower().partition(b"content-length:")
        length = int(rest.split(b"\r\n", 1)[0]) if stated else 0
        if len(body) < length:
            return
        self._read = body[length:]
        Server.posted += length
        if head.startswith(b"GET"):
            said = b"%d" % Server.posted
            answer = HEAD % (b"text/plain", b"content-length: %d" % len(said)) + said
        elif b"/chat/completions" not in head.split(b"\r\n", 1)[0]:
            answer = EMPTY
        else:
            answer = STREAM if b'"stream":true' in body.replace(b": ", b":") else WHOLE
        self._transport.write(answer)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
