"""Candidates that do not take a parameter: what becomes of the request, and of the later ones."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from shadowlane.processors.worker import rejected
from shadowlane.processors.worker.caller import Caller
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.config import Candidate, Rollout, Stable, Worker
from shadowlane.schemas.events import MirroredRequest, Response
from shadowlane.schemas.fingerprint import fingerprint
from tests.processors.worker.fake_candidate import completion
from tests.processors.worker.serving import Got, asked, responded, shadow
from tests.schemas.answers.samples import MESSAGE, RESPONSE

BODY = {
    "model": "old",
    "messages": [{"role": "user", "content": "Hi"}],
    "temperature": 0.2,
    "top_p": 0.9,
    "max_tokens": 50,
}
CHAT, PLAIN = asked(BODY), asked({name: BODY[name] for name in ("model", "messages")})


def refusal(name: str) -> tuple[int, Any]:
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    error = {
        "message": message,
        "type": "invalid_request_error",
        "param": name,
        "code": "unsupported_parameter",
    }
    return 400, {"error": error}


def takes_no(*names: str) -> Any:
    """An API that says one at a time what it does not take, as OpenAI's does."""

    def answer(got: Got) -> tuple[int, Any]:
        found = next((name for name in names if name in got.body), None)
        return (200, completion()) if found is None else refusal(found)

    return answer


def test_a_request_fails_and_says_what_would_help() -> None:
    [one, two, plain], got = shadow([CHAT, CHAT, PLAIN], takes_no("temperature"))
    assert len(got) == 3
    for response in (one, two):
        assert (response.error, response.status, response.attempts) == ("rejected_parameter", 400, 1)
        assert response.error_message.startswith(
            "it does not take temperature (rejected_parameters: leave_out asks without): Unsupported parameter"
        )
        assert (response.left_out, response.request["temperature"]) == ([], 0.2)
    assert plain.output == "fine"


def test_it_is_asked_without_and_later_ones_at_once() -> None:
    responses, got = shadow(
        [CHAT, CHAT, PLAIN], takes_no("temperature", "top_p"), rejected_parameters="leave_out"
    )
    assert [r.error for r in responses] == [""] * 3
    assert [r.attempts for r in responses] == [
        3,
        1,
        1,
    ]  # the worker's max_attempts is 1: these are no failures
    assert [sorted(BODY.keys() - each.body.keys()) for each in got[:4]] == [
        [],
        ["temperature"],
        ["temperature", "top_p"],
        ["temperature", "top_p"],
    ]
    for response in responses[:2]:
        assert response.left_out == ["temperature", "top_p"]
        assert response.request == got[2].body
        assert response.fingerprint == fingerprint(got[2].body)
        assert response.request["max_tokens"] == 50
    assert responses[2].left_out == []
    assert responses[2].request == got[4].body


def test_several_at_once() -> None:
    place = {"type": "extra_forbidden", "msg": "Extra inputs are not permitted"}

    def answer(got: Got) -> tuple[int, Any]:
        extra = [place | {"loc": ["body", name]} for name in ("temperature", "top_p") if name in got.body]
        return (422, {"detail": extra}) if extra else (200, completion())

    [response], got = shadow([CHAT], answer, rejected_parameters="leave_out")
    assert (len(got), response.left_out, response.output) == (2, ["temperature", "top_p"], "fine")


def test_what_was_null_is_left_out_without_a_name() -> None:
    """Some services take no member that they do not know, whatever it is; and SDKs send nulls."""
    [response], got = shadow(
        [asked(BODY | {"logit_bias": None})], takes_no("logit_bias"), rejected_parameters="leave_out"
    )
    assert (len(got), response.error, response.left_out) == (2, "", [])
    assert "logit_bias" not in response.request


def test_a_limit_goes_by_its_other_name() -> None:
    [one, two], got = shadow([CHAT, CHAT], takes_no("max_tokens"), rejected_parameters="leave_out")
    assert [each.body.get("max_completion_tokens") for each in got] == [None, 50, 50]
    assert (one.left_out, two.left_out, two.attempts, two.error) == ([], [], 1, "")


def test_a_limit_is_never_left_out() -> None:
    [response], got = shadow(
        [CHAT], takes_no("max_tokens", "max_completion_tokens"), rejected_parameters="leave_out"
    )
    assert (len(got), response.error) == (2, "rejected_parameter")
    assert "it takes no max_tokens either" in response.error_message


