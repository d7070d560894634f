"""The samples that the other tests read are what the vendors' own packages take for theirs."""

import anthropic.types
import anthropic.types.messages
import openai.types.chat
import openai.types.responses

from tests.producers.logs.samples import COMPLETION, MESSAGE, MESSAGES_BODY, RESPONSE


def test_openai() -> None:
    assert (
        openai.types.chat.ChatCompletion.model_validate(COMPLETION).choices[0].message.content == "Because."
    )
    asked = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    assert openai.types.responses.Response.model_validate(RESPONSE | asked).output_text == "Because."


def test_anthropic() -> None:
    assert anthropic.types.Message.model_validate(MESSAGE).stop_reason == "end_turn"
    result = {"custom_id": "a", "result": {"type": "succeeded", "message": MESSAGE}}
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "m"}, "request_id": None}
    failed = {"custom_id": "a", "result": {"type": "errored", "error": error}}
    for line in (result, failed):
        anthropic.types.messages.MessageBatchIndividualResponse.model_validate(line, strict=False)
    assert anthropic.types.message_create_params.MessageCreateParamsNonStreaming.__required_keys__ <= set(
        MESSAGES_BODY
    )
