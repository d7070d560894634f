"""Two bodies have one fingerprint if and only if their model and parameters are the same."""

import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.schemas.fingerprint import differences, fingerprint, fingerprint_beside
from shadowlane.schemas.requests import translate

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.5, 1.0, -0.0, 2.0, 1e300])
    | st.text(max_size=4)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)
bodies = st.dictionaries(
    st.sampled_from(["model", "temperature", "tools", "stop", "messages", "stream", "user"]),
    values,
    max_size=5,
)


def plain(value: Any) -> Any:
    """JSON's view of a value: numbers by their size, and booleans apart from them."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value).__name__, value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return ("number", float(value))


def parameters(body: dict[str, Any]) -> dict[str, Any]:
    left_out = ("messages", "stream", "user")
    return {k: plain(v) for k, v in body.items() if k not in left_out and v is not None}


@given(bodies, bodies)
def test_equal_if_and_only_if_the_parameters_are(one: dict[str, Any], two: dict[str, Any]) -> None:
    same = parameters(one) == parameters(two)
    assert (fingerprint(one) == fingerprint(two)) == same
    assert (differences(one, two) == {}) == same


@given(bodies, st.randoms(use_true_random=False))
def test_neither_order_nor_the_way_through_json_matters(body: dict[str, Any], chance: random.Random) -> None:
    keys = list(body)
    chance.shuffle(keys)
    assert fingerprint(orjson.loads(orjson.dumps({key: body[key] for key in keys}))) == fingerprint(body)


def test_it_is_the_same_on_every_machine_and_in_every_version() -> None:
    body = {"model": "m", "temperature": 1.0, "stop": None, "messages": ["never in it"]}
    assert fingerprint(body) == fingerprint({"temperature": 1, "model": "m"}) == "c648424b6640"


def test_a_text_that_looks_like_a_number_stays_a_text() -> None:
    assert fingerprint({"stop": "1.0,"}) != fingerprint({"stop": "1,"})
    assert fingerprint({"stop": [1.0, "1.0,"]}) == fingerprint({"stop": [1, "1.0,"]})


@pytest.mark.parametrize("body", [None, "text", [1], 5])
def test_what_is_no_object_has_none(body: Any) -> None:
    assert fingerprint(body) == ""


def test_the_differences_have_both_values() -> None:
    one, two = {"model": "a", "top_p": 1, "n": 2}, {"model": "b", "top_p": 1.0, "stop": "."}
    assert differences(one, two) == {"model": ("a", "b"), "n": (2, None), "stop": (None, ".")}


PROMPT, OTHER = "You are a clerk.", "You are a judge."
TOOL = {
    "name": "refund",
    "description": "Pays back.",
    "parameters": {"type": "object", "properties": {"n": {}}},
}
ASKED: dict[str, Any] = {
    "model": "m",
    "temperature": 0.5,
    "messages": [{"role": "system", "content": PROMPT}, {"role": "user", "content": "hi"}],
    "tools": [{"type": "function", "function": TOOL}, {"type": "function", "function": {"name": "look"}}],
}


def parts(body: Any, protocol: str = "openai.chat") -> list[str]:
    return fingerprint(body, protocol).split("-")


def test_model_prompt_and_tools_are_told_apart() -> None:
    model, prompt, tools = parts(ASKED)
    assert parts(ASKED | {"temperature": 1})[1:] == [prompt, tools]
    messages = [{"role": "developer", "content": OTHER}, *ASKED["messages"][1:]]
    assert parts(ASKED | {"messages": messages}) == [model, parts(ASKED | {"messages": messages})[1], tools]
    assert parts(ASKED | {"messages": messages})[1] != prompt
    assert parts(ASKED | {"tools": ASKED["tools"][:1]})[:2] == [model, prompt]
    assert parts(ASKED | {"tools": ASKED["tools"][:1]})[2] != tools
    assert parts(ASKED | {"tools": None}) == [model, prompt]
    assert parts(ASKED | {"messages": []}) == [model, "", tools]
    assert parts({"model": "m", "temperature": 0.5}) == [model]


def test_what_is_said_later_is_no_prompt() -> None:
    later = [*ASKED["messages"], {"role": "system", "content": OTHER}]
    assert fingerprint(ASKED | {"messages": later}) == fingerprint(ASKED)


@pytest.mark.parametrize("protocol", ["openai.responses", "anthropic.messages", "bedrock.converse"])
def test_prompt_and_tools_have_the_same_digits_in_every_api(protocol: str) -> None:
    for messages in (ASKED["messages"], [{"role": "system", "content": OTHER}, *ASKED["messages"]]):
        body = ASKED | {"messages": messages}
        translated, _ = translate(body, "openai.chat", protocol)
        assert parts(translated, protocol)[1:] == parts(body)[1:]
        back, _ = translate(translated, protocol, "openai.chat")
        assert parts(back)[1:] == parts(body)[1:]


def test_of_bedrock_the_tools_are_told_from_the_choice_among_them() -> None:
    asked, _ = translate(ASKED | {"tool_choice": "required"}, "openai.chat", "bedrock.converse")
    config = asked["toolConfig"]
    model, prompt, tools = parts(asked, "bedrock.converse")
    other = asked | {"toolConfig": config | {"tools": config["tools"][:1]}}
    assert parts(other, "bedrock.converse")[:2] == [model, prompt]
    assert parts(other, "bedrock.converse")[2] not in (tools, "")
    free = asked | {"toolConfig": {"tools": config["tools"], "toolChoice": None}}
    assert parts(free, "bedrock.converse")[1:] == [prompt, tools]
    assert parts(free, "bedrock.converse")[0] != model
    cached = asked | {
        "system": [*asked["system"], {"cachePoint": {"type": "default"}}],
        "toolConfig": config | {"tools": [*config["tools"], {"cachePoint": {"type": "default"}}]},
        "requestMetadata": {"tenant": "a"},
    }
    assert fingerprint(cached, "bedrock.converse") == fingerprint(asked, "bedrock.converse")
    assert parts(asked | {"toolConfig": {"tools": []}}, "bedrock.converse")[1:] == [prompt]


def test_parameters_made_of_the_same_ones_are_read_once() -> None:
    known: dict[str, str] = {}
    for number in range(1000):
        one = ASKED | {"seed": number % 300, "messages": [{"role": "user", "content": str(number)}]}
        made = one | {"model": "new", "temperature": 1}
        assert fingerprint_beside(made, "openai.chat", one, fingerprint(one), known) == fingerprint(made)
        assert 0 < len(known) <= 256


@given(bodies, bodies, st.sets(st.sampled_from(["tools", "messages", "temperature"])))
def test_what_two_bodies_share_is_not_read_twice_and_nothing_else(
    one: dict[str, Any], two: dict[str, Any], shared: set[str]
) -> None:
    made = two | {name: one[name] for name in shared & one.keys()}
    found = fingerprint_beside(made, "openai.chat", one, fingerprint(one))
    assert found == fingerprint(made)
    agent = ASKED | {"temperature": 1}
    assert fingerprint_beside(agent, "openai.chat", ASKED, fingerprint(ASKED)) == fingerprint(agent)


@pytest.mark.parametrize(
    "protocol", ["openai.chat", "openai.responses", "anthropic.messages", "bedrock.converse"]
)
@given(
    bodies.map(
        lambda body: (
            body
            | {"system": body.get("tools"), "input": body.get("messages")}
            | {"toolConfig": {"tools": body.get("stop")} if "stop" in body else body.get("model")}
        )
    )
)
def test_whatever_is_in_a_body_it_has_one(protocol: str, body: dict[str, Any]) -> None:
    assert fingerprint(body, protocol)
