"""POST /v1/exchanges: what is taken, what is answered, and what Kafka and the ledger have of it."""

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shadowlane.errors import BrokerError, ConfigError
from shadowlane.processors.ingest import run
from shadowlane.processors.outflow import outflow_of
from shadowlane.producers.capture import TOKEN_KEY
from shadowlane.schemas.config import Capture, CaptureRoute, Settings
from shadowlane.schemas.topics import Topics
from tests.processors.ingest.support import TOKEN, on_a_fake, on_kafka, sent
from tests.producers.support import read_all
from tests.services import KafkaAddress

PATH = "/v1/exchanges"
TOPICS = Topics()


def exchange(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "request_id": f"r{number}",
        "service": "shop",
        "request": {"model": "m", "messages": [{"role": "user", "content": "mail bob@example.com"}]},
        "response": {"output": f"answer {number}", "status": 200, "latency_ms": 12.5},
        "ts": 1_700_000_000_000 + number,
        **more,
    }


def test_what_is_posted_is_in_kafka_as_the_mirror_would_have_sent_it(kafka: KafkaAddress) -> None:
    prefix = f"t{uuid.uuid4().hex[:8]}"
    with on_kafka(kafka.bootstrap_servers, prefix) as running:
        status, _, said = running.post(PATH, [exchange(n) for n in range(100)], packed=True)
        assert (status, said["taken"], said["refused"]) == (202, 100, 0)
        assert {result["status"] for result in said["results"]} == {"mirrored"}
        status, _, said = running.post(PATH, exchange(5, attributes={"tenant": "another"}))
        assert (status, said["results"]) == (
            202,
            [{"index": 0, "request_id": "r5", "status": "repeated"}],
        )
    got = read_all(kafka.bootstrap_servers, Topics(prefix), lambda s: s.rows["mirrored"] == 100)
    assert sorted(r.request_id for r in got.requests) == sorted(r.request_id for r in got.served)
    assert len(got.requests) == 100
    request, response = got.requests[0], got.served[0]
    assert request.body["messages"][0]["content"] == "mail [email]"
    assert (request.service, request.route, request.protocol) == ("shop", "chat.completions", "openai.chat")
    assert (response.role, response.status, response.latency_ms) == ("served", 200, 12.5)
    assert got.rows == {"eligible": 100, "mirrored": 100}


def test_a_bad_line_does_not_refuse_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        json.dumps(exchange(1)),
        "{",
        "",
        json.dumps(exchange(2, ts="yesterday")),
        json.dumps(exchange(3, reply=1)),
        json.dumps(exchange(4, request_id="a b")),
        json.dumps(exchange(5, response={"choices": []})),
        json.dumps(exchange(6)),
    ]
    with on_a_fake(monkeypatch) as (running, fake):
        status, _, said = running.post(PATH, "\n".join(lines).encode(), kind="application/x-ndjson")
    assert (status, said["taken"], said["refused"], said["failed"]) == (207, 2, 5, 0)
    assert [r["status"] for r in said["results"]] == ["mirrored", *["refused"] * 5, "mirrored"]
    errors = [r["error"] for r in said["results"][1:6]]
    assert errors[0].startswith("not JSON: ")
    assert errors[1] == "ts: is no time; write Unix milliseconds or ISO 8601"
    assert errors[2] == "reply: no such key"
    assert errors[3].startswith("request_id: ")
    assert errors[4].startswith("choices: ")
    assert sent(fake).rows == {"eligible": 2, "mirrored": 2}


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        (b"{", "application/json", 400, "no JSON"),
        (b"[]", "application/json", 400, "0 exchanges"),
        (json.dumps([{}] * 1001).encode(), "application/json", 400, "1001 exchanges"),
        (b"{}", "text/plain", 415, "text/plain"),
        (b" " * 3000, "application/json", 413, "2048 bytes"),
    ],
)
def test_a_body_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, body: bytes, kind: str, status: int, said: str
) -> None:
    bound = 2048 if status == 413 else 16 * 2**20
    with on_a_fake(monkeypatch, max_body_bytes=bound) as (running, fake):
        answer = running.post(PATH, body, kind=kind)
        assert (answer[0], said in answer[2]["error"]) == (status, True), answer
        assert running.get("/v1/exchanges")[0] == 405
        assert running.get("/nothing")[0] == 404
    assert not fake.sent


