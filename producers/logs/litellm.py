"""LiteLLM's StandardLoggingPayload: what its S3, GCS and file loggers write, one JSON object a call. Pure.

Fields: https://docs.litellm.ai/docs/proxy/logging_spec and litellm's own ``types/utils.py``. Whatever API was called,
LiteLLM logs most answers as chat completions: the answer is read by its own form.
"""

from typing import Any

from shadowlane.errors import CodecError
from shadowlane.producers.logs.entry import (
    Entry,
    Reply,
    an_object,
    answered,
    failed,
    protocol_of,
    span_ms,
    string,
    texts,
    time_ms,
)
from shadowlane.schemas.answers.answer import count
from shadowlane.schemas.events import Failure, Protocol

_PROTOCOLS = {
    "completion": Protocol.OPENAI_CHAT,
    "acompletion": Protocol.OPENAI_CHAT,
    "responses": Protocol.OPENAI_RESPONSES,
    "aresponses": Protocol.OPENAI_RESPONSES,
    "anthropic_messages": Protocol.ANTHROPIC_MESSAGES,
}
_FAILURES = {
    "Timeout": Failure.TIMEOUT,
    "APIConnectionError": Failure.CONNECTION,
    "RateLimitError": Failure.THROTTLED,
    "APIResponseValidationError": Failure.BAD_RESPONSE,
}


def fits(raw: dict[str, Any]) -> bool:
    return "call_type" in raw and "startTime" in raw and "model_parameters" in raw


def read(raw: Any) -> Entry | None:
    """One call; None for one that is no question to a language model (embeddings, images, …).

    Raises:
        CodecError: says what is wrong in it.
    """
    seen = an_object(raw, "line")
    call_type = seen.get("call_type")
    if not isinstance(call_type, str) or not call_type:
        raise CodecError("call_type: is missing, so this is no StandardLoggingPayload")
    protocol = _PROTOCOLS.get(call_type)
    if protocol is None:
        return None
    model = string(seen.get("model"))
    begin = time_ms(seen.get("startTime"), "startTime", "s")
    reply = _reply(seen)
    ended = time_ms(seen["endTime"], "endTime", "s") if seen.get("endTime") else None
    reply.latency_ms = span_ms(begin, ended)
    if seen.get("stream") and seen.get("completionStartTime") and not reply.error:
        reply.ttft_ms = span_ms(begin, time_ms(seen["completionStartTime"], "completionStartTime", "s"))
    if not reply.error and reply.input_tokens is None:
        reply.input_tokens = count(seen.get("prompt_tokens"))
        reply.output_tokens = count(seen.get("completion_tokens"))
    parameters = _echoed(seen) if protocol == Protocol.OPENAI_RESPONSES else {}
    if isinstance(logged := seen.get("model_parameters"), dict):
        parameters |= logged
    metadata = seen.get("metadata")
    tags = seen.get("request_tags")
    return Entry(
        protocol=protocol,
        body={
            "model": model,
            **parameters,
            **_asked(protocol, seen.get("messages")),
        },
        reply=reply,
        ts=begin,
        source_id=string(seen.get("id")),
        model=model,
        key=next(filter(None, map(string, map(seen.get, ("session_id", "end_user", "trace_id")))), ""),
        attributes=texts(
            {
                "model_group": seen.get("model_group"),
                "team": metadata.get("user_api_key_team_alias") if isinstance(metadata, dict) else None,
                "tags": ",".join(sorted(filter(None, map(string, tags)))) if isinstance(tags, list) else None,
            }
        ),
    )


def _asked(protocol: Protocol, messages: Any) -> dict[str, Any]:
    if isinstance(messages, dict) and "messages" in messages:
        messages = messages["messages"]
    if (
        protocol == Protocol.OPENAI_RESPONSES
        and isinstance(messages, (str, list))
        and not _left_out(messages)
    ):
        return {"input": messages}
    if isinstance(messages, list) and not _left_out(messages):
        return {"messages": messages}
    raise CodecError("messages: are not in the log (turn_off_message_logging?)")


def _echoed(seen: dict[str, Any]) -> dict[str, Any]:
    """LiteLLM does not log what a response was asked beside its input; a response repeats it."""
    response = seen.get("response")
    told = response if isinstance(response, dict) else {}
    return {name: told[name] for name in ("instructions", "tools", "text") if told.get(name)}


def _left_out(logged: Any) -> bool:
    """Whether LiteLLM has put its own word in the place of what was said."""
    if isinstance(logged, list) and len(logged) == 1 and isinstance(logged[0], dict):
        logged = logged[0].get("content")
    return isinstance(logged, str) and logged.startswith("redacted-by-litellm")


def _reply(seen: dict[str, Any]) -> Reply:
    if seen.get("status") == "failure":
        return _failure(seen)
    response = seen.get("response")
    if isinstance(response, str):
        if not response or _left_out(response):
            raise CodecError("response: is not in the log (turn_off_message_logging?)")
        return Reply(output=response)
    said = an_object(response, "response")
    reply = answered(protocol_of({}, said) or Protocol.OPENAI_CHAT, said)
    if _left_out(reply.output):
        raise CodecError("response: is not in the log (turn_off_message_logging?)")
    return reply


def _failure(seen: dict[str, Any]) -> Reply:
    told = seen.get("error_information")
    told = told if isinstance(told, dict) else {}
    code = str(told.get("error_code") or "")
    status = int(code) if code.isascii() and code.isdigit() and 400 <= int(code[:4]) < 600 else 0
    message = string(told.get("error_message")) or string(seen.get("error_str")) or "LiteLLM says no more"
    kind = _FAILURES.get(string(told.get("error_class")))
    return failed(status, message, kind or (Failure.HTTP if status else Failure.EXCEPTION))
