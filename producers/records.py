"""A captured exchange as the two records that travel: redacted, encoded. Runs in the mirror's thread.

A request goes out with its whole content, as its mode lets that out, or with none: where the content is too large,
can't be read, or the redactor fails, both records go out without it (``body`` None; the response's error is
``no_content``), so that the request is still counted, and the candidate is not asked in vain.
"""

import re
from collections import Counter
from typing import Any

import orjson

from shadowlane.errors import CodecError
from shadowlane.producers.decoding import decode_chunks
from shadowlane.producers.exchange import STREAM_FACTOR, Exchange
from shadowlane.producers.ids import RequestIds, valid_traceparent
from shadowlane.producers.outflow import Outflow, Way, bare, why_failed
from shadowlane.producers.worker import RECORD_MAX_BYTES
from shadowlane.schemas.answers import READERS, Answer, Reader, error_message
from shadowlane.schemas.codec import encode
from shadowlane.schemas.events import Failure, MirroredRequest, Response, Role, copied
from shadowlane.schemas.sessions import SESSION, session_in

THROTTLED = (429, 529)
REMEMBERED = 1000  # kinds of exchanges
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,260}")
_NEWLINE = 10  # a number is found in bytes in a fifth of the time
_HARMLESS = (Failure.ABANDONED, Failure.CONNECTION)


