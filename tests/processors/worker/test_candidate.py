"""Calls to a real HTTP server that behaves in every way a candidate can."""

import asyncio
from typing import Any

import pytest

from shadowlane.errors import ConfigError
from shadowlane.processors.worker.candidate import Caller, Target
from shadowlane.schemas.config import Candidate, Rollout, Stable, Worker
from shadowlane.schemas.events import MirroredRequest, Response
from tests.processors.worker.fake_candidate import FakeCandidate
from tests.services import free_port

WORKER = Worker(timeout_s=30, max_attempts=3, retry_base_s=0.01, retry_max_s=0.05, concurrency=4)
KEY = "sk-secret-of-the-shadow"


def request(text: str, **more: Any) -> MirroredRequest:
    body = {"model": "old", "stream": True, "messages": [{"role": "user", "content": text}]}
    values = {"service": "s", "route": "/r", "protocol": "openai.chat", "model": "old", "body": body} | more
    return MirroredRequest(request_id="a", ts=17, attributes={"t": "1"}, traceparent="00-ab-cd-01", **values)


def respond(asked: MirroredRequest, worker: Worker = WORKER, **more: Any) -> Response:
    rollout = Rollout(name="r", stable=Stable(model="old"), candidate=Candidate(**more))
    target = Target.of(rollout, worker)

    async def call() -> Response:
        caller = Caller(worker)
        try:
            return await caller.respond(asked, target)
        finally:
            await caller.close()

    return asyncio.run(call())


def test_an_answer(candidate: FakeCandidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHADOW_KEY", KEY)
    response = respond(
        request("ok"),
        base_url=candidate.base_url + "/",
        model="new",
        api_key_env="SHADOW_KEY",
        headers={"X-Team": "shadow"},
    )
    asked = {"model": "new", "stream": False, "messages": [{"role": "user", "content": "ok"}]}
    assert response.output == "fine"
    assert (response.error, response.error_message, response.status, response.attempts) == ("", "", 200, 1)
    assert (response.role, response.arm, response.rollout) == ("shadow", "candidate", "r")
    assert len(response.epoch) == 12
    assert (response.ts, response.attributes, response.traceparent) == (17, {"t": "1"}, "00-ab-cd-01")
    assert (response.model, response.input_tokens, response.output_tokens) == ("new", 7, 3)
    assert response.request == candidate.bodies["ok"] == asked
    assert response.latency_ms > 0
    sent = candidate.headers["ok"]
    assert sent.pop("authorization") == f"Bearer {KEY}"
    assert sent.pop("x-team") == "shadow"
    assert set(sent) == {"host", "accept", "accept-encoding", "content-type", "content-length", "user-agent"}
    assert KEY not in repr(response)


def test_a_tool_call_is_an_answer(candidate: FakeCandidate) -> None:
    response = respond(request("tools"), base_url=candidate.base_url)
    assert response.tool_calls == [{"name": "search", "arguments": '{"q": 1}'}]
    assert response.error == ""
    assert candidate.calls.total() == 1


@pytest.mark.parametrize(
    ("text", "error", "status", "attempts"),
    [
        ("broken", "http", 500, 3),
        ("refused", "http", 400, 1),
        ("moved", "http", 307, 1),
        ("throttled", "throttled", 429, 3),
        ("spent", "throttled", 429, 1),
        ("garbage", "bad_response", 200, 1),
        ("no_choices", "bad_response", 200, 1),
        ("huge", "bad_response", 200, 1),
        ("cut", "connection", 200, 3),
        ("broken_once", "", 200, 2),
        ("throttled_once", "", 200, 2),
    ],
)
def test_every_failure_is_a_response(
    candidate: FakeCandidate, text: str, error: str, status: int, attempts: int
) -> None:
    response = respond(request(text), base_url=candidate.base_url)
    assert (response.error, response.status, response.attempts) == (error, status, attempts)
    assert candidate.calls.total() == attempts
    assert bool(response.error_message) == bool(error) or text == "moved"
    assert (response.output == "fine") == (not error)
    assert response.request == candidate.bodies[text]


@pytest.mark.parametrize("text", ["hang", "drip"])
def test_what_never_ends_is_a_timeout_and_not_tried_again(candidate: FakeCandidate, text: str) -> None:
    response = respond(request(text), base_url=candidate.base_url, timeout_s=0.3)
    assert (response.error, response.attempts) == ("timeout", 1)
    assert response.latency_ms >= 290
    assert candidate.calls.total() == 1


def test_nobody_there() -> None:
    response = respond(request("ok"), base_url=f"http://127.0.0.1:{free_port()}/v1")
    assert (response.error, response.status, response.attempts) == ("connection", 0, 3)
    assert response.error_message


def test_messages_are_one_short_line_without_secrets(
    candidate: FakeCandidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHADOW_KEY", KEY)
    response = respond(request("broken"), base_url=candidate.base_url, api_key_env="SHADOW_KEY")
    assert response.error_message.startswith("it broke for Bearer [secret] xxx")
    assert len(response.error_message) == 500
    response = respond(
        request("broken"), base_url=candidate.base_url, headers={"Authorization": "Token other-secret"}
    )
    assert response.error_message.startswith("it broke for [secret] xxx")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model": "another"}, "other_model"),
        ({"body": None}, "no_content"),
        ({"protocol": "json"}, "unsupported"),
    ],
)
def test_what_can_not_be_asked_is_not_called(
    candidate: FakeCandidate, changes: dict[str, Any], error: str
) -> None:
    response = respond(request("ok", **changes), base_url=candidate.base_url)
    assert (response.error, response.attempts, response.request) == (error, 0, None)
    assert response.error_message
    assert candidate.calls.total() == 0


def test_a_json_service_gets_the_body_as_it_is(candidate: FakeCandidate) -> None:
    url = candidate.base_url.removesuffix("/v1") + "/echo"
    asked = request("ok", protocol="json", body={"stream": True, "a": [1]})
    response = respond(asked, kind="http", base_url=url)
    assert (response.error, response.output) == ("", '{"stream":true,"a":[1]}')
    assert response.request == {"stream": True, "a": [1]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"api_key_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE"),
        ({"overrides": {"x": object()}}, "overrides"),
        ({"headers": {"x": "a\r\nb: c"}}, "headers"),
        ({"base_url": "http://user:pass@host/v1"}, "user and password"),
        ({"base_url": "http://:80:80/"}, "base_url"),
    ],
)
def test_a_candidate_that_can_not_be_called_is_refused_at_the_start(
    changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    rollout = Rollout(name="r", candidate=Candidate.model_validate({"base_url": "http://host/v1"} | changes))
    with pytest.raises(ConfigError, match=says):
        Target.of(rollout, WORKER)
