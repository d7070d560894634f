"""What an answer says, in one form for every API; and what the readers of the APIs share. Pure."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import orjson

SHOWN = 500  # characters of an error's text

STOP, LENGTH, TOOL_CALLS, FILTERED = "stop", "length", "tool_calls", "content_filter"
"""Why an answer ended, in the words of a chat completion, whatever API it came by: arms of two APIs compare."""

_FIRST, _BETWEEN, _LAST = b"data: {", b"}\n\ndata: {", b"}\n\ndata: [DONE]\n\n"
_TOO_MUCH = frozenset({"overloaded_error", "rate_limit_error", "rate_limit_exceeded", "server_overloaded"})


class Answer:
    """``complete`` is False where the answer breaks off or is none of its API; ``problem`` says how."""

    output: str = ""
    tool_calls: list[dict[str, str]]  # {"name": str, "arguments": JSON text}
    finish_reason: str = ""
    model: str = ""  # as the server names it
    input_tokens: int | None = None
    output_tokens: int | None = None
    first_token_chunk: int | None = None  # of streams: the index of the piece that brought the first token
    complete: bool = False
    problem: str = ""
    failed: str = ""  # the error that a stream told instead of going on
    throttled: bool = False  # and that error was that there is too much to do

    def __init__(self) -> None:
        self.tool_calls = []


class Stream:
    """The events of a streamed answer, each a JSON object. What is none ends it, with a problem, and so does an
    error that an event tells.

    Args:
        chunks: the answer's body, in whatever pieces the network made.
        found: where problems, errors and the first token's piece are noted.
    """

    def __init__(self, chunks: list[bytes], found: Answer) -> None:
        self._chunks = chunks
        self._body = b"".join(chunks)
        self._found = found
        self._number = 0  # of the event that is being looked at
        self._end: int | None = None  # and where it ends; None is where as many events do
        self.done = False
        """Whether ``[DONE]`` came, as in OpenAI's older API."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        at_once = _at_once(self._body)
        read = self._one_by_one() if at_once is None else at_once
        for self._number, event in enumerate(read):
            if not isinstance(event, dict):
                self._found.problem = "an event of the stream is no object"
                return
            if event.get("error") or event.get("type") == "error":
                fail(self._found, event.get("error") or event)
                return
            yield event
        self.done = self.done or at_once is not None

    def _one_by_one(self) -> Iterator[Any]:
        for data, end in events(self._body):
            self._end = end
            if data.startswith(b"[DONE]"):
                self.done = True
                return
            try:
                event = orjson.loads(data)
            except ValueError:
                self._found.problem = "an event of the stream is no JSON"
                return
            yield event

    def brought(self) -> None:
        """The event that is being looked at has a part of the answer."""
        if self._found.first_token_chunk is not None:
            return
        end = self._end
        if end is None:
            end = 0
            for _ in range(self._number + 1):
                end = self._body.index(b"\n\n", end) + 2
        ends = list(accumulate(map(len, self._chunks)))
        self._found.first_token_chunk = min(bisect_left(ends, end), len(ends) - 1)

    def end(self, *, complete: bool) -> Answer:
        """The answer, now that all events were looked at."""
        found = self._found
        found.complete = complete and not found.problem and not found.failed
        if not found.complete and not found.problem:
            found.problem = "the stream ended before its answer did"
        return found


def _at_once(body: bytes) -> list[Any] | None:
    """What the events of a stream hold, read as one list in two thirds of the time; None where they are not each an
    object on one line, and the last ``[DONE]``, as OpenAI's older API has them."""
    if not body.startswith(_FIRST) or not body.endswith(_LAST):
        return None
    objects = body[len(_FIRST) - 1 : 1 - len(_LAST)]
    joined = objects.replace(_BETWEEN, b"},{")
    if b"\n" in joined or b"\r" in joined:
        return None
    try:
        found: list[Any] = orjson.loads(b"[%b]" % joined)
    except ValueError:
        return None
    separators = (len(objects) - len(joined)) // (len(_BETWEEN) - 3)
    return found if len(found) == separators + 1 else None


def fail(found: Answer, error: Any) -> None:
    """Notes the error that a 200 told: an object with ``message`` and ``type`` or ``code``, or a text."""
    said = error if isinstance(error, dict) else {"message": error}
    found.failed = string(said.get("message"))[:SHOWN] or "the server told an error after its 200"
    found.throttled = not _TOO_MUCH.isdisjoint({string(said.get("type")), string(said.get("code"))})


def events(body: bytes) -> Iterator[tuple[bytes, int]]:
    """(data, offset where the event ends) of each server-sent event. One that is not ended by a blank line
    is none, as the standard has it: https://html.spec.whatwg.org/multipage/server-sent-events.html."""
    data: list[bytes] = []
    at = 0
    for line in body.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True):
        at += len(line)
        text = line.rstrip(b"\r\n")
        if text.startswith(b"data:"):
            data.append(text[5:].removeprefix(b" "))
        elif not text and line and data:
            yield b"\n".join(data), at
            data = []


def error_message(body: bytes) -> str:
    """The text of an error body of any of the APIs; else the body's beginning."""
    try:
        raw = orjson.loads(body)
    except ValueError:
        return body[:SHOWN].decode("utf-8", "replace")
    error = raw.get("error", raw) if isinstance(raw, dict) else raw
    message = error.get("message") if isinstance(error, dict) else error
    return (message if isinstance(message, str) else orjson.dumps(message).decode())[:SHOWN]


def string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def count(value: Any, otherwise: int | None = None) -> int | None:
    """A number of tokens; ``otherwise`` where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; of anything else none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def json_text(value: Any) -> str:
    """A tool call's arguments as text: as they are, or where a server sends the object itself, as its JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return orjson.dumps(value).decode()


def as_object(value: Any) -> dict[str, Any]:
    """``value`` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}
