"""System prompts of every API: read, replaced, added to."""

from typing import Any

import pytest

from shadowlane.schemas.config.kinds import Prompt
from shadowlane.schemas.requests.prompt import prompted, system_text

USER = {"role": "user", "content": "Hi"}
MARKED = {"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}
BODIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "chat": ("openai.chat", {"messages": [{"role": "system", "content": "S"}, USER]}, "S"),
    "chat, developer": ("openai.chat", {"messages": [{"role": "developer", "content": "S"}, USER]}, "S"),
    "chat, two": (
        "openai.chat",
        {"messages": [{"role": "system", "content": "S"}, {"role": "system", "content": "T"}, USER]},
        "S\n\nT",
    ),
    "chat, parts": ("openai.chat", {"messages": [{"role": "system", "content": [MARKED]}, USER]}, "S"),
    "chat, none": ("openai.chat", {"messages": [USER]}, ""),
    "responses": ("openai.responses", {"instructions": "S", "input": "Hi"}, "S"),
    "responses, items": ("openai.responses", {"input": [{"role": "developer", "content": "S"}, USER]}, "S"),
    "responses, both": (
        "openai.responses",
        {"instructions": "S", "input": [{"role": "system", "content": "T"}, USER]},
        "S\n\nT",
    ),
    "responses, none": ("openai.responses", {"input": [USER]}, ""),
    "anthropic": ("anthropic.messages", {"system": "S", "messages": [USER]}, "S"),
    "anthropic, blocks": ("anthropic.messages", {"system": [MARKED], "messages": [USER]}, "S"),
    "anthropic, none": ("anthropic.messages", {"messages": [USER]}, ""),
    "bedrock": ("bedrock.converse", {"system": [{"text": "S"}], "messages": [USER]}, "S"),
    "bedrock, none": ("bedrock.converse", {"messages": [USER]}, ""),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_prompt_is_read_replaced_and_added_to(name: str) -> None:
    protocol, body, said = BODIES[name]
    before = repr(body)

    def with_(**prompt: Any) -> str:
        made = prompted(body, protocol, Prompt(**prompt))
        assert "Hi" in repr(made)
        return system_text(made, protocol)

    assert system_text(body, protocol) == said
    assert with_(replace="New") == "New"
    assert with_(replace="") == ""
    assert with_(prepend="A") == "\n\n".join(filter(None, ("A", said)))
    assert with_(append="Z") == "\n\n".join(filter(None, (said, "Z")))
    assert with_(prepend="A", append="Z") == "\n\n".join(filter(None, ("A", said, "Z")))
    assert repr(body) == before  # it is the mirrored request's


def test_the_marks_of_a_cache_stay() -> None:
    made = prompted({"system": [MARKED], "messages": [USER]}, "anthropic.messages", Prompt(append="Z"))
    assert made["system"] == [MARKED, {"type": "text", "text": "Z"}]


def test_without_a_prompt_none_is_left() -> None:
    assert prompted({"system": "S"}, "anthropic.messages", Prompt(replace="")) == {}
    assert prompted(BODIES["chat"][1], "openai.chat", Prompt(replace="")) == {"messages": [USER]}
