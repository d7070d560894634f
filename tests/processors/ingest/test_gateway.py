"""A request that a gateway copied, and what its log says of the answer, as one exchange."""

import json
import uuid
from typing import Any

import pytest

from shadowlane.schemas.topics import Topics
from tests.processors.ingest.support import TOKEN, Running, on_a_fake, on_kafka, sent
from tests.producers.support import read_all
from tests.services import KafkaAddress

CHAT = "/mirror/v1/chat/completions"
SERVED = "/v1/served"
ASKED = {"model": "m", "messages": [{"role": "user", "content": "mail bob@example.com"}]}
COMPLETION = json.dumps(
    {
        "choices": [{"message": {"content": "on its way"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5},
    }
)
STREAM = (
    'data: {"choices":[{"delta":{"content":"on its "}}]}\n\n'
    'data: {"choices":[{"delta":{"content":"way"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


def copy(
    running: Running, number: int, path: str = CHAT, body: Any = None, **headers: str
) -> tuple[int, Any]:
    told: dict[str, Any] = {"X_Request_Id": f"r{number}", "Host": "desk-shadow:8080", **headers}
    status, _, said = running.post(path, ASKED if body is None else body, **told)
    return status, said


def served(number: int, **more: Any) -> dict[str, Any]:
    return {"request_id": f"r{number}", "status": 200, "body": COMPLETION, "latency_ms": 12.5, **more}


def test_both_halves_are_one_exchange(kafka: KafkaAddress) -> None:
    prefix = f"t{uuid.uuid4().hex[:8]}"
    with on_kafka(kafka.bootstrap_servers, prefix) as running:
        for number in range(40):
            if number % 2:
                assert running.post(SERVED, served(number))[2]["results"][0]["status"] == "waiting"
            status, said = copy(running, number)
            assert (status, said) == (202, {"status": "joined" if number % 2 else "waiting"})
        status, _, said = running.post(SERVED, [served(number) for number in range(0, 40, 2)])
        assert (status, {result["status"] for result in said["results"]}) == (202, {"joined"})
        assert running.post(SERVED, served(3))[2]["results"][0]["status"] == "repeated"
        assert copy(running, 4)[1] == {"status": "repeated"}
    got = read_all(kafka.bootstrap_servers, Topics(prefix), lambda s: s.rows["mirrored"] == 40)
    assert len({r.request_id for r in got.requests}) == len(got.requests) == len(got.served) == 40
    assert got.rows == {"eligible": 40, "mirrored": 40}
    request, response = got.requests[0], got.served[0]
    assert request.host == "desk:8080"
    assert (request.service, request.route, request.protocol, request.model) == (
        "desk",
        "/v1/chat/completions",
        "openai.chat",
        "m",
    )
    assert request.body["messages"][0]["content"] == "mail [email]"
    assert (response.output, response.finish_reason, response.status) == ("on its way", "stop", 200)
    assert (response.input_tokens, response.output_tokens, response.latency_ms) == (3, 5, 12.5)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"body": STREAM, "content_type": "text/event-stream; charset=utf-8"}, {"output": "on its way"}),
        ({"body": STREAM[:50], "content_type": "text/event-stream"}, {"error": "bad_response"}),
        ({"body": "<html>"}, {"error": "bad_response"}),
        ({"body": None}, {"error": "no_content", "error_message": "response_not_logged"}),
        ({"body": None, "status": 502}, {"error": "http", "status": 502}),
        (
            {"status": 429, "body": '{"error":{"message":"slow down"}}'},
            {"error": "throttled", "error_message": "slow down"},
        ),
        ({"body": None, "response": "a text"}, {"output": "a text", "error": ""}),
        ({"body": None, "response": {"output": "o", "error": "timeout"}}, {"error": "timeout"}),
        ({"body": None, "response": json.loads(COMPLETION)}, {"output": "on its way", "output_tokens": 5}),
        ({"latency_ms": None, "latency_s": 0.25}, {"latency_ms": 250.0}),
        (
            {"attributes": {"tenant": "acme"}, "route": "ask"},
            {"attributes": {"tenant": "acme"}, "route": "ask"},
        ),
    ],
)
def test_what_a_log_says_is_read(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], expected: dict[str, Any]
) -> None:
    with on_a_fake(monkeypatch) as (running, fake):
        copy(running, 1)
        status, _, answer = running.post(SERVED, served(1, **said, source_file="access.log"))
        assert (status, answer["results"][0]["status"]) == (202, "joined")
    (request,), (response,) = sent(fake).requests, sent(fake).served
    assert {name: getattr(response, name) for name in expected} == expected
    assert (request.body is None) == (response.error == "no_content")


