"""Calls to a real HTTP server that behaves in every way a candidate can."""

import asyncio
from typing import Any

import pytest

from shadowlane.errors import ConfigError
from shadowlane.processors.worker.caller import Caller
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.codec import decode, encode
from shadowlane.schemas.config import Candidate, Rollout, Sampling, Stable, Stage, Worker
from shadowlane.schemas.events import Arm, MirroredRequest, Response
from shadowlane.schemas.fingerprint import fingerprint
from tests.processors.worker.fake_candidate import FakeCandidate
from tests.processors.worker.serving import responded
from tests.services import free_port

WORKER = Worker(timeout_s=30, max_attempts=3, retry_base_s=0.01, retry_max_s=0.05, concurrency=4)
KEY = "sk-secret-of-the-shadow"


def request(text: str, **more: Any) -> MirroredRequest:
    body = {"model": "old", "stream": True, "messages": [{"role": "user", "content": text}]}
    values: dict[str, Any] = {"request_id": "a", "attributes": {"t": "1"}, "traceparent": "00-ab-cd-01"}
    values |= {"service": "s", "route": "/r", "protocol": "openai.chat", "model": "old", "body": body}
    return MirroredRequest(ts=17, **values | more)


def respond(asked: MirroredRequest, **more: Any) -> Response:
    return carry_out(Rollout(name="r", stable=Stable(model="old"), candidate=Candidate(**more)), asked)[0]


def carry_out(rollout: Rollout, *requests: MirroredRequest) -> list[Response]:
    plan = Plan.of(rollout, WORKER)

    async def call() -> list[Response]:
        caller = Caller(WORKER)
        try:
            return [decode(Response, encode(await responded(caller, asked, plan))) for asked in requests]
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
    marks = {"shadow": "1", "rollout": "r", "request": "a"}
    assert {name: sent.pop(f"x-shadowlane-{name}") for name in marks} == marks
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


def test_of_a_hashed_request_nobody_is_asked_and_its_tokens_are_in_the_pair(candidate: FakeCandidate) -> None:
    body = {"messages": [{"role": "[text#abcdefghij]", "content": "[text#bcdefghijk]"}]}
    response = respond(request("ok", body=body, without_content="hashed"), base_url=candidate.base_url)
    assert (response.error, response.error_message) == ("no_content", "mirrored without its content: hashed")
    assert (response.request, response.served_fingerprint) == (body, "")
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
        ({"api_key_env": "NOT_SET_ANYWHERE"}, "api_key_env names NOT_SET_ANYWHERE"),
        ({"overrides": {"x": object()}}, "overrides"),
        ({"headers": {"x": "a\r\nb: c"}}, "headers"),
        ({"base_url": "http://user:pass@host/v1"}, "user and password"),
        ({"base_url": "http://:80:80/"}, "base_url"),
    ],
)
@pytest.mark.parametrize("arm", Arm)
def test_an_arm_that_can_not_be_asked_is_refused_at_the_start(
    arm: Arm, changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    arms = {Arm.STABLE: {"model": "old"}, Arm.CANDIDATE: {"model": "new"}}
    versions = {name: {"base_url": "http://host/v1"} | version for name, version in arms.items()}
    versions[arm] |= changes
    rollout = Rollout.model_validate({"name": "r", **versions})
    with pytest.raises(ConfigError, match=says) as refused:
        Plan.of(rollout, WORKER)
    assert str(refused.value).startswith(f"rollout 'r': {arm}.")


def two_arms(stable: FakeCandidate, candidate: FakeCandidate, /, **changes: Any) -> Rollout:
    values: dict[str, Any] = {
        "name": "r",
        "stable": {"model": "old", "base_url": stable.base_url, "overrides": {"temperature": 0}},
        "candidate": {"model": "new", "base_url": candidate.base_url, "overrides": {"temperature": 0.7}},
        "stages": [Stage(name="canary", traffic_pct=5)],
    }
    return Rollout.model_validate(values | changes)


def body_of(model: str, temperature: float, text: str = "ok") -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"model": model, "temperature": temperature, "stream": True, "messages": [message]}