def test_a_body_that_unfolds_is_held_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_fake(monkeypatch, max_body_bytes=10_000) as (running, _):
        assert running.post(PATH, b" " * 5_000_000, packed=True)[0] == 413
        assert running.post(PATH, exchange(), Content_Encoding="gzip")[0] == 415
        assert running.post(PATH, exchange(), Content_Encoding="br")[0] == 415
        assert running.post(PATH, exchange(), packed=True)[0] == 202
        assert running.figures()["held_bytes"] == 0


def test_what_is_too_large_for_kafka_goes_out_without_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_fake(monkeypatch) as (running, fake):
        status, _, said = running.post(PATH, exchange(response="x" * 1_000_000))
        assert (status, said["results"][0]["without_content"]) == (202, "record_too_large")
        assert running.figures()["without_content_requests_total.record_too_large"] == 1
        status, _, said = running.post(PATH, exchange(2, attributes={"a": "x" * 1_000_000}))
        assert (status, said["results"][0]["status"]) == (400, "refused")
    (request,), (response,) = sent(fake).requests, sent(fake).served
    assert (request.body, response.output, response.error) == (None, "", "no_content")
    assert response.error_message == "record_too_large"


def test_what_waits_for_kafka_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    body = exchange(1, response="x" * 8000)
    with (
        on_a_fake(monkeypatch, lambda _: None, max_body_bytes=9000, max_held_bytes=15_000) as (running, fake),
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(running.post, PATH, body)
        assert fake.arrived.wait(30)
        status, headers, said = running.post(PATH, exchange(2, response="x" * 8000))
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "15000 bytes wait" in said["error"]
        small = pool.submit(running.post, PATH, exchange(3))
        monkeypatch.setattr(type(fake), "fate", staticmethod(lambda _: ""))
        while fake.waiting or not (first.done() and small.done()):
            while fake.waiting:
                fake._tell([fake.waiting.pop()], None)
        assert (first.result()[0], small.result()[0]) == (202, 202)
        assert running.post(PATH, exchange(2, response="x" * 8000))[0] == 202


@pytest.mark.parametrize(
    ("lost", "rows"),
    [
        ({TOPICS.requests, TOPICS.served}, {"eligible": 2, "dropped": 1, "mirrored": 1}),
        ({TOPICS.served}, {"eligible": 1, "mirrored": 1}),
    ],
    ids=["both records", "one of them"],
)
def test_what_kafka_does_not_take_is_told_and_may_come_again(
    monkeypatch: pytest.MonkeyPatch, lost: set[str], rows: dict[str, int]
) -> None:
    def fate(topic: str) -> Exception | str:
        return BrokerError("no") if topic in lost else ""

    with on_a_fake(monkeypatch, fate) as (running, fake):
        status, headers, said = running.post(PATH, exchange())
        assert (status, said["failed"], said["results"][0]["status"]) == (503, 1, "failed")
        assert headers["Retry-After"]
        lost.clear()
        status, _, said = running.post(PATH, exchange())
        assert (status, said["results"][0]["status"]) == (202, "mirrored")
        assert running.post(PATH, exchange())[2]["results"][0]["status"] == "repeated"
    assert sent(fake).rows == rows
    assert len(sent(fake).served) == 1


def test_a_repeat_waits_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        on_a_fake(monkeypatch, lambda _: None) as (running, fake),
        ThreadPoolExecutor(2) as pool,
    ):
        posts = [pool.submit(running.post, PATH, [exchange(), exchange()]) for _ in range(2)]
        assert fake.arrived.wait(30)
        while running.figures()["repeated_requests_total"] < 3:
            assert not any(post.done() for post in posts)
        assert len(fake.waiting) == 2  # the two records of one request
        fake._tell(list(fake.waiting), None)
        fake.waiting.clear()
        became = [result["status"] for post in posts for result in post.result()[2]["results"]]
        monkeypatch.setattr(type(fake), "fate", staticmethod(lambda _: ""))
    assert sorted(became) == ["mirrored", "repeated", "repeated", "repeated"]


