"""Langfuse's exported observations: those of the API and the screen (camelCase), and of the blob storage. Pure.

Fields: https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields and the API's observations.
What an observation holds as input and output is up to who traced it: here what Langfuse's own integrations write.
"""

import re
from typing import Any

import orjson

from shadowlane.errors import CodecError
from shadowlane.producers.logs.entry import (
    Entry,
    Reply,
    an_object,
    answered,
    failed,
    span_ms,
    string,
    texts,
    time_ms,
)
from shadowlane.schemas.answers.answer import count
from shadowlane.schemas.events import Failure, Protocol

_STATUS = re.compile(r"(?:Error code|status(?:[ _]code)?)[:= ]+([45]\d\d)\b", re.IGNORECASE)
_ITEMS = ("message", "function_call", "reasoning", "custom_tool_call")
_SAID = ("content", "tool_calls", "function_call", "refusal")
_UNSET = (None, "", "inf", "Infinity")


def fits(raw: dict[str, Any]) -> bool:
    times = "startTime" in raw or "start_time" in raw
    return times and "type" in raw and ("traceId" in raw or "trace_id" in raw)


def read(raw: Any) -> Entry | None:
    """One observation; None for one that is no generation.

    Raises:
        CodecError: says what is wrong in it.
    """
    seen = an_object(raw, "line")
    if string(seen.get("type")).upper() != "GENERATION":
        if not string(seen.get("type")):
            raise CodecError("type: is missing, so this is no observation")
        return None
    given = _parsed(_get(seen, "input"))
    output = _parsed(_get(seen, "output"))
    model = next(filter(None, map(string, (seen.get(name) for name in _MODELS))), "")
    protocol, body = _asked(given, output, model)
    body |= {k: v for k, v in _parameters(_get(seen, "modelParameters")).items() if k not in body}
    reply = _reply(seen, protocol, output)
    begin = time_ms(_get(seen, "startTime"), "startTime", "iso8601")
    ended, first = (_time(seen, name) for name in ("endTime", "completionStartTime"))
    reply.latency_ms = span_ms(begin, ended)
    reply.ttft_ms = None if first is None else span_ms(begin, first)
    _count(seen, reply)
    return Entry(
        protocol=protocol,
        body=body,
        reply=reply,
        ts=begin,
        source_id=string(seen.get("id")),
        model=model,
        key=string(_get(seen, "sessionId")) or string(_get(seen, "userId")),
        attributes=texts(
            {
                "environment": seen.get("environment"),
                "name": seen.get("name"),
                "prompt": _get(seen, "promptName"),
                "prompt_version": _get(seen, "promptVersion"),
            }
        ),
    )


_MODELS = ("model", "providedModelName", "provided_model_name")


def _get(seen: dict[str, Any], name: str) -> Any:
    """A field by its name of the API, or of the blob storage."""
    snake = re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name)
    return seen[name] if seen.get(name) is not None else seen.get(snake)


def _time(seen: dict[str, Any], name: str) -> int | None:
    value = _get(seen, name)
    return None if value in (None, "") else time_ms(value, name, "iso8601")


def _parsed(value: Any) -> Any:
    """The blob storage has JSON as text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return orjson.loads(value)
        except ValueError:
            return value
    return value


def _parameters(value: Any) -> dict[str, Any]:
    found = _parsed(value)
    return {k: v for k, v in found.items() if v not in _UNSET} if isinstance(found, dict) else {}


def _asked(given: Any, output: Any, model: str) -> tuple[Protocol, dict[str, Any]]:
    """The API and the body. A text alone is what a user said."""
    body: dict[str, Any] = {"model": model} if model else {}
    if isinstance(given, dict) and "messages" in given:
        return Protocol.OPENAI_CHAT, body | given
    if _is_items(output):
        return Protocol.OPENAI_RESPONSES, body | (
            given
            if isinstance(given, dict) and ("input" in given or "instructions" in given)
            else {"input": given}
        )
    if isinstance(given, list) and given and all(isinstance(one, dict) and "role" in one for one in given):
        return Protocol.OPENAI_CHAT, body | {"messages": given}
    if isinstance(given, dict) and "role" in given:
        return Protocol.OPENAI_CHAT, body | {"messages": [given]}
    if isinstance(given, str) and given:
        return Protocol.OPENAI_CHAT, body | {"messages": [{"role": "user", "content": given}]}
    if given in (None, "", [], {}):
        raise CodecError("input: is missing; export with inputs and outputs")
    raise CodecError("input: is neither messages nor a text")


def _is_items(output: Any) -> bool:
    """Whether it is the output of the Responses API: one item, or a list of them."""
    items = output if isinstance(output, list) else [output]
    return bool(items) and all(isinstance(one, dict) and one.get("type") in _ITEMS for one in items)


def _reply(seen: dict[str, Any], protocol: Protocol, output: Any) -> Reply:
    if string(seen.get("level")).upper() == "ERROR":
        why = string(_get(seen, "statusMessage")) or "no statusMessage"
        status = _STATUS.search(why)
        return failed(int(status[1]), why) if status else failed(0, why, Failure.EXCEPTION)
    if output in (None, ""):
        raise CodecError("output: is missing, and level is not ERROR; export with inputs and outputs")
    if protocol == Protocol.OPENAI_RESPONSES:
        items = output if isinstance(output, list) else [output]
        return answered(protocol, {"output": items}, place="output")
    if isinstance(output, list) and output and isinstance(output[0], dict) and "role" in output[0]:
        output = output[0]  # of several choices the first counts
    if isinstance(output, dict) and "choices" in output:
        return answered(Protocol.OPENAI_CHAT, output, place="output")
    if isinstance(output, dict) and output.get("type") == "message":
        return answered(Protocol.ANTHROPIC_MESSAGES, output, place="output")
    if isinstance(output, dict) and ("role" in output or "tool_calls" in output):
        message = {name: value for name, value in output.items() if name in _SAID}
        return answered(Protocol.OPENAI_CHAT, {"choices": [{"message": message}]}, place="output")
    # A text, or one that is JSON: then as it came.
    raw = _get(seen, "output")
    return Reply(output=raw if isinstance(raw, str) else orjson.dumps(raw).decode())


def _count(seen: dict[str, Any], reply: Reply) -> None:
    """The tokens: usageDetails, or as it was before ``usage``."""
    for name in ("usageDetails", "usage"):
        used = _parsed(_get(seen, name))
        if isinstance(used, dict) and reply.input_tokens is None:
            reply.input_tokens, reply.output_tokens = count(used.get("input")), count(used.get("output"))
