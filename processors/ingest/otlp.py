"""Spans of an OpenTelemetry export, as a collector's Kafka exporter writes it: ``otlp_proto`` or ``otlp_json``. Pure.

Formats: https://github.com/open-telemetry/opentelemetry-proto, ``ExportTraceServiceRequest``; its JSON has ids as hex,
and 64-bit numbers as text.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from shadowlane.errors import CodecError, ConfigError
from shadowlane.schemas.codec import TIME_END

_ID = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Times are Unix nanoseconds; ``attributes`` are its own, as Python has them; ``events`` are names."""

    trace_id: str
    span_id: str
    service: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    failed: bool = False
    message: str = ""


def reader(encoding: str) -> Callable[[bytes], list[Span]]:
    """What reads a message of that encoding. It raises CodecError.

    Raises:
        ConfigError: what reads protobuf is not installed.
    """
    if encoding == "otlp_json":
        return read_json
    try:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ImportError as exc:
        raise ConfigError(
            "ingest.otel_encoding is otlp_proto, and opentelemetry-proto is not installed: "
            "pip install 'shadowlane[otel]', or have the collector write otlp_json"
        ) from exc
    make: Any = ExportTraceServiceRequest

    def read_proto(value: bytes) -> list[Span]:
        request = make()
        try:
            request.ParseFromString(value)
        except Exception as exc:  # protobuf's DecodeError, whichever implementation it has
            raise CodecError(f"no OTLP protobuf: {exc}") from exc
        return _checked(list(_of_proto(request)))

    return read_proto


def read_json(value: bytes) -> list[Span]:
    """Raises CodecError where it is none."""
    try:
        return _checked(list(_of_json(orjson.loads(value))))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise CodecError(f"no OTLP JSON: {type(exc).__name__}: {exc}") from exc


def _checked(spans: list[Span]) -> list[Span]:
    for span in spans:
        if not _ID.fullmatch(f"{span.trace_id}-{span.span_id}"):
            raise CodecError(
                f"a span's ids are {span.trace_id!r} and {span.span_id!r}: 32 and 16 hex digits are"
            )
        if not 0 <= span.start_ns < TIME_END * 1_000_000 or span.end_ns < span.start_ns:
            raise CodecError(
                f"span {span.span_id} is from {span.start_ns} to {span.end_ns}: no Unix nanoseconds"
            )
    return spans


def _of_json(request: dict[str, Any]) -> Iterator[Span]:
    for of_resource in request["resourceSpans"]:
        service = str(_attributes(of_resource.get("resource", {})).get("service.name", ""))
        for scope in of_resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                status = span.get("status", {})
                yield Span(
                    span["traceId"].lower(),
                    span["spanId"].lower(),
                    service,
                    int(span["startTimeUnixNano"]),
                    int(span["endTimeUnixNano"]),
                    _attributes(span),
                    tuple(event.get("name", "") for event in span.get("events", ())),
                    status.get("code") in (2, "STATUS_CODE_ERROR"),
                    status.get("message", ""),
                )


def _attributes(owner: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: _json_value(each.get("value", {})) for each in owner.get("attributes", ())}


def _json_value(value: dict[str, Any]) -> Any:
    if "arrayValue" in value:
        return [_json_value(each) for each in value["arrayValue"].get("values", ())]
    if "kvlistValue" in value:
        return {
            each["key"]: _json_value(each.get("value", {})) for each in value["kvlistValue"].get("values", ())
        }
    if "intValue" in value:
        return int(value["intValue"])
    return next(iter(value.values()), None)


def _of_proto(request: Any) -> Iterator[Span]:
    for of_resource in request.resource_spans:
        resource = {each.key: _proto_value(each.value) for each in of_resource.resource.attributes}
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    str(resource.get("service.name", "")),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    {each.key: _proto_value(each.value) for each in span.attributes},
                    tuple(event.name for event in span.events),
                    span.status.code == 2,
                    span.status.message,
                )


def _proto_value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_proto_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {each.key: _proto_value(each.value) for each in value.kvlist_value.values}
    return getattr(value, kind) if kind else None
