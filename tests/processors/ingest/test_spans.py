"""GenAI spans as exchanges: by both encodings, by whichever form, and from Kafka to Kafka."""

import json
import uuid
from typing import Any

import pytest
from confluent_kafka import Producer
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shadowlane.errors import CodecError
from shadowlane.processors.ingest.genai import exchange
from shadowlane.processors.ingest.otlp import Span, read_json, reader
from shadowlane.schemas.config import Ingest
from shadowlane.schemas.topics import Topics
from tests.processors.ingest.support import on_kafka
from tests.producers.support import read_all, topics_on
from tests.services import KafkaAddress

TS = 1_700_000_000_000
ASKED = [
    {"role": "user", "parts": [{"type": "text", "content": "mail bob@example.com"}]},
    {
        "role": "assistant",
        "parts": [{"type": "tool_call", "id": "c1", "name": "find", "arguments": {"id": 7}}],
    },
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "on its way"}]},
]
ANSWERED = [
    {"role": "assistant", "parts": [{"type": "text", "content": "It is coming."}], "finish_reason": "stop"}
]
CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.max_tokens": 100,
    "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
    "gen_ai.input.messages": ASKED,
    "gen_ai.output.messages": ANSWERED,
    "gen_ai.usage.input_tokens": 11,
    "gen_ai.usage.output_tokens": 4,
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.conversation.id": "s1",
    "server.address": "api.example.com",
}


def span(attributes: dict[str, Any], **more: Any) -> Span:
    return Span(
        "0" * 31 + "1", "0" * 15 + "2", "desk", TS * 1_000_000, (TS + 250) * 1_000_000, attributes, **more
    )


def value_of(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [value_of(each) for each in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": attributes_of(value)}}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def attributes_of(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value_of(value)} for key, value in values.items()]


def export(*spans: Span) -> bytes:
    """As a collector writes it, with otlp_json."""
    made = [
        {
            "traceId": each.trace_id,
            "spanId": each.span_id,
            "name": "chat m",
            "startTimeUnixNano": str(each.start_ns),
            "endTimeUnixNano": str(each.end_ns),
            "attributes": attributes_of(each.attributes),
            "events": [{"name": name} for name in each.events],
            "status": {"code": 2, "message": each.message} if each.failed else {},
        }
        for each in spans
    ]
    resource = {"attributes": attributes_of({"service.name": "desk"})}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": made}]}]}).encode()


def as_proto(exported: bytes) -> bytes:
    request = ExportTraceServiceRequest()
    raw = json.loads(exported)
    for each in raw["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in ("traceId", "spanId"):  # protobuf's own JSON has bytes as base64
            each[name] = json_format.MessageToDict(_bytes_of(bytes.fromhex(each[name])))["bytesValue"]
    json_format.ParseDict(raw, request)
    serialised: bytes = request.SerializeToString()
    return serialised


def _bytes_of(value: bytes) -> Any:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

    return AnyValue(bytes_value=value)


def both(attributes: dict[str, Any], **more: Any) -> Any:
    return exchange(span(attributes, **more), Ingest())


def test_both_encodings_say_the_same() -> None:
    spans = [span(CHAT), span({"gen_ai.operation.name": "chat"}, events=("e",), failed=True, message="no")]
    exported = export(*spans)
    assert read_json(exported) == spans
    assert reader("otlp_proto")(as_proto(exported)) == spans


@pytest.mark.parametrize("written", [lambda value: value, json.dumps], ids=["structures", "texts"])
def test_what_was_asked_and_answered_is_read(written: Any) -> None:
    told = {
        name: written(value) if name.endswith(("messages", "instructions")) else value
        for name, value in CHAT.items()
    }
    request, response = both(told)
    assert request.body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "mail bob@example.com"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id":7}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "on its way"},
        ],
        "temperature": 0.5,
        "max_tokens": 100,
    }
    assert (request.service, request.route, request.key, request.ts) == ("desk", "chat", "s1", TS)
    assert request.request_id == response.request_id == "0" * 31 + "1-" + "0" * 15 + "2"
    assert request.attributes == {"server.address": "api.example.com"}
    assert (response.output, response.finish_reason, response.error) == ("It is coming.", "stop", "")
    assert (response.input_tokens, response.output_tokens, response.latency_ms) == (11, 4, 250.0)


def test_a_tool_call_is_an_answer() -> None:
    answered = [{"role": "assistant", "parts": ASKED[1]["parts"], "finish_reason": "tool_call"}]
    _, response = both(CHAT | {"gen_ai.output.messages": answered, "gen_ai.response.finish_reasons": []})
    assert response.tool_calls == [{"name": "find", "arguments": '{"id":7}'}]
    assert response.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("change", "events", "reason"),
    [
        ({"gen_ai.input.messages": None}, (), "otel_no_content"),
        ({"gen_ai.input.messages": "not JSON"}, (), "otel_no_content"),
        ({"gen_ai.output.messages": None}, ("gen_ai.content.completion",), "otel_older_content"),
        ({"gen_ai.input.messages": None}, ("gen_ai.user.message",), "otel_older_content"),
        ({"gen_ai.input.messages": None, "gen_ai.prompt.0.content": "hi"}, (), "otel_older_content"),
        ({"gen_ai.input.messages": [{"role": "user", "parts": [{"type": "blob"}]}]}, (), "otel_other_part"),
        ({"gen_ai.input.messages": [{"role": "user", "parts": ["text"]}]}, (), "otel_other_part"),
    ],
)
def test_what_can_not_be_read_goes_out_without_content(
    change: dict[str, Any], events: tuple[str, ...], reason: str
) -> None:
    told = {name: value for name, value in (CHAT | change).items() if value is not None}
    request, response = both(told, events=events)
    assert (request.body, response.output, response.error) == (None, "", "no_content")
    assert response.error_message == reason


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("429", ("throttled", 429)),
        ("openai.RateLimitError", ("throttled", 0)),
        ("500", ("http", 500)),
        ("APITimeoutError", ("timeout", 0)),
        ("ValueError", ("exception", 0)),
    ],
)
def test_an_error_is_one(kind: str, expected: tuple[str, int]) -> None:
    told = {name: value for name, value in CHAT.items() if name != "gen_ai.output.messages"}
    request, response = both(told | {"error.type": kind}, failed=True, message="it broke")
    assert (response.error, response.status, response.error_message) == (*expected, "it broke")
    assert request.body["messages"]


