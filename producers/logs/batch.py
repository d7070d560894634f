"""OpenAI's Batch API and Anthropic's Message Batches: inputs and results, joined by custom_id. No I/O.

Formats: https://platform.openai.com/docs/api-reference/batch/request-input and …/request-output;
https://platform.claude.com/docs/en/api/messages/batches.
"""

from typing import Any

import orjson

from shadowlane.errors import CodecError
from shadowlane.producers.logs.calls import ANTHROPIC, OPENAI, reply_of
from shadowlane.producers.logs.entry import Entry, Reply, an_object, failed, protocol_of, string, time_ms
from shadowlane.schemas.events import Failure, Protocol

_NEVER_ASKED = ("batch_expired", "batch_cancelled", "expired", "canceled")
"""The provider never asked the model, which so says nothing of it."""


def fits_openai(raw: dict[str, Any]) -> bool:
    return "custom_id" in raw and ("body" in raw or ("response" in raw and "error" in raw))


def fits_anthropic(raw: dict[str, Any]) -> bool:
    return "custom_id" in raw and ("params" in raw or "result" in raw)


class Joined:
    """Inputs wait for their results, and results for their inputs; each is held until then.

    Args:
        openai: of OpenAI's API, else of Anthropic's.
    """

    def __init__(self, *, openai: bool) -> None:
        self._openai = openai
        self._inputs: dict[str, dict[str, Any]] = {}
        self._results: dict[str, dict[str, Any]] = {}
        self._done: set[str] = set()

    def read(self, raw: Any) -> Entry | None:
        """One line of either file; None while the other one's has not come.

        Raises:
            CodecError: it is neither, or its custom_id came before.
        """
        line = an_object(raw, "line")
        name = line.get("custom_id")
        if not isinstance(name, str) or not name:
            raise CodecError("custom_id: is missing")
        is_input = ("body" if self._openai else "params") in line
        if not is_input and ("response" if self._openai else "result") not in line:
            raise CodecError("line: is neither a batch's request nor a result")
        mine, others = (self._inputs, self._results) if is_input else (self._results, self._inputs)
        if name in mine or name in self._done:
            raise CodecError(f"custom_id: {name[:80]!r} came before; replay the files of one batch at a time")
        mine[name] = line
        if name not in others:
            return None
        asked, told = self._inputs.pop(name), self._results.pop(name)
        self._done.add(name)
        return _openai(asked, told) if self._openai else _anthropic(asked, told)

    def rest(self) -> list[str]:
        """What never came: a reason for each input without a result, and each result without an input."""
        alone = [f"custom_id {name[:80]!r}: has no result in the files" for name in self._inputs]
        return alone + [f"custom_id {name[:80]!r}: has no request in the files" for name in self._results]


def _openai(asked: dict[str, Any], told: dict[str, Any]) -> Entry:
    body = an_object(asked.get("body"), "body")
    response = told.get("response")
    said = response.get("body") if isinstance(response, dict) else None
    protocol = protocol_of(body, said, string(asked.get("url")))
    if protocol is None or protocol not in OPENAI:
        raise CodecError(f"url: {str(asked.get('url'))[:80]!r} is neither chat completions nor responses")
    if isinstance(response, dict):
        status = response.get("status_code")
        reply = reply_of(protocol, said, status if isinstance(status, int) else 200)
    else:
        error = an_object(told.get("error"), "error")
        reply = _never_answered(string(error.get("code")), string(error.get("message")))
    created = (said.get("created") or said.get("created_at")) if isinstance(said, dict) else None
    ts = time_ms(created, "response.body.created", "s") if isinstance(created, (int, float)) else None
    return _entry(asked, told, body, protocol, reply, string(told.get("id")), ts)


def _anthropic(asked: dict[str, Any], told: dict[str, Any]) -> Entry:
    body = an_object(asked.get("params"), "params")
    result = an_object(told.get("result"), "result")
    kind, protocol = string(result.get("type")), ANTHROPIC[0]
    message = result.get("message")
    if kind == "succeeded":
        reply = reply_of(protocol, an_object(message, "result.message"), 200)
    elif kind == "errored":
        said = an_object(result.get("error"), "result.error")
        reply = reply_of(protocol, said if "error" in said else {"error": said}, 0)
    elif kind in _NEVER_ASKED:
        reply = _never_answered(kind, "")
    else:
        raise CodecError(f"result.type: {kind[:40]!r} is none of succeeded, errored, canceled, expired")
    own = string(message.get("id")) if isinstance(message, dict) else ""
    return _entry(asked, told, body, protocol, reply, own, None)


def _entry(
    asked: dict[str, Any],
    told: dict[str, Any],
    body: dict[str, Any],
    protocol: Protocol,
    reply: Reply,
    own: str,
    ts: int | None,
) -> Entry:
    # custom_id is the first one's again in the next batch: the provider's own id, else what was asked and told.
    source = own or (orjson.dumps([asked, told])).decode()
    model = string(body.get("model"))
    return Entry(protocol=protocol, body=body, reply=reply, ts=ts, source_id=source, model=model)


def _never_answered(code: str, message: str) -> Reply:
    never = Failure.ABANDONED if code in _NEVER_ASKED else Failure.HTTP
    return failed(0, message or f"the batch's request ended as {code or 'failed'}", never)
