"""What providers say of parameters that they do not take, in the words in which people have reported it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.schemas.answers.rejection import MAX_FOUND, Rejected, rejected


def openai(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def anthropic(message: str) -> dict[str, Any]:
    error = {"type": "invalid_request_error", "message": message}
    return {"type": "error", "error": error, "request_id": "req_011"}


EXTRA = {"type": "extra_forbidden", "msg": "Extra inputs are not permitted", "input": 0.5}
REPR = (
    "[{'type': 'extra_forbidden', 'loc': ('body', 'max_completion_tokens'), "
    "'msg': 'Extra inputs are not permitted', 'input': 800}, {'type': 'extra_forbidden', 'loc': ('body', 'messages', "
    "2, 'typed-dict', 'refusal'), 'msg': 'Extra inputs are not permitted', 'input': None}]"
)
GEMINI = (
    'Invalid JSON payload received. Unknown name "frequency_penalty": Cannot find field.\nInvalid JSON payload '
    "received. Unknown name \"const\" at 'tools[0].function_declarations[5]': Cannot find field."
)
DEFAULT = (
    "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is "
    "supported."
)
EFFORT = "Unsupported value: 'reasoning_effort' does not support 'none' with this model. Supported values are: 'low'."
MINIMAL = (
    "Unsupported value: 'minimal' is not supported with the 'gpt-5.1' model. Supported values are: 'none'."
)
LITELLM = (
    "litellm.UnsupportedParamsError: gemini does not support parameters: {}, for model=gemini-2.0-flash."
)
INSTEAD = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
MOVED = (
    "Unsupported parameter: 'reasoning_effort'. In the Responses API, this parameter has moved to "
    "'reasoning.effort'."
)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        # OpenAI, Azure
        (openai(INSTEAD, "max_tokens", "unsupported_parameter"), ["max_tokens"]),
        (openai(INSTEAD), ["max_tokens"]),
        (openai(MOVED, None, "unsupported_parameter"), ["reasoning_effort"]),
        (openai("Unknown parameter: 'reasoning'.", "reasoning", "unknown_parameter"), ["reasoning"]),
        (openai("Unknown parameter: 'reasoning.max_tokens'."), ["reasoning.max_tokens"]),
        (openai("…", "input[3].status", "unknown_parameter"), ["input.3.status"]),
        (openai(DEFAULT, "temperature", "unsupported_value"), ["temperature"]),
        (openai(EFFORT), [Rejected("reasoning_effort", value=True)]),
        (
            openai(MINIMAL, "reasoning.effort", "unsupported_value"),
            [Rejected("reasoning.effort", value=True)],
        ),
        (openai("Unrecognized request argument supplied: max_completion_tokens"), ["max_completion_tokens"]),
        (openai("Unrecognized request arguments supplied: topP, n"), ["topP", "n"]),
        (
            openai(
                "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
                "response_format",
            ),
            ["response_format"],
        ),
        # Anthropic
        (anthropic("output_config: Extra inputs are not permitted"), ["output_config"]),
        (
            anthropic("system.1.cache_control.ephemeral.scope: Extra inputs are not permitted"),
            ["system.1.cache_control.ephemeral.scope"],
        ),
        (anthropic("`temperature` is deprecated for this model."), ["temperature"]),
        (anthropic("temperature is deprecated for this model."), ["temperature"]),
        (
            anthropic(
                "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
            ),
            [Rejected("top_p", beside="temperature")],
        ),
        (anthropic("This model does not support the effort parameter."), ["effort"]),
        (
            anthropic("`temperature` may only be set to 1 when thinking is enabled. Please consult …"),
            [Rejected("temperature", value=True, beside="thinking")],
        ),
        (
            anthropic("output_config.effort 'max' is not supported when thinking is disabled on this model."),
            [Rejected("output_config.effort", value=True)],
        ),
        # Bedrock
        (
            {
                "message": "This model doesn't support the stopSequences field. Remove stopSequences and try again."
            },
            ["stopSequences"],
        ),
        (
            {"message": "The model returned the following errors: reasoning: Extra inputs are not permitted"},
            ["reasoning"],
        ),
        (
            {
                "message": "Malformed input request: #: extraneous key [top_p] is not permitted#: extraneous key "
                "[max_tokens_to_sample] is not permitted, please reformat your input and try again."
            },
            ["top_p", "max_tokens_to_sample"],
        ),
        (
            {
                "message": "#/toolConfig/tools/1: extraneous key [definitions] is not permitted, please reformat"
            },
            ["toolConfig.tools.1"],
        ),
        # FastAPI, Mistral, vLLM
        ({"detail": [EXTRA | {"loc": ["body", "seed"]}]}, ["seed"]),
        ({"detail": [{"loc": ["body", "n"], "msg": "extra", "type": "value_error.extra"}]}, ["n"]),
        ({"object": "error", "message": {"detail": [EXTRA | {"loc": ["body", "n"]}]}, "code": None}, ["n"]),
        ({"object": "error", "message": json.dumps({"detail": [EXTRA | {"loc": ["body", "n"]}]})}, ["n"]),
        (
            {"detail": [EXTRA | {"loc": ["body", "a"]}], "message": [EXTRA | {"loc": ["body", "a"]}]},
            ["a"],
        ),
        (
            {"object": "error", "message": REPR, "type": "BadRequestError", "param": None, "code": 400},
            ["max_completion_tokens", "messages.2.typed-dict.refusal"],
        ),
        ({"error": {"message": REPR}}, ["max_completion_tokens", "messages.2.typed-dict.refusal"]),
        # others
        (
            {"code": "…", "error": "Argument not supported on this model: presencePenalty"},
            ["presencePenalty"],
        ),
        ({"error": "Model grok-4 does not support parameter presencePenalty."}, ["presencePenalty"]),
        (
            [{"error": {"code": 400, "message": GEMINI}}],
            ["frequency_penalty", "tools.0.function_declarations.5.const"],
        ),
        ({"error": {"message": "property 'store' is unsupported, did you mean 'stop'?"}}, ["store"]),
        (
            {
                "error": {
                    "message": "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : "
                    "property 'metadata' is unsupported, did you mean 'name'?)]"
                }
            },
            ["messages.2.metadata"],
        ),
        (
            {
                "message": "body.maxTokens: property 'body.maxTokens' is unsupported\nbody.thinking: property "
                "'body.thinking' is unsupported",
                "code": "wrong_api_format",
            },
            ["maxTokens", "thinking"],
        ),
        (
            {"error": {"message": "Extra inputs are not permitted, field: 'top_k', value: True."}},
            ["top_k"],
        ),
        (
            {"error": {"message": "Validation error at #/logprobs: Extra inputs are not permitted"}},
            ["logprobs"],
        ),
        (openai(LITELLM.format("['seed', 'logit_bias']")), ["seed", "logit_bias"]),
        (openai(LITELLM.format("{'frequency_penalty': 0.5}")), ["frequency_penalty"]),
        (
            openai(
                "litellm.BadRequestError: AnthropicException - "
                + json.dumps(anthropic("`top_k` is deprecated for this model."))
            ),
            ["top_k"],
        ),
        (
            {
                "error": {
                    "message": "…",
                    "metadata": {"raw": json.dumps(anthropic("top_k: Extra inputs are not permitted"))},
                }
            },
            ["top_k"],
        ),
        (
            {
                "message": "Failed to deserialize the JSON body into the target type: thinking: unknown field "
                "`thinking`, expected one of `messages`"
            },
            ["thinking"],
        ),
        ("'logprobs' is not supported with this model", ["logprobs"]),
        # a value
        (
            openai(
                "max_tokens is too large: 20480. This model supports at most 16384 completion tokens.",
                "max_tokens",
                "invalid_value",
            ),
            [Rejected("max_tokens", value=True)],
        ),
        (
            {
                "error": {
                    "message": "Param Incorrect",
                    "param": "max_tokens is too large: 1048576. This model …",
                }
            },
            [Rejected("max_tokens", value=True)],
        ),
        (
            anthropic("max_tokens: 9999 > 8192, which is the maximum allowed number of output tokens for …"),
            [Rejected("max_tokens", value=True)],
        ),
        (anthropic("temperature: range: 0..1"), [Rejected("temperature", value=True)]),
        (
            anthropic("output_config.effort: Input should be 'low', 'medium' or 'high'"),
            [Rejected("output_config.effort", value=True)],
        ),
        (
            {
                "message": {
                    "detail": [{"type": "less_than_equal", "loc": ["body", "temperature"], "input": 1.3}]
                }
            },
            [Rejected("temperature", value=True)],
        ),
        (
            {"message": "[{'type': 'literal_error', 'loc': ('body', 'reasoning_effort'), 'msg': '…'}]"},
            [Rejected("reasoning_effort", value=True)],
        ),
        (
            {
                "message": "Value '1.5' at 'inferenceConfig.temperature' failed to satisfy constraint: Member must "
                "have value less than or equal to 1"
            },
            [Rejected("inferenceConfig.temperature", value=True)],
        ),
        (
            {
                "message": "The maximum tokens you requested exceeds the model limit of 4096. Try again with a …"
            },
            [Rejected("maxTokens", value=True)],
        ),
        (
            {
                "message": "Malformed input request: #/temperature: expected type: Number, found: Null, please …"
            },
            [Rejected("temperature", value=True)],
        ),
        (
            {
                "code": "…",
                "error": "The response_format parameter is unsupported at the moment. Leave it unset.",
            },
            ["response_format"],
        ),
        (
            openai("This response_format type is unavailable now"),
            [Rejected("response_format", value=True)],
        ),
        (
            openai("This model does not support response format `json_schema`. See supported models at …"),
            [Rejected("response_format", value=True)],
        ),
        (
            openai(
                "'response_format' : one of the following must be satisfied[('response_format.type' : value is not "
                "one of the allowed values ['text']) OR ('response_format.name' : property 'name' is missing)]"
            ),
            [Rejected("response_format.type", value=True)],
        ),
        (
            openai(
                "The parameter `max_completion_tokens` specified in the request are not valid: integer above maximum "
                "value, expected a value <= 12288, but got 32000 instead."
            ),
            [Rejected("max_completion_tokens", value=True)],
        ),
        # refused for something else
        (
            openai(
                "This model's maximum context length is 8192 tokens.", "messages", "context_length_exceeded"
            ),
            [],
        ),
        (openai("Invalid schema for response_format 'x'", "response_format", None), []),
        (openai("audio input is not supported by this model"), []),
        (openai("you must provide a model parameter"), []),
        # what the request said is no error
        ({"detail": [{"msg": "no", "input": {"message": INSTEAD}}]}, []),
    ],
)
def test_what_a_refusal_says(body: Any, found: list[str | Rejected]) -> None:
    expected = [Rejected(each) if isinstance(each, str) else each for each in found]
    assert list(rejected(json.dumps(body).encode())) == expected


def test_a_refusal_that_is_no_json_is_read_too() -> None:
    assert rejected(b"Unsupported parameter: top_k") == (Rejected("top_k"),)
    assert rejected(b"\xff\xfe<html>") == ()


def test_a_server_that_repeats_the_request_in_each_of_its_errors_is_read_in_part() -> None:
    def found(count: int) -> tuple[Rejected, ...]:
        kind = {"type": "extra_forbidden"}
        errors = [kind | {"loc": ["body", f"p{n}"], "msg": "no", "input": "x" * 1000} for n in range(count)]
        return rejected(json.dumps({"detail": errors}).encode())

    assert len(found(200)) == MAX_FOUND
    assert Rejected("p0") in found(5000)


@pytest.mark.parametrize(
    "text",
    ["a", "a-", "a.a[1]", "'", "[`'", "a 'b' ", "#/a", "('a' : property ", "a: 1 > 1", "'a', 'loc': ("],
)
def test_no_text_takes_long(text: str) -> None:
    assert rejected(json.dumps({"error": text * 10_000}).encode()) == ()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "loc", "type", "param", "code"]) | st.text(), inner
        )
    ),
    max_leaves=20,
)


@given(anything)
def test_whatever_comes_is_read(body: Any) -> None:
    for each in rejected(json.dumps(body).encode()):
        assert isinstance(each.name, str)


@given(st.binary())
def test_whatever_bytes_come_are_read(body: bytes) -> None:
    rejected(body)
