"""What of a chat completion must be so that its answer can be read; the rest may be as it is. Pure.

Format: https://platform.openai.com/docs/api-reference/chat/object
"""

from typing import Annotated, Any

import pydantic
from pydantic import Field


class _Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", strict=True)


class Function(_Open):
    """What a tool call calls."""

    name: Annotated[str, Field(min_length=1)]


class FunctionCall(_Open):
    function: Function


class CustomCall(_Open):
    custom: Function


class Message(_Open):
    content: str | list[Any] | None = None
    tool_calls: list[FunctionCall | CustomCall] | None = None
    function_call: Function | None = None


class Choice(_Open):
    message: Message


class ChatCompletion(_Open):
    """A chat completion that came whole; its first choice counts."""

    choices: Annotated[list[Choice], Field(min_length=1)]