@pytest.mark.parametrize("name", ["messages", "model", "tools"])
def test_what_is_asked_is_never_left_out(name: str) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    [response], got = shadow(
        [asked(BODY | {"tools": tools})], takes_no(name), rejected_parameters="leave_out"
    )
    assert (len(got), response.error) == (1, "rejected_parameter")
    assert f"without {name} it would be asked something else" in response.error_message


def test_what_the_configuration_says_itself_is_not_left_out() -> None:
    [response], got = shadow(
        [PLAIN], takes_no("seed"), rejected_parameters="leave_out", overrides={"seed": 7}
    )
    assert (len(got), response.error) == (1, "rejected_parameter")
    assert "the version's overrides have seed: take it out of them" in response.error_message


def test_a_value_is_left_out_and_another_is_not() -> None:
    def answer(got: Got) -> tuple[int, Any]:
        if got.body.get("reasoning_effort") == "minimal":
            error = {"message": "…", "param": "reasoning_effort", "code": "unsupported_value"}
            return 400, {"error": error}
        return 200, completion()

    requests = [asked(BODY | {"reasoning_effort": effort}) for effort in ("minimal", "low", "minimal")]
    responses, _ = shadow(requests, answer, rejected_parameters="leave_out")
    assert [(r.left_out, r.attempts) for r in responses] == [
        (["reasoning_effort"], 2),
        ([], 1),
        (["reasoning_effort"], 1),
    ]


