import pytest
from hypothesis import given

from shadowlane.evaluators.scorers.answer import answered, error, is_refusal, refusal, truncation
from tests.evaluators.scorers.answers import ANY_TEXT, answer

REFUSALS = [
    "I'm sorry, but I can't assist with that request.",
    "I’m sorry, but I cannot help with that.",
    "Sorry, I can't provide the lyrics of that song.",
    "I apologize, but I do not feel comfortable writing that.",
    "I'm really sorry, but as an AI language model, I am unable to give legal advice.",
    "I cannot provide information or guidance on illegal activities.",
    "I can't help with that.",
    "  **I am unable to assist with that.**",
    "Es tut mir leid, aber ich kann dir dabei nicht helfen.",
    "Je suis désolé, mais je ne peux pas vous aider.",
    "Lo siento, pero no puedo ayudar con eso.",
    "Mi dispiace, ma non posso aiutarti.",
    "Desculpe, mas não posso ajudar com isso.",
    "Het spijt me, maar ik kan je daar niet mee helpen.",
    "抱歉，我无法提供帮助。",
    "申し訳ありませんが、お手伝いできません。",
]
ANSWERS = [
    "I'm sorry to hear about your dog. Here is what may help:",
    "I can't help but notice that the totals differ.",
    "As an AI, I don't hold opinions. However, there are two views.",
    "Unfortunately, your order is late; it comes on Tuesday.",
    "Unfortunately, we are unable to offer a refund after 30 days.",
    "I cannot recommend listening to loud music. However, here is some advice.",
    "Banks cannot use cash as capital because it is volatile.",
    "Dear customer,\n\nI'm sorry, but I can't provide a refund.",
    "I'm sorry I'm late! Traffic was awful.",
    "I apologize for the confusion. Here is the template:",
    "Sure. I can't assist with the move itself, but here's a plan.",
    "Es tut mir leid, das zu hören.",
    "The model replied: I'm sorry, but I can't assist with that.",
    "",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals_are_seen(text: str) -> None:
    assert is_refusal(answer(text))
    assert refusal(None, answer(text)) == 0
    assert answered(None, answer(text)) == 0


@pytest.mark.parametrize("text", ANSWERS)
def test_answers_are_not_called_refusals(text: str) -> None:
    assert not is_refusal(answer(text))
    assert refusal(None, answer(text)) == 1


def test_a_filter_refuses_and_a_tool_call_does_not() -> None:
    assert is_refusal(answer("", finish_reason="content_filter"))
    assert not is_refusal(answer(REFUSALS[0], tool_calls=[{"name": "f", "arguments": "{}"}]))


def test_answered_takes_text_or_a_tool_call() -> None:
    assert answered(None, answer("Paris")) == 1
    assert answered(None, answer(" \n")) == 0
    assert answered(None, answer("", tool_calls=[{"name": "f", "arguments": "{}"}])) == 1
    assert answered(None, answer("", tool_calls=[])) == 0
    assert answered(None, answer("Par", finish_reason="length")) == 0
    assert answered(None, answer("Par", error="timeout")) == 0


def test_a_tool_call_answers_only_a_chat_that_offered_tools() -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    calls = answer("", tool_calls=[{"name": "f", "arguments": "{}"}])
    assert answered(chat, calls) == 0
    assert answered(chat | {"tools": []}, calls) == 0
    assert answered(chat | {"tools": [{"type": "function", "function": {"name": "f"}}]}, calls) == 1
    assert answered(chat | {"functions": [{"name": "f"}]}, calls) == 1
    assert answered({"question": "hi"}, calls) == 1


def test_a_failure_is_an_error_and_neither_refused_nor_cut() -> None:
    failed = answer("", error="http", finish_reason="length")
    assert (error(None, failed), refusal(None, failed), truncation(None, failed)) == (0, None, None)
    cut = answer("Par", finish_reason="max_tokens")
    assert (error(None, cut), refusal(None, cut), truncation(None, cut)) == (1, 1, 0)


@given(ANY_TEXT)
def test_any_text_is_graded(text: str) -> None:
    assert answered(None, answer(text)) in (0, 1)
