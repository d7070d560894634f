"""A captured exchange as the two records that travel: redacted, encoded. Runs in the mirror's thread.

A request goes out with its whole content or with none: where the content is too large, can't be read, or
the redactor fails, both records go out without it (``body`` None; the response's error is ``no_content``),
so that the request is still counted, and the candidate is not asked in vain.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

import orjson

from shadowlane.errors import CodecError
from shadowlane.producers.decoding import decode_chunks
from shadowlane.producers.exchange import STREAM_FACTOR, Exchange
from shadowlane.producers.ids import new_request_id, valid_traceparent
from shadowlane.producers.openai_chat import Completion, error_message, read_completion, read_stream
from shadowlane.producers.redaction import Redactor
from shadowlane.producers.worker import RECORD_MAX_BYTES
from shadowlane.schemas.codec import encode
from shadowlane.schemas.events import Failure, MirroredRequest, Protocol, Response, Role

THROTTLED = (429, 529)
_ANSWER_KEPT = frozenset({"", Failure.ABANDONED, Failure.BAD_RESPONSE})


class ExchangeEncoder:
    """Exchange -> (request line, response line), counting what went out without content, by reason."""

    def __init__(self, redactor: Redactor, without_content: Counter[str], max_body_bytes: int) -> None:
        self._redactor = redactor
        self._without_content = without_content
        self._max_body_bytes = max_body_bytes

    def __call__(self, exchange: Exchange) -> tuple[bytes, bytes]:
        """Raises CodecError where not even the bare records can be encoded."""
        if not exchange.request_id:
            exchange.request_id = new_request_id(exchange.ts)
        left_out = exchange.left_out
        if not left_out:
            try:
                lines = self._encoded(exchange)
                if max(map(len, lines)) <= RECORD_MAX_BYTES:
                    return lines
                left_out = "record_too_large"
            except _LeftOutError as exc:
                left_out = exc.reason
        self._without_content[left_out] += 1
        return self._bare(exchange, left_out)

    def _encoded(self, exchange: Exchange) -> tuple[bytes, bytes]:
        body, model = self._request_body(exchange)
        response = self._response(exchange)
        self._read_response(exchange, response)
        response.model = (
            model or response.model
        )  # as asked, like the shadow side's: prices and rollouts name that
        request = self._request(exchange, body, model, exchange.key, dict(exchange.attributes))
        try:
            _redact_all_but_body(self._redactor, request, response)
        except Exception as exc:
            raise _LeftOutError("redactor_failed") from exc
        try:
            return encode(request), encode(response)
        except CodecError as exc:
            raise _LeftOutError("not_json") from exc

    def _bare(self, exchange: Exchange, left_out: str) -> tuple[bytes, bytes]:
        attributes, key = dict(exchange.attributes), exchange.key
        try:
            attributes, key = self._redactor.json(attributes), self._redactor.key(key)
        except Exception:
            attributes, key = {}, ""  # never unredacted
        response = self._response(exchange)
        response.attributes, response.key = attributes, key
        if response.error in _ANSWER_KEPT:
            response.error = Failure.NO_CONTENT
        response.error_message = left_out
        return encode(self._request(exchange, None, "", key, attributes)), encode(response)

    def _request_body(self, exchange: Exchange) -> tuple[Any, str]:
        """(the body, redacted; the model that it names)."""
        raw = exchange.body
        try:
            parsed = orjson.loads(raw) if raw else None
        except orjson.JSONDecodeError as exc:
            raise _LeftOutError("request_not_json") from exc
        try:
            redacted = self._redactor.json(parsed)
        except Exception as exc:
            raise _LeftOutError("redactor_failed") from exc
        model = parsed.get("model") if isinstance(parsed, dict) else None
        # As the service wrote it, where nothing was found: no number is written differently.
        body = orjson.Fragment(raw) if redacted is parsed and raw and b"\n" not in raw else redacted
        is_chat = exchange.protocol == Protocol.OPENAI_CHAT
        return body, model if is_chat and isinstance(model, str) else ""

    def _request(
        self, exchange: Exchange, body: Any, model: str, key: str, attributes: dict[str, str]
    ) -> MirroredRequest:
        return MirroredRequest(
            request_id=exchange.request_id,
            ts=exchange.ts,
            service=exchange.service,
            route=exchange.route,
            protocol=exchange.protocol,
            key=key,
            arm=exchange.arm,
            stage=exchange.stage,
            model=model,
            body=body,
            attributes=attributes,
            traceparent=valid_traceparent(exchange.traceparent) if exchange.traceparent else "",
        )

    def _response(self, exchange: Exchange) -> Response:
        """What the response says of itself, without its content."""
        error = exchange.error
        if not error and exchange.status >= 400:
            error = Failure.THROTTLED if exchange.status in THROTTLED else Failure.HTTP
        return Response(
            request_id=exchange.request_id,
            ts=(ts := exchange.ts),
            completed_at=ts + round((exchange.ended - exchange.started) * 1000),
            service=exchange.service,
            route=exchange.route,
            role=Role.SERVED,
            arm=exchange.arm,
            error=error,
            error_message=exchange.error_message,
            status=exchange.status,
            latency_ms=round((exchange.ended - exchange.started) * 1000, 3),
            attempts=exchange.attempts,
            attributes=dict(exchange.attributes),
            traceparent=valid_traceparent(exchange.traceparent) if exchange.traceparent else "",
        )

    def _read_response(self, exchange: Exchange, response: Response) -> None:
        """Fill in the answer."""
        if not exchange.chunks and response.error:
            return
        try:
            chunks = decode_chunks(
                exchange.chunks, exchange.content_encoding, STREAM_FACTOR * self._max_body_bytes
            )
        except CodecError as exc:
            if exchange.ended_early or response.error:
                return  # cut in the middle of the encoding: what there is says less than the error does
            raise _LeftOutError(str(exc)) from exc
        if exchange.status >= 400:
            response.error_message = response.error_message or error_message(b"".join(chunks))
        elif exchange.protocol == Protocol.OPENAI_CHAT:
            self._read_chat(exchange, response, chunks)
        else:
            response.output = _text(b"".join(chunks))
            if exchange.ended_early and not response.error:
                response.error = Failure.ABANDONED
        if len(response.output) > self._max_body_bytes:
            raise _LeftOutError("response_too_large")

    def _read_chat(self, exchange: Exchange, response: Response, chunks: list[bytes]) -> None:
        if exchange.content_type.startswith("text/event-stream"):
            found = read_stream(chunks)
            if found.first_token_chunk is not None:
                times = exchange.chunk_times or [exchange.ended]
                at = times[min(found.first_token_chunk, len(times) - 1)]
                response.ttft_ms = round((at - exchange.started) * 1000, 3)
        else:
            found = read_completion(b"".join(chunks))
        _take(found, response)
        if found.complete:
            # The last event came: that the connection was closed or broke after it harmed nobody.
            if response.error in (Failure.ABANDONED, Failure.CONNECTION):
                response.error = response.error_message = ""
        elif found.failed:
            response.error, response.error_message = Failure.HTTP, found.failed
        elif exchange.ended_early and not response.error:
            response.error = Failure.ABANDONED
        elif not response.error:
            response.error, response.error_message = Failure.BAD_RESPONSE, found.problem


def redact_records(
    redactor: Redactor, request: MirroredRequest, response: Response
) -> tuple[MirroredRequest, Response]:
    """Redacted copies.

    Raises:
        CodecError: the redactor raised.
    """
    request, response = replace(request), replace(response)
    try:
        request.body = redactor.json(request.body)
        request.route = response.route = redactor.text(request.route)
        _redact_all_but_body(redactor, request, response)
    except Exception as exc:
        raise CodecError(f"the redactor failed on request {request.request_id}: {exc}") from exc
    return request, response


def _redact_all_but_body(redactor: Redactor, request: MirroredRequest, response: Response) -> None:
    """Everything that may hold what a user or a model wrote, in place."""
    request.key = response.key = redactor.key(request.key)
    if request.attributes:
        request.attributes = redactor.json(request.attributes)
    if response.attributes:
        response.attributes = redactor.json(response.attributes)
    response.output = redactor.text(response.output)
    if response.error_message:
        response.error_message = redactor.text(response.error_message)
    if response.tool_calls is not None:
        response.tool_calls = redactor.json(response.tool_calls)


class _LeftOutError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _take(found: Completion, response: Response) -> None:
    response.output = found.output
    response.tool_calls = found.tool_calls or None
    response.finish_reason = found.finish_reason
    response.model = found.model
    response.input_tokens = found.input_tokens
    response.output_tokens = found.output_tokens


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise _LeftOutError("response_not_text") from exc