def test_what_is_refused_beside_another_is_asked_alone() -> None:
    def answer(got: Got) -> tuple[int, Any]:
        if {"temperature", "top_p"} <= got.body.keys():
            message = (
                "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
            )
            return 400, {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
        return 200, MESSAGE

    alone = asked({name: value for name, value in BODY.items() if name != "temperature"})
    responses, _ = shadow(
        [CHAT, alone, CHAT], answer, kind="anthropic", base_url="{url}/v1", rejected_parameters="leave_out"
    )
    assert [(r.left_out, r.attempts, r.error) for r in responses] == [
        (["top_p"], 2, ""),
        ([], 1, ""),
        (["top_p"], 1, ""),
    ]


def test_what_translation_left_out_is_named_too() -> None:
    def answer(got: Got) -> tuple[int, Any]:
        if "reasoning" in got.body:
            return refusal("reasoning.effort")
        return 200, RESPONSE

    body = BODY | {"seed": 7, "reasoning_effort": "high"}
    [response], got = shadow([asked(body)], answer, kind="openai-responses", rejected_parameters="leave_out")
    assert (response.left_out, response.error) == (["seed", "reasoning.effort"], "")
    assert got[-1].body["max_output_tokens"] == 50


def test_a_model_of_bedrock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    answered = {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
    }

    def answer(got: Got) -> tuple[int, Any]:
        if "stopSequences" in got.body.get("inferenceConfig", {}):
            said = "This model doesn't support the stopSequences field. Remove stopSequences and try again."
            return 400, {"message": said}
        return 200, answered

    [response], got = shadow(
        [asked(BODY | {"stop": ["END"]})],
        answer,
        kind="bedrock",
        bedrock={"region": "eu-central-1"},
        rejected_parameters="leave_out",
    )
    assert (response.output, response.left_out) == ("Hello", ["inferenceConfig.stopSequences"])
    assert got[1].body["inferenceConfig"] == {"maxTokens": 50, "temperature": 0.2, "topP": 0.9}
    assert got[0].headers["authorization"] != got[1].headers["authorization"]  # each is signed for itself


def test_other_refusals_stay_what_they_are() -> None:
    too_long = {"error": {"message": "too long", "param": "messages", "code": "context_length_exceeded"}}
    [response], got = shadow([CHAT], lambda _: (400, too_long), rejected_parameters="leave_out")
    assert (len(got), response.error, response.error_message) == (1, "http", "too long")
    [response], _ = shadow([PLAIN], lambda _: refusal("temperature"), rejected_parameters="leave_out")
    assert response.error == "http"  # the request has none


def test_a_candidate_that_refuses_whatever_it_is_asked_is_not_asked_for_ever() -> None:
    [response], got = shadow([CHAT], lambda _: refusal("temperature"), rejected_parameters="leave_out")
    assert (len(got), response.error) == (2, "http")


@pytest.mark.parametrize(
    "candidate",
    [
        {"kind": "http", "base_url": "http://a"},
        {
            "kind": "http",
            "base_url": "http://a",
            "http": {"api": "openai", "body": {"q": {"$from": "/messages"}}},
        },
        {"kind": "python", "python": {"callable": "a:b", "allow_code_execution": True, "api": "openai"}},
    ],
)
def test_what_is_no_request_of_a_models_api_has_no_parameters(candidate: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="and this version is sent none: "):
        Candidate.model_validate(candidate | {"rejected_parameters": "leave_out"})


def test_it_is_another_epoch_where_parameters_are_left_out() -> None:
    def epoch(**more: Any) -> str:
        candidate = Candidate(base_url="http://a", model="new", **more)
        return Rollout(name="r", stable=Stable(model="old"), candidate=candidate).epoch

    assert epoch() == epoch(rejected_parameters="fail") != epoch(rejected_parameters="leave_out")


class Crowd:
    """An API that answers the first calls once all of them are there."""

    def __init__(self, size: int, *names: str, hangs: int = 0) -> None:
        self.size, self.names, self.hangs = size, names, hangs
        self.calls = 0
        self.refused: Counter[str] = Counter()
        self.all_there = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.calls += 1
        if self.calls == self.size:
            self.all_there.set()
        await self.all_there.wait()
        if self.hangs and self.calls == self.hangs:
            await asyncio.sleep(3600)
        found = next((name for name in self.names if name in body), None)
        if found is None:
            return web.json_response(completion())
        self.refused[found] += 1
        return web.json_response(refusal(found)[1], status=400)

    async def ask(self) -> tuple[list[Response], Caller]:
        app = web.Application()
        app.router.add_post("/chat/completions", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        worker = Worker(timeout_s=1 if self.hangs else 30, max_attempts=1, concurrency=self.size)
        candidate = Candidate(
            base_url=f"http://127.0.0.1:{runner.addresses[0][1]}",
            model="new",
            rejected_parameters="leave_out",
        )
        caller = Caller(worker)
        try:
            plan = Plan.of(Rollout(name="r", stable=Stable(model="old"), candidate=candidate), worker)
            asked: list[MirroredRequest] = [CHAT] * self.size
            return list(await asyncio.gather(*(responded(caller, each, plan) for each in asked))), caller
        finally:
            await caller.close()
            await runner.cleanup()


def test_of_many_that_are_under_way_each_is_refused_once_and_one_finds_out_the_rest() -> None:
    async def run() -> None:
        crowd = Crowd(100, "temperature", "top_p", "max_tokens")
        responses, caller = await crowd.ask()
        assert {(r.error, *r.left_out) for r in responses} == {("", "temperature", "top_p")}
        assert crowd.refused == {"temperature": 100, "top_p": 1, "max_tokens": 1}
        assert sorted(Counter(r.attempts for r in responses).items()) == [(2, 99), (4, 1)]
        (told,) = caller.rejections.told()
        assert told == (
            "the candidate version of rollout r does not take max_tokens, temperature, top_p, and is asked without"
        )
        refused, left = caller.rejections.figures()
        samples = {sample.labels["parameter"]: sample.value for sample in refused.samples}
        assert samples == {"temperature": 100, "top_p": 1, "max_tokens": 1}
        assert {sample.value for sample in left.samples} == {100}

    asyncio.run(run())


def test_nobody_waits_long_for_the_one_that_finds_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected, "WAIT_S", 0.05)

    async def run() -> None:
        crowd = Crowd(10, "temperature", "top_p", hangs=11)  # the first that asks without temperature
        responses, _ = await crowd.ask()
        assert Counter(r.error for r in responses) == {"": 9, "timeout": 1}

    asyncio.run(run())


def test_status_tells_what_is_left_out_and_what_fails() -> None:
    async def run() -> None:
        crowd = Crowd(3, "temperature", "messages")
        _, caller = await crowd.ask()
        assert list(caller.rejections.told()) == [
            "the candidate version of rollout r does not take temperature, and is asked without",
            "the candidate version of rollout r does not take messages: requests that have it fail",
        ]

    asyncio.run(run())


def test_what_is_rejected_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    shadow([CHAT] * 3, takes_no("temperature"))
    shadow([CHAT] * 3, takes_no("temperature"), rejected_parameters="leave_out")
    failing, leaving = (r.getMessage() for r in caplog.records if "does not take" in r.getMessage())
    assert failing == (
        "the candidate version of rollout r does not take temperature: such requests fail: rejected_parameters: "
        "leave_out asks without"
    )
    assert leaving.endswith("temperature: it is asked without, and left_out of the pairs says so")