class ExchangeEncoder:
    """Exchange -> (request line, response line), counting what went out without content, by reason."""

    def __init__(self, outflow: Outflow, without_content: Counter[str], max_body_bytes: int) -> None:
        self._outflow = outflow
        self._without_content = without_content
        self._max_body_bytes = max_body_bytes
        self._ids = RequestIds()
        self._known: dict[tuple[str, str, str, str], tuple[MirroredRequest, Response]] = {}

    def __call__(self, exchange: Exchange, route: str) -> tuple[bytes, bytes]:
        """Raises CodecError where not even the bare records can be encoded."""
        if not exchange.request_id:
            exchange.request_id = self._ids.new(exchange.ts)
        left_out = exchange.left_out
        if not left_out:
            try:
                way = self._outflow.only or self._outflow.way(exchange.own_route)
                lines = self._encoded(exchange, route, way)
                if len(lines[0]) <= RECORD_MAX_BYTES and len(lines[1]) <= RECORD_MAX_BYTES:
                    if way.why:
                        self._without_content[way.why] += 1
                    return lines
                left_out = "record_too_large"
            except _LeftOutError as exc:
                left_out = exc.reason
        self._without_content[left_out] += 1
        return self._bare(exchange, route, left_out)

    def _encoded(self, exchange: Exchange, route: str, way: Way) -> tuple[bytes, bytes]:
        body, model, session = self._request_body(exchange, way)
        request, response = self._records(exchange, route)
        self._read_response(exchange, response)
        if model:
            # As asked, like the shadow side's: prices and rollouts name that.
            request.model = response.model = model
        request.body = body
        request.key = exchange.key
        if attributes := exchange.attributes:
            request.attributes = response.attributes = dict(attributes)
        if session and SESSION not in attributes:
            request.attributes = response.attributes = {**attributes, SESSION: session}
        try:
            self._outflow.rest(way, request, response, len(exchange.body))
        except Exception as exc:
            raise _LeftOutError(why_failed(exc)) from exc
        try:
            return encode(request), encode(response)
        except CodecError as exc:
            raise _LeftOutError("not_json") from exc

    def _bare(self, exchange: Exchange, route: str, left_out: str) -> tuple[bytes, bytes]:
        request, response = self._records(exchange, route)
        redactor = self._outflow.redactor
        try:
            request.attributes = response.attributes = redactor.json(dict(exchange.attributes))
            request.key = response.key = redactor.key(exchange.key)
        except Exception:
            request.attributes = response.attributes = {}  # never unredacted
            request.key = response.key = ""
        request.without_content = left_out
        request.body_bytes = response.request_bytes = len(exchange.body)
        bare(response, left_out)
        return encode(request), encode(response)

    def _request_body(self, exchange: Exchange, way: Way) -> tuple[Any, str, str]:
        """(the body, as it may go out; the model that it names; the session that it names)."""
        raw = exchange.body
        try:
            parsed = orjson.loads(raw) if raw else None
        except orjson.JSONDecodeError as exc:
            raise _LeftOutError("request_not_json") from exc
        try:
            redacted = way.json(parsed)
        except Exception as exc:
            raise _LeftOutError(why_failed(exc)) from exc
        model = parsed.get("model") if isinstance(parsed, dict) else None
        # As the service wrote it, where nothing was found: no number is written differently.
        body = orjson.Fragment(raw) if redacted is parsed and raw and _NEWLINE not in raw else redacted
        if exchange.protocol not in READERS:
            return body, "", ""
        return body, model if isinstance(model, str) else "", session_in(parsed)

    def _records(self, exchange: Exchange, route: str) -> tuple[MirroredRequest, Response]:
        """Both records, without their content and what says whose they are."""
        said = exchange.said
        alike = route, exchange.protocol, said.arm, said.stage
        known = self._known.get(alike)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[alike] = _blank(exchange, route)
        request, response = copied(known[0]), copied(known[1])
        request.request_id = response.request_id = exchange.request_id
        request.ts = response.ts = ts = exchange.came // 1_000_000
        # Of whole microseconds: rounding to three digits goes by way of a text.
        response.latency_ms = took_ms = round((exchange.ended - exchange.started) * 1_000_000) / 1000
        response.completed_at = ts + round(took_ms)
        response.status = status = exchange.status
        response.attempts = exchange.attempts
        if exchange.host and _HOST.fullmatch(exchange.host):
            request.host = exchange.host
        if exchange.error:
            response.error, response.error_message = exchange.error, exchange.error_message
        elif status >= 400:
            response.error = Failure.THROTTLED if status in THROTTLED else Failure.HTTP
        if traceparent := exchange.traceparent:
            request.traceparent = response.traceparent = valid_traceparent(traceparent)
        return request, response

    def _read_response(self, exchange: Exchange, response: Response) -> None:
        """Fill in the answer."""
        if not exchange.chunks and response.error:
            return
        chunks = exchange.chunks
        if encoding := exchange.content_encoding:
            try:
                chunks = decode_chunks(chunks, encoding, STREAM_FACTOR * self._max_body_bytes)
            except CodecError as exc:
                if exchange.ended_early or response.error:
                    return  # cut in the middle of the encoding: what there is says less than the error does
                raise _LeftOutError(str(exc)) from exc
        if exchange.status >= 400:
            response.error_message = response.error_message or error_message(b"".join(chunks))
        elif (reader := READERS.get(exchange.protocol)) is not None:
            self._read_answer(reader, exchange, response, chunks)
        else:
            response.output = _text(b"".join(chunks))
            if exchange.ended_early and not response.error:
                response.error = Failure.ABANDONED
        if len(response.output) > self._max_body_bytes:
            raise _LeftOutError("response_too_large")

    def _read_answer(
        self, reader: Reader, exchange: Exchange, response: Response, chunks: list[bytes]
    ) -> None:
        if exchange.content_type.startswith("text/event-stream"):
            found = reader.stream(chunks)
            if found.first_token_chunk is not None:
                times = exchange.chunk_times or [exchange.ended]
                at = times[min(found.first_token_chunk, len(times) - 1)]
                response.ttft_ms = round((at - exchange.started) * 1000, 3)
        else:
            found = reader.whole(b"".join(chunks))
        _take(found, response)
        if found.complete:
            # The last event came: that the connection was closed or broke after it harmed nobody.
            if response.error and response.error in _HARMLESS:
                response.error = response.error_message = ""
        elif found.failed:
            response.error = Failure.THROTTLED if found.throttled else Failure.HTTP
            response.error_message = found.failed
        elif exchange.ended_early and not response.error:
            response.error = Failure.ABANDONED
        elif not response.error:
            response.error, response.error_message = Failure.BAD_RESPONSE, found.problem


def _blank(exchange: Exchange, route: str) -> tuple[MirroredRequest, Response]:
    """What the records of all exchanges of one route, protocol, arm and stage have in common."""
    service, arm = exchange.service, exchange.arm
    request = MirroredRequest(
        request_id="",
        ts=0,
        service=service,
        route=route,
        protocol=exchange.protocol,
        arm=arm,
        stage=exchange.stage,
    )
    response = Response(
        request_id="", ts=0, completed_at=0, service=service, route=route, role=Role.SERVED, arm=arm
    )
    return request, response


class _LeftOutError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _take(found: Answer, response: Response) -> None:
    response.output = found.output
    response.tool_calls = found.tool_calls or None
    response.finish_reason = found.finish_reason
    response.model = response.served_model = found.model
    response.input_tokens = found.input_tokens
    response.output_tokens = found.output_tokens


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise _LeftOutError("response_not_text") from exc
