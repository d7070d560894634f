"""Real prompts, asked in each API of candidates of the others: nothing is lost without a word, and answers are read."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shadowlane.schemas.events import Response
from tests.processors.worker.prompts_in_apis import BEDROCK, BODIES, CHAT, MESSAGES, RESPONSES
from tests.processors.worker.recorded import FAULTS, MODEL, RECORDED, Asked, Recordings, ask, becomes_of, lost
from tests.schemas.requests.test_translation import check_official

PARTS = {
    CHAT: {
        "image.detail",
        "logit_bias",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "stop",
        "verbosity",
    },
    RESPONSES: {"image.detail", "reasoning.summary", "top_logprobs", "max_tool_calls", "verbosity"},
    MESSAGES: {"messages.thinking", "thinking", "top_k", "stop"},
    BEDROCK: {"top_k", "stop"},
}
ALSO = {"parallel_tool_calls"}


@pytest.mark.parametrize("protocol", BODIES)
def test_the_bodies_are_what_the_providers_take(protocol: str) -> None:
    for shape in BODIES[protocol].values():
        body = json.loads(json.dumps(shape("Why?")))
        body.pop("stream", None)  # which is another type there
        check_official(protocol, body)


@pytest.mark.parametrize(
    ("asked", "sent", "left_out", "gone"),
    [
        ({"a": "x", "b": 3}, {"c": {"d": "x"}, "e": [3]}, [], []),
        ({"a": "x", "b": "x"}, {"c": "x"}, [], ["b: 'x'"]),
        ({"a": {"b": 3}}, {}, ["a.b"], []),
        ({"stop_sequences": ["x"]}, {}, ["stop"], []),
        ({"url": "data:image/png;base64,eA=="}, {"format": "png", "bytes": "eA=="}, [], []),
        ({"arguments": '{"n": 1}'}, {"input": {"n": 2}}, [], ["arguments.n: 1"]),
    ],
)
def test_what_is_lost_is_seen(asked: Any, sent: Any, left_out: list[str], gone: list[str]) -> None:
    assert lost(asked, sent, left_out) == gone


@pytest.fixture(scope="module")
def recordings() -> Recordings:
    if RECORDED not in os.environ:
        pytest.skip("no recorded models: SHADOWLANE_RECORDED_MODELS names the folder that has serve.py")
    return Recordings.of(Path(os.environ[RECORDED]))


@pytest.fixture(scope="module")
def served(recordings: Recordings) -> Iterator[str]:
    with recordings.served() as url:
        yield url


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")


def some(recordings: Recordings, every: int) -> list[Asked]:
    """One prompt of so many, each asked in each API in another way."""
    asked = []
    for number, prompt_id in enumerate(list(recordings.prompts)[::every]):
        for protocol, shapes in BODIES.items():
            asked.append((prompt_id, protocol, list(shapes)[number % len(shapes)]))
    return asked


@pytest.mark.parametrize("target", BODIES)
def test_nothing_is_lost_without_a_word(recordings: Recordings, served: str, target: str) -> None:
    found = ask(recordings, served, target, some(recordings, 4))
    for asked, response in found.items():
        kind, what = becomes_of(recordings, asked, response)
        _, source, shape = asked
        if kind == "not comparable":
            assert (target, shape) == (BEDROCK, "image by address"), what
            continue
        assert kind in ("whole", "left out"), what
        assert set(what) <= (PARTS[source] | ALSO if source != target else set())
        check_official(target, response.request)
        assert (response.finish_reason, response.served_model in ("", MODEL)) == ("stop", True)


@pytest.mark.parametrize("target", [CHAT, MESSAGES])
def test_what_serve_py_does_wrong_is_told_in_each_api(
    recordings: Recordings, served: str, target: str
) -> None:
    said = {}
    for model, kind in FAULTS.items():
        asked = (next(iter(recordings.prompts)), BEDROCK, "tools")
        (response,) = ask(recordings, served, target, [asked], model).values()
        said[kind] = response
    assert {kind: response.error for kind, response in said.items()} == {
        "tools": "",
        "error": "http",
        "rate_limit": "throttled",
        "garbage": "bad_response",
        "cut": "connection",
        "empty": "",
    }
    called: Response = said["tools"]
    assert [(call["name"], json.loads(call["arguments"])) for call in called.tool_calls] == [
        ("search", {"q": "x"})
    ]
    assert (called.output, called.finish_reason, said["empty"].output) == ("", "tool_calls", "")
