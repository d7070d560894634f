"""The system prompt of a request: what it is, and the same request with another one. Pure.

It is what the request says before the conversation: the first messages of a chat completion that are the system's or
the developer's, the ``instructions`` of a response and such messages after them, the ``system`` of Anthropic's messages
and of Bedrock's Converse.
"""

import typing
from collections.abc import Mapping
from typing import Any

from shadowlane.schemas.events import Protocol

_SYSTEM = ("system", "developer")
_BETWEEN = "\n\n"  # what is added and what was there


class Prompt(typing.Protocol):
    """What a version says of its system prompt: `shadowlane.schemas.config.kinds.Prompt`, or what a router was told."""

    @property
    def replace(self) -> str | None: ...
    @property
    def prepend(self) -> str: ...
    @property
    def append(self) -> str: ...


def prompted(body: Mapping[str, Any], protocol: str, prompt: Prompt) -> dict[str, Any]:
    """A copy of a model's request with its system prompt as ``prompt`` has it. Parts that are no plain text (cache
    marks, images) stay, but for a prompt that is replaced."""
    body = dict(body)
    match protocol:
        case Protocol.OPENAI_CHAT:
            body["messages"] = _messages(body.get("messages"), prompt)
        case Protocol.OPENAI_RESPONSES:
            _responses(body, prompt)
        case _:
            plain = protocol == Protocol.ANTHROPIC_MESSAGES
            if (system := _system(body.get("system"), prompt, plain=plain)) is None:
                body.pop("system", None)
            else:
                body["system"] = system
    return body


def system_text(body: Mapping[str, Any], protocol: str) -> str:
    """The system prompt's text; of several parts, one after the other."""
    if protocol == Protocol.OPENAI_CHAT:
        said = [message.get("content") for message in _leading(body.get("messages"))]
    elif protocol == Protocol.OPENAI_RESPONSES:
        said = [body.get("instructions"), *(item.get("content") for item in _leading(body.get("input")))]
    else:
        said = [body.get("system")]
    return _BETWEEN.join(text for each in said for text in _texts(each) if text)


def _messages(messages: Any, prompt: Prompt) -> list[Any]:
    messages = list(messages) if isinstance(messages, list) else []
    leading = _leading(messages)
    rest = messages[len(leading) :]
    role = leading[0]["role"] if leading else "system"
    if prompt.replace is not None:
        return [{"role": role, "content": prompt.replace}, *rest] if prompt.replace else rest
    if not leading:
        text = _BETWEEN.join(filter(None, (prompt.prepend, prompt.append)))
        return [{"role": role, "content": text}, *rest]
    leading[0] = leading[0] | {"content": _added(leading[0].get("content"), prompt.prepend, "")}
    leading[-1] = leading[-1] | {"content": _added(leading[-1].get("content"), "", prompt.append)}
    return [*leading, *rest]


def _responses(body: dict[str, Any], prompt: Prompt) -> None:
    """In place: ``instructions`` come first, and what the input begins with after them."""
    said, leading = body.get("instructions"), _leading(body.get("input"))
    rest = body["input"][len(leading) :] if leading else []
    if prompt.replace is not None:
        body["instructions"] = prompt.replace or None
        if leading:
            body["input"] = rest
        return
    if prompt.append and leading:
        last = leading[-1]
        last = last | {"content": _added(last.get("content"), "", prompt.append, kind="input_text")}
        body["input"] = [*leading[:-1], last, *rest]
        body["instructions"] = _added(said, prompt.prepend, "") or None
    else:
        body["instructions"] = _added(said, prompt.prepend, prompt.append)


def _system(said: Any, prompt: Prompt, *, plain: bool) -> Any:
    """``plain``: the API takes a text too, beside blocks."""
    if prompt.replace is not None:
        whole: Any = prompt.replace if plain else [{"text": prompt.replace}]
        return whole if prompt.replace else None
    if plain:
        return _added(said, prompt.prepend, prompt.append)
    blocks = list(said) if isinstance(said, list) else []
    before, after = ([{"text": text}] if text else [] for text in (prompt.prepend, prompt.append))
    return [*before, *blocks, *after]


def _added(content: Any, before: str, after: str, *, kind: str = "text") -> Any:
    """A text, or a list of parts, with text before and after it."""
    if isinstance(content, list):
        parts = [[{"type": kind, "text": text}] if text else [] for text in (before, after)]
        return [*parts[0], *content, *parts[1]]
    return _BETWEEN.join(filter(None, (before, content if isinstance(content, str) else "", after)))


def _leading(messages: Any) -> list[dict[str, Any]]:
    """The messages at the beginning that are the system's."""
    found: list[dict[str, Any]] = []
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict) or message.get("role") not in _SYSTEM:
            break
        found.append(message)
    return found


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