def test_the_arm_that_did_not_serve_is_asked_as_it_is(candidate: FakeCandidate) -> None:
    with FakeCandidate().running() as stable:
        by_candidate, by_stable = carry_out(
            two_arms(stable, candidate),
            request("", model="new", body=body_of("new", 0.7), arm="candidate", stage="canary", key="k"),
            request("", model="old", body=body_of("old", 0.0, "tools"), arm="stable", stage="canary"),
        )
        assert (by_candidate.arm, by_candidate.model, by_candidate.output) == ("stable", "old", "fine")
        assert (by_candidate.key, by_candidate.stage) == ("k", "canary")
        assert stable.bodies == {"ok": body_of("old", 0) | {"stream": False}}
        assert (by_stable.arm, by_stable.model) == ("candidate", "new")
        assert candidate.bodies == {"tools": body_of("new", 0.7, "tools") | {"stream": False}}
    old, new = fingerprint(body_of("old", 0)), fingerprint(body_of("new", 0.7))
    assert (by_candidate.fingerprint, by_candidate.served_fingerprint) == (old, new)
    assert (by_stable.fingerprint, by_stable.served_fingerprint) == (new, old)


def test_without_a_router_the_model_says_who_served(candidate: FakeCandidate) -> None:
    with FakeCandidate().running() as stable:
        (response,) = carry_out(
            two_arms(stable, candidate), request("", model="new", body=body_of("new", 0.7))
        )
        assert (response.arm, response.error) == ("stable", "")
        assert (stable.calls.total(), candidate.calls.total()) == (1, 0)


@pytest.mark.parametrize(
    ("arm", "body", "error", "says"),
    [
        ("candidate", body_of("old", 0.7), "other_model", 'asked "old", and the candidate version is "new"'),
        ("stable", body_of("new", 0), "other_model", 'asked "new", and the stable version is "old"'),
        ("candidate", body_of("new", 0), "other_parameters", "temperature is 0, not 0.7"),
        ("stable", {"model": "old", "messages": []}, "other_parameters", "temperature is absent, not 0"),
    ],
)
def test_a_request_that_is_not_what_its_arm_is_asked_makes_no_call(
    candidate: FakeCandidate, arm: str, body: dict[str, Any], error: str, says: str
) -> None:
    (response,) = carry_out(
        two_arms(candidate, candidate), request("", model=body["model"], body=body, arm=arm)
    )
    assert (response.error, response.attempts, response.fingerprint) == (error, 0, "")
    assert says in response.error_message
    assert response.served_fingerprint == fingerprint(body)
    assert candidate.calls.total() == 0


@pytest.mark.parametrize(
    ("stable", "model", "says"),
    [
        ({"model": "old"}, "old", "stable.base_url is not given"),
        ({"base_url": "http://127.0.0.1:1"}, "", "stable.model is not given"),
    ],
)
def test_a_stable_version_that_can_not_be_asked_is_an_answer_too(
    candidate: FakeCandidate, stable: dict[str, Any], model: str, says: str
) -> None:
    rollout = two_arms(candidate, candidate, stable=stable | {"overrides": {"temperature": 0}})
    (response,) = carry_out(rollout, request("", model="new", body=body_of("new", 0.7), arm="candidate"))
    assert (response.error, response.arm, response.model) == ("unsupported", "stable", model)
    assert says in response.error_message
    assert candidate.calls.total() == 0


def test_a_candidate_without_a_model_has_the_stable_versions(candidate: FakeCandidate) -> None:
    stable, other = {"model": "old", "base_url": candidate.base_url}, {"base_url": candidate.base_url}
    rollout = two_arms(candidate, candidate, stable=stable, candidate=other)
    asked = request("ok", arm="candidate")
    right, wrong = carry_out(rollout, asked, request("ok", arm="candidate", model="third"))
    assert (right.error, right.arm, right.model) == ("", "stable", "old")
    assert right.fingerprint == right.served_fingerprint == fingerprint(asked.body)
    assert wrong.error == "other_model"


def test_what_is_not_in_the_rollouts_sample_makes_no_call(candidate: FakeCandidate) -> None:
    rollout = two_arms(candidate, candidate, sampling=Sampling(rate=0.3))
    keys = [f"k{n}" for n in range(60)]
    made = [request("", body=body_of("old", 0), request_id=f"{k}-{n}", key=k) for k in keys for n in (1, 2)]
    responses = carry_out(rollout, *made)
    out = [r for r in responses if r.error]
    assert {(r.error, r.attempts) for r in out} == {("sampled_out", 0)}
    assert 60 < len(out) < 110
    assert candidate.calls.total() == 120 - len(out)
    assert not {r.key for r in out} & {r.key for r in responses if not r.error}  # one key, one fate
