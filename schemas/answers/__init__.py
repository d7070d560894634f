"""What the APIs' answers say, each from its bytes, all in one form: by the protocol of what was asked."""

from collections.abc import Callable
from typing import NamedTuple

from shadowlane.schemas.answers import anthropic, bedrock, openai_chat, openai_responses
from shadowlane.schemas.answers.answer import Answer, error_message
from shadowlane.schemas.events import Protocol

__all__ = ["READERS", "Answer", "Reader", "error_message"]


class Reader(NamedTuple):
    """How to read an API's answers. Neither raises: ``Answer.complete`` and ``problem`` say what is wrong."""

    whole: Callable[[bytes], Answer]
    stream: Callable[[list[bytes]], Answer]
    """Server-sent events, in whatever pieces the network made."""


READERS: dict[str, Reader] = {
    Protocol.OPENAI_CHAT: Reader(openai_chat.read, openai_chat.read_stream),
    Protocol.OPENAI_RESPONSES: Reader(openai_responses.read, openai_responses.read_stream),
    Protocol.ANTHROPIC_MESSAGES: Reader(anthropic.read, anthropic.read_stream),
    Protocol.BEDROCK_CONVERSE: Reader(bedrock.read, bedrock.read_stream),
}
"""By :class:`~shadowlane.schemas.events.Protocol`; what is none of these has no API of a model's."""
