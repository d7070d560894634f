"""What a request asks a model, in one form for every API. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

import orjson

Role = Literal["system", "user", "assistant"]
Choice = Literal["auto", "none", "required"]


class UntranslatableError(ValueError):
    """A request that another API has no words for: what it asks can't be asked there. The text says why."""


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """``url`` is an address, or a ``data:`` URL with the image itself in base64."""

    url: str
    detail: str = ""  # low or high: how closely the model is to look; "" is its own choice


@dataclass(frozen=True, slots=True)
class ToolCall:
    """``arguments`` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str

    def given(self) -> dict[str, Any]:
        """The arguments, read, for an API that takes an object. Raises UntranslatableError where they are none."""
        try:
            arguments = orjson.loads(self.arguments)
        except orjson.JSONDecodeError:
            arguments = None
        if not isinstance(arguments, dict):
            raise UntranslatableError(f"the arguments of the call of {self.name} are no JSON object")
        return arguments


def call_id(given: str, allowed: re.Pattern[str]) -> str:
    """An id that an API takes; of one that it would refuse, a hash, the same for the call and its result."""
    return (
        given if allowed.fullmatch(given) else "call_" + blake2b(given.encode(), digest_size=12).hexdigest()
    )


@dataclass(frozen=True, slots=True)
class ToolResult:
    """``id`` is that of the call."""

    id: str
    content: tuple[Text | Image, ...]
    is_error: bool = False


Part = Text | Image | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """Tool calls are the assistant's parts, tool results the user's."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the service would run."""

    name: str
    description: str = ""
    schema: dict[str, Any] = field(default_factory=dict)  # of its arguments
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ToolNamed:
    """The one tool that the model must call."""

    name: str


@dataclass(frozen=True, slots=True)
class Format:
    """JSON as the answer; of a schema, where it is given."""

    schema: dict[str, Any] | None = None
    name: str = "answer"
    description: str = ""
    strict: bool | None = None


@dataclass(slots=True)
class Conversation:
    """A request. A parameter that is not given is None, and left to the model's own default.

    ``left_out`` names what of the request has no place here, since one API alone knows it, and what an API that
    it is written for has no words for: a candidate that is asked without it is asked something else.
    """

    model: str = ""
    messages: list[Message] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    tool_choice: Choice | ToolNamed | None = None
    parallel_tool_calls: bool | None = None
    format: Format | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    effort: str = ""  # of its reasoning: minimal, low, medium, high, …
    verbosity: str = ""
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, *names: str) -> None:
        """Notes each name once, in the order in which they come."""
        self.left_out += [name for name in dict.fromkeys(names) if name not in self.left_out]

    def has_failed_tools(self) -> bool:
        """Whether a tool's result says that it failed."""
        return any(isinstance(part, ToolResult) and part.is_error for part in self._parts())

    def has_detailed_images(self) -> bool:
        """Whether it is said how closely to look at an image."""
        return any(isinstance(part, Image) and part.detail for part in self._parts())

    def _parts(self) -> Iterator[Part]:
        return (part for message in self.messages for part in message.parts)


def text_of(parts: tuple[Part, ...] | tuple[Text | Image, ...]) -> str:
    """The texts of parts, one after the other; for the APIs that have a single text there.

    Raises:
        UntranslatableError: one of them is no text.
    """
    if not all(isinstance(part, Text) for part in parts):
        raise UntranslatableError("there is more than text where the candidate's API takes only text")
    return "\n".join(part.text for part in parts if isinstance(part, Text))
