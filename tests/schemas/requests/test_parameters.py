"""What a request can do without: never what it asks, and never the limit of what the answer costs."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.schemas.answers.rejection import Rejected
from shadowlane.schemas.requests.parameters import LIMITS, QUESTION, Rule, located, rule, without

CHAT, RESPONSES, MESSAGES, BEDROCK = (
    "openai.chat",
    "openai.responses",
    "anthropic.messages",
    "bedrock.converse",
)
ASKED: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "Hi", "name": "Ann"}],
    "system": "Be short.",
    "tools": [],
    "temperature": 0.2,
    "top_p": 0.9,
    "presence_penalty": 1,
    "logit_bias": None,
    "response_format": {"type": "json_schema", "json_schema": {"strict": True}},
    "reasoning": {"effort": "high", "summary": "auto"},
    "output_config": {"effort": "low"},
    "max_tokens": 9,
}
CONVERSE: dict[str, Any] = {
    "messages": [],
    "inferenceConfig": {"maxTokens": 9, "stopSequences": ["x"], "topP": 1},
    "additionalModelRequestFields": {"top_k": 4},
}


@pytest.mark.parametrize(
    ("name", "body", "path"),
    [
        ("temperature", ASKED, ("temperature",)),
        ("presencePenalty", ASKED, ("presence_penalty",)),
        ("response_format.json_schema.strict", ASKED, ("response_format",)),
        ("reasoning.effort", ASKED, ("reasoning", "effort")),
        ("reasoning", ASKED, ("reasoning",)),
        ("reasoning.max_tokens", ASKED, None),
        ("output_config.effort", ASKED, ("output_config", "effort")),
        ("effort", {"output_config": {"effort": "low"}}, ("output_config", "effort")),
        ("messages.0.name", ASKED, ("messages",)),
        ("stopSequences", CONVERSE, ("inferenceConfig", "stopSequences")),
        ("top_p", CONVERSE, ("inferenceConfig", "topP")),
        ("top_k", CONVERSE, ("additionalModelRequestFields", "top_k")),
        ("seed", ASKED, None),
        ("seed", ASKED | {"reasoning": "high"}, None),
    ],
)
def test_where_the_request_has_it(name: str, body: dict[str, Any], path: tuple[str, ...] | None) -> None:
    assert located(name, body) == path


@pytest.mark.parametrize(
    ("told", "protocol", "expected"),
    [
        (Rejected("temperature"), CHAT, Rule(("temperature",))),
        (Rejected("temperature", value=True), CHAT, Rule(("temperature",), value=b"0.2")),
        (Rejected("top_p", beside="temperature"), MESSAGES, Rule(("top_p",), beside=("temperature",))),
        (Rejected("top_p", beside="top_k"), MESSAGES, None),
        (Rejected("max_tokens"), CHAT, Rule(("max_tokens",), instead="max_completion_tokens")),
        (Rejected("seed"), CHAT, None),
        (Rejected("messages.0.role", value=True), CHAT, None),
    ],
)
def test_what_is_done(told: Rejected, protocol: str, expected: Rule | None) -> None:
    assert rule(told, ASKED, protocol) == expected


@pytest.mark.parametrize(
    ("told", "protocol", "body", "own", "why"),
    [
        (Rejected("max_tokens"), MESSAGES, ASKED, (), "what the answer costs"),
        (Rejected("max_tokens", value=True), CHAT, ASKED, (), "say a max_tokens that it takes"),
        (Rejected("maxTokens"), BEDROCK, CONVERSE, (), "what the answer costs"),
        (Rejected("inferenceConfig"), BEDROCK, CONVERSE, (), "what the answer costs"),
        (Rejected("messages.0.name"), CHAT, ASKED, (), "without messages"),
        (Rejected("tools"), CHAT, ASKED, (), "without tools"),
        (Rejected("store"), RESPONSES, {"store": False}, (), "the provider would keep"),
        (Rejected("temperature"), CHAT, ASKED, {"temperature"}, "the version's overrides have temperature"),
        (Rejected("top_p"), BEDROCK, CONVERSE, {"inferenceConfig"}, "overrides have inferenceConfig"),
    ],
)
def test_what_can_not_be_done_without(
    told: Rejected, protocol: str, body: dict[str, Any], own: set[str], why: str
) -> None:
    found = rule(told, body, protocol, own)
    assert isinstance(found, str)
    assert why in found


def test_what_is_left_out_is_named_and_the_request_stays_as_it_is() -> None:
    before = copy.deepcopy(ASKED)
    rules = [
        Rule(("temperature",)),
        Rule(("top_p",), beside=("temperature",)),  # which is gone
        Rule(("presence_penalty",), value=b"0"),  # it has another
        Rule(("reasoning", "effort")),
        Rule(("output_config", "effort")),
        Rule(("logit_bias",)),  # null: nothing was said
        Rule(("max_tokens",), instead="max_completion_tokens"),
        Rule(("seed",)),
    ]
    body, out, renamed = without(ASKED, rules)
    assert before == ASKED
    assert out == ("temperature", "reasoning.effort", "output_config.effort")
    assert renamed == ("max_tokens",)
    assert body == {
        **{name: before[name] for name in ("model", "messages", "system", "tools", "top_p")},
        **{name: before[name] for name in ("presence_penalty", "response_format")},
        "reasoning": {"summary": "auto"},
        "max_completion_tokens": 9,
    }


def test_a_limit_that_is_there_under_both_names_is_left_out_under_one() -> None:
    body = {"max_tokens": 5, "max_completion_tokens": 7}
    rules = [Rule(("max_tokens",), instead="max_completion_tokens")]
    assert without(body, rules) == ({"max_completion_tokens": 7}, ("max_tokens",), ())


members = st.sampled_from(
    [*sorted(QUESTION | LIMITS), "temperature", "top_p", "stop", "reasoning", "inferenceConfig", "store", "x"]
)
numbers = st.integers(-2, 2)
values = numbers | st.dictionaries(members, numbers, min_size=1, max_size=3)
rejections = st.builds(
    Rejected,
    st.lists(members, min_size=1, max_size=3).map(".".join),
    st.booleans(),
    st.just("") | members,
)


def leaves(body: dict[str, Any]) -> dict[str, Any]:
    """Name -> value, of members within members too."""
    found: dict[str, Any] = {}
    for name, value in body.items():
        inner = value.items() if isinstance(value, dict) else ()
        found |= {f"{name}.{each}": it for each, it in inner} or {name: value}
    return found


@given(
    st.dictionaries(members, values),
    st.lists(rejections, max_size=6),
    st.sampled_from([CHAT, RESPONSES, MESSAGES, BEDROCK]),
)
def test_the_question_is_asked_with_its_limits_and_what_is_gone_has_a_name(
    body: dict[str, Any], told: list[Rejected], protocol: str
) -> None:
    rules = [each for one in told if isinstance(each := rule(one, body, protocol), Rule)]
    asked, out, renamed = without(body, rules)
    for name in QUESTION & body.keys():
        assert asked[name] == body[name]
    before, after = leaves(body), leaves(asked)
    gone = {name for name in before if name not in after}
    named = (*out, *renamed)
    assert all(any(name == each or name.startswith(f"{each}.") for each in named) for name in gone)
    assert all(any(name == each or name.startswith(f"{each}.") for name in gone) for each in named)
    limits = {name.rpartition(".")[2] for name in gone} & LIMITS
    assert not limits or (protocol == CHAT and asked.keys() & {"max_tokens", "max_completion_tokens"})