def test_what_kafka_has_not_acknowledged_at_the_end_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def fate(topic: str) -> str | None:
        return "" if topic == TOPICS.ledger else None

    monkeypatch.setattr("shadowlane.processors.ingest.service.ANSWER_S", 0.2)
    with ThreadPoolExecutor(1) as pool, on_a_fake(monkeypatch, fate) as (running, fake):
        pool.submit(running.post, PATH, exchange()).add_done_callback(lambda f: f.exception())
        assert fake.arrived.wait(30)
    assert (sent(fake).rows, sent(fake).reasons) == ({"eligible": 1, "dropped": 1}, {"shutdown": 1})


def test_sampling_sticks_to_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_fake(monkeypatch, capture=Capture(sample=0.5)) as (running, fake):
        both = [exchange(n, key=f"k{n % 50}") for n in range(100)]
        status, _, said = running.post(PATH, both)
        assert status == 202
    became = [result["status"] for result in said["results"]]
    assert became[:50] == became[50:]
    assert 10 < became.count("sampled_out") < 90
    rows = sent(fake).rows
    assert rows["eligible"] == 100 == rows["mirrored"] + rows["sampled_out"]
    assert {r.request_id for r in sent(fake).requests} == {
        f"r{n}" for n, status in enumerate(became) if status == "mirrored"
    }


def test_the_token_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_fake(monkeypatch, token=TOKEN) as (running, fake):
        assert running.post(PATH, exchange())[0] == 401
        assert running.post(PATH, exchange(), Authorization="Bearer no")[0] == 401
        assert running.post(PATH, exchange(), X_API_Key="no")[0] == 401
        assert running.post(PATH, exchange(), Authorization=TOKEN)[0] == 401
        assert not fake.sent
        assert running.post(PATH, exchange(), Authorization=f"Bearer {TOKEN}")[0] == 202
        assert running.post(PATH, exchange(), X_API_Key=TOKEN)[0] == 202
        assert running.get("/health")[0] == running.get("/openapi.json")[0] == 200
        assert running.figures()["http_requests_total.exchanges.401"] == 4


def test_beyond_loopback_a_token_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"ingest\.token_env"):
        run(Settings.model_validate({"ingest": {"host": "0.0.0.0"}}))


def test_one_body_must_fit_into_what_may_be_held() -> None:
    with pytest.raises(ValueError, match="raise it to max_body_bytes"):
        Settings.model_validate({"ingest": {"max_body_bytes": 2000, "max_held_bytes": 1999}})


@pytest.mark.parametrize("make", [lambda deep: {"a": deep}, lambda deep: [deep]], ids=["object", "list"])
def test_what_can_not_be_redacted_never_goes_out_as_it_is(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[Any], Any]
) -> None:
    deep: Any = "bob@example.com"
    for _ in range(450):
        deep = make(deep)
    with on_a_fake(monkeypatch) as (running, fake):
        for _ in range(2):
            deep = make(deep)
            running.post(PATH, exchange(request={"a": deep}))
    assert fake.sent
    assert not [line for _, _, line in fake.sent if b"bob@" in line]


def test_what_goes_out_is_as_the_mirror_would_let_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_KEY, "of the tests, no secret")
    capture = Capture(
        routes={
            "/h": CaptureRoute(content="hashed"),
            "/m": CaptureRoute(content="metadata"),
            "/n": CaptureRoute(sample=0),
        }
    )
    with on_a_fake(monkeypatch, capture=capture) as (running, fake):
        routes = ("/r", "/h", "/m", "/n")
        _, _, said = running.post(PATH, [exchange(n, route=route) for n, route in enumerate(routes)])
        figures = running.figures()
    assert [(result["status"], result.get("without_content")) for result in said["results"]] == [
        *(("mirrored", None), ("mirrored", "hashed")),
        *(("mirrored", "metadata"), ("sampled_out", None)),
    ]
    assert [figures[f"without_content_requests_total.{why}"] for why in ("hashed", "metadata")] == [1, 1]
    assert {r.route: r.without_content for r in sent(fake).requests} == {
        "/r": "",
        "/h": "hashed",
        "/m": "metadata",
    }


def test_hashing_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_KEY, raising=False)
    with pytest.raises(ConfigError, match=f"{TOKEN_KEY} is not set"):
        outflow_of(Settings(capture=Capture(content="hashed")))
    with pytest.raises(ConfigError, match=r"capture\.redact"):
        outflow_of(Settings(capture=Capture(redact="nowhere:redact")))