def test_what_asks_no_model_is_none() -> None:
    assert both({"http.method": "POST"}) is None
    assert both({"gen_ai.operation.name": "embeddings"}) is None


members = st.sampled_from(["type", "parts", "role", "content"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(members, inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(CHAT)), json_values))
def test_whatever_the_attributes_are_nothing_raises(told: dict[str, Any]) -> None:
    made = both({**told, "gen_ai.operation.name": "chat"})
    assert made is not None


@pytest.mark.parametrize(
    "value", [b"{", b"[]", b"{}", b'{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}']
)
def test_what_is_no_export_is_an_error(value: bytes) -> None:
    with pytest.raises(CodecError):
        read_json(value)


@pytest.mark.parametrize("encoding", ["otlp_proto", "otlp_json"])
def test_from_the_collectors_topic(kafka: KafkaAddress, encoding: str) -> None:
    prefix = f"t{uuid.uuid4().hex[:8]}"
    with topics_on(kafka.bootstrap_servers, f"{prefix}-otel") as collected:
        topic = collected.requests
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        for number in range(30):
            one = Span(
                f"{number // 2 + 1:032x}", "0" * 15 + "2", "desk", TS * 1_000_000, TS * 1_000_000, CHAT
            )
            exported = export(one, span({}))
            producer.produce(topic, as_proto(exported) if encoding == "otlp_proto" else exported)
        producer.produce(topic, b"\xff nothing of ours")
        assert producer.flush(30) == 0
        options: dict[str, Any] = {"otel_topic": topic, "otel_encoding": encoding}
        with on_kafka(kafka.bootstrap_servers, prefix, **options) as running:
            while (counts := running.figures()).get("spans_total.mirrored", 0) < 15 or (
                counts.get("spans_total.unreadable", 0) < 1
            ):
                assert counts.get("spans_total.failed", 0) == 0
            while running.figures().get("spans_total.repeated", 0) < 15:
                assert running.get("/health")[0] == 200
        assert counts.get("spans_total.other", 0) > 0
        with on_kafka(kafka.bootstrap_servers, prefix, **options) as running:  # reads on from there
            assert "spans_total.mirrored" not in running.figures()
    got = read_all(kafka.bootstrap_servers, Topics(prefix), lambda s: s.rows["mirrored"] == 15)
    assert got.rows == {"eligible": 15, "mirrored": 15}
    assert {r.body["messages"][1]["content"] for r in got.requests} == {"mail [email]"}
    assert {r.output for r in got.served} == {"It is coming."}
