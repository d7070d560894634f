"""What requests ask, in one form for every API; and how to ask the same of another API. Pure."""

from collections.abc import Callable
from typing import Any, NamedTuple

from shadowlane.schemas.events import Protocol
from shadowlane.schemas.requests import anthropic, bedrock, openai_chat, openai_responses
from shadowlane.schemas.requests.conversation import Conversation, UntranslatableError

__all__ = ["APIS", "Api", "Conversation", "UntranslatableError", "translate"]


class Api(NamedTuple):
    """Both ways between the body of a request and what it asks; both raise UntranslatableError."""

    read: Callable[[Any], Conversation]
    write: Callable[[Conversation], dict[str, Any]]


APIS: dict[str, Api] = {
    Protocol.OPENAI_CHAT: Api(openai_chat.read, openai_chat.write),
    Protocol.OPENAI_RESPONSES: Api(openai_responses.read, openai_responses.write),
    Protocol.ANTHROPIC_MESSAGES: Api(anthropic.read, anthropic.write),
    Protocol.BEDROCK_CONVERSE: Api(bedrock.read, bedrock.write),
}
"""By :class:`~shadowlane.schemas.events.Protocol`."""


def translate(body: Any, protocol: str, target: str) -> tuple[Any, tuple[str, ...]]:
    """The request ``body`` of one API as another's, and the names of what had to be left out. Within one API it is
    the body as it is.

    Raises:
        UntranslatableError: it can't be asked there, and why.
    """
    if protocol == target:
        return body, ()
    if protocol not in APIS or target not in APIS:
        raise UntranslatableError(f"a request of {protocol} can't be asked as one of {target}")
    asked = APIS[protocol].read(body)
    written = APIS[target].write(asked)
    return written, tuple(asked.left_out)