def test_what_is_no_json_goes_out_without_content(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_fake(monkeypatch) as (running, fake):
        assert copy(running, 1, body=b"{")[0] == 202
        running.post(SERVED, served(1))
        assert running.post(CHAT, b"a=b", kind="application/x-www-form-urlencoded")[0] == 204
    (request,), (response,) = sent(fake).requests, sent(fake).served
    assert (request.body, response.error, response.error_message) == (None, "no_content", "request_not_json")
    assert sent(fake).rows == {"eligible": 1, "mirrored": 1}


def test_envoys_host_says_that_it_is_a_copy_whatever_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_fake(monkeypatch, token=TOKEN) as (running, fake):
        user = {"Authorization": "Bearer the users own"}
        path = "/v1/messages"
        assert copy(running, 1, path, **user)[0] == 401
        assert copy(running, 1, path, Authorization=f"Bearer {TOKEN}")[0] == 401
        assert copy(running, 1, path, X_Shadowlane_Token=TOKEN, **user) == (202, {"status": "waiting"})
        assert copy(running, 1, path, X_Shadowlane_Token=TOKEN, Host="desk")[0] == 401
        assert copy(running, 2, CHAT, X_Shadowlane_Token=TOKEN, Host="desk")[0] == 202
        assert copy(running, 3, path, X_Shadowlane_Token=TOKEN, X_Request_Id="a b")[0] == 400
        assert running.post(SERVED, served(1), X_Shadowlane_Token=TOKEN)[0] == 401
        body = '{"type":"message","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn"}'
        assert running.post(SERVED, served(1, body=body), Authorization=f"Bearer {TOKEN}")[0] == 202
    (request,), (response,) = sent(fake).requests, sent(fake).served
    assert (request.protocol, request.route, response.output) == ("anthropic.messages", path, "hi")
    assert not [line for _, _, line in fake.sent if b"users own" in line]


def test_what_stays_alone_is_in_the_ledger_by_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_fake(monkeypatch, join_wait_s=0.01) as (running, fake):
        assert copy(running, 0, X_Shadowlane_Shadow="1")[0] == 204  # none of production's
        copy(running, 1)
        running.post(SERVED, served(2))
        while running.figures()["waiting_halves"]:
            running.get("/health")
        assert copy(running, 2)[1] == {"status": "repeated"}
    assert sent(fake).reasons == {"no_response": 1, "no_request": 1}
    assert sent(fake).rows == {"eligible": 2, "dropped": 2}
    with on_a_fake(monkeypatch, join_max_bytes=6000) as (running, fake):
        for number in range(3):
            copy(running, number)
    assert sent(fake).reasons == {"join_full": 1, "shutdown": 2}


def test_a_bad_line_of_a_log_does_not_refuse_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = [
        {"status": 200},
        served(1, status="200"),
        served(2, request_id="-" * 201),
        served(3, response={"choices": []}),
    ]
    with on_a_fake(monkeypatch) as (running, _):
        status, _, said = running.post(SERVED, [*bad, served(9)])
    assert status == 207
    assert [result["status"] for result in said["results"]] == [*["refused"] * 4, "waiting"]
    assert said["results"][0]["error"] == "request_id: is missing"
