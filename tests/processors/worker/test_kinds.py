"""Candidates of other APIs than the service's: what they get, and what becomes of their answers."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from shadowlane.processors.worker.caller import Caller
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.codec import decode, encode
from shadowlane.schemas.config import Candidate, Rollout, Stable, Worker
from shadowlane.schemas.events import MirroredRequest, Response
from tests.processors.worker.serving import responded
from tests.schemas.answers.samples import MESSAGE, RESPONSE, TEXT

WORKER = Worker(timeout_s=30, max_attempts=1)
CHAT = {
    "model": "old",
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Where is it?"}],
    "max_tokens": 99,
    "logit_bias": {"1": 2},
    "stream": True,
}
ANSWERS = {"/v1/messages": MESSAGE, "/v1/responses": RESPONSE}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def shadowed(
    asked: MirroredRequest, answer: tuple[int, Any] | None = None, **version: Any
) -> tuple[Response, list[tuple[str, dict[str, str], Any]]]:
    """The candidate's response, and what it got: path, headers, body of each call."""
    got: list[tuple[str, dict[str, str], Any]] = []

    async def handle(request: web.Request) -> web.Response:
        got.append((request.path, {k.lower(): v for k, v in request.headers.items()}, await request.json()))
        status, document = answer or (200, ANSWERS[request.path])
        return web.json_response(document, status=status)

    async def run() -> Response:
        app = web.Application()
        app.router.add_post("/{rest:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        candidate = Candidate(base_url=url, model="new", api_key_env="SHADOW_KEY", **version)
        caller = Caller(WORKER)
        try:
            plan = Plan.of(Rollout(name="r", stable=Stable(model="old"), candidate=candidate), WORKER)
            return decode(Response, encode(await responded(caller, asked, plan)))
        finally:
            await caller.close()
            await runner.cleanup()

    return asyncio.run(run()), got


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHADOW_KEY", "sk-shadow-secret")


def request(body: Any = None, protocol: str = "openai.chat") -> MirroredRequest:
    return MirroredRequest(
        request_id="a", ts=1, service="s", route="/r", protocol=protocol, model="old", body=body or CHAT
    )


@pytest.mark.parametrize(
    ("kind", "path"), [("anthropic", "/v1/messages"), ("openai-responses", "/v1/responses")]
)
def test_a_candidate_is_asked_in_its_own_words(kind: str, path: str) -> None:
    response, [(at, headers, body)] = shadowed(request(), kind=kind)
    assert at == path
    assert response.request == body
    assert (body["model"], body["stream"], response.left_out) == ("new", False, ["logit_bias"])
    assert (response.output, response.finish_reason, response.error) == (TEXT, "tool_calls", "")
    assert [call["name"] for call in response.tool_calls] == ["look_up"]
    assert (response.input_tokens, response.output_tokens) == (7, 9)
    assert (response.model, response.served_model) == (
        "new",
        {"anthropic": "claude-served"}.get(kind, "gpt-served"),
    )
    assert response.fingerprint
    assert response.fingerprint != response.served_fingerprint
    if kind == "anthropic":
        assert (headers["x-api-key"], headers["anthropic-version"]) == ("sk-shadow-secret", "2023-06-01")
        assert "authorization" not in headers
        assert (body["system"], body["max_tokens"]) == ("Be short.", 99)
    else:
        assert headers["authorization"] == "Bearer sk-shadow-secret"
        assert (body["instructions"], body["max_output_tokens"]) == ("Be short.", 99)


def test_a_service_of_anthropics_has_a_candidate_of_openais_api() -> None:
    asked = {
        "model": "old",
        "max_tokens": 9,
        "system": "Be short.",
        "messages": [{"role": "user", "content": "Hi"}],
    }
    completion = {"model": "m-2", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    response, [(at, _, body)] = shadowed(request(asked, "anthropic.messages"), (200, completion))
    assert at == "/v1/chat/completions"
    assert body["messages"] == [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
    assert (response.output, response.served_model, response.error) == ("Hello", "m-2", "")


def test_what_can_not_be_asked_there_is_not_and_says_why() -> None:
    body = CHAT | {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}
    response, got = shadowed(request(body), kind="anthropic")
    assert got == []
    assert (response.error, response.attempts, response.request) == ("unsupported", 0, None)
    assert "a part of type 'input_audio'" in response.error_message


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        ((529, OVERLOADED), "throttled", "Overloaded"),
        ((400, {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}), "http", "no"),
        ((200, {"type": "ping"}), "bad_response", "no message"),
    ],
)
def test_failures_of_another_api(answer: tuple[int, Any], error: str, text: str) -> None:
    response, _ = shadowed(request(), answer, kind="anthropic")
    assert (response.error, text in response.error_message) == (error, True)


@pytest.mark.parametrize(("code", "error"), [("server_error", "http"), ("rate_limit_exceeded", "throttled")])
def test_a_200_that_failed_is_a_failure(code: str, error: str) -> None:
    failed = RESPONSE | {"status": "failed", "output": [], "error": {"code": code, "message": "it broke"}}
    response, _ = shadowed(request(), (200, failed), kind="openai-responses")
    assert (response.error, response.error_message, response.status) == (error, "it broke", 200)
