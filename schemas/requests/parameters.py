"""What a request can do without, where a provider does not take it. Pure.

A parameter says how the question is to be answered. What the question is (the conversation, the prompt, the tools, who
is asked) is none: without it something else would be asked. Neither is a limit of the answer's length: without it the
answer costs what it will. It has two names in chat completions, and goes by the other one where that is what is taken.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from shadowlane.schemas.answers.rejection import Rejected
from shadowlane.schemas.events import Protocol

QUESTION = frozenset(
    {
        *("model", "messages", "input", "instructions", "system", "prompt", "promptVariables"),
        *("tools", "functions", "toolConfig"),
    }
)
LIMITS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens", "maxTokens"})
OTHER_NAMES: Mapping[str, Mapping[str, str]] = {
    Protocol.OPENAI_CHAT: {
        "max_tokens": "max_completion_tokens",
        "max_completion_tokens": "max_tokens",
    }
}
GROUPS = frozenset(
    {
        *("reasoning", "text", "output_config", "inferenceConfig", "additionalModelRequestFields"),
        *("extra_body", "chat_template_kwargs"),
    }
)
"""Members that hold parameters. One of them can be left out alone; any other member only whole."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """What is not sent to one target."""

    path: Path
    value: bytes | None = None  # as JSON: with this value; None: with any
    beside: Path = ()  # where this is sent too
    instead: str = ""  # the name by which it goes then; "" leaves it out

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def mark(self) -> bytes:
        """What is in the JSON of each request that the rule is about, and of few others."""
        return b'"%s"' % self.path[-1].encode()

    def concerns(self, body: Mapping[str, Any]) -> bool:
        holder = _holder(body, self.path)
        if holder is None or self.path[-1] not in holder:
            return False
        if self.value is not None and _json(holder[self.path[-1]]) != self.value:
            return False
        return not self.beside or _value(body, self.beside) is not None


def located(name: str, body: Mapping[str, Any]) -> Path | None:
    """Where the request has what a provider calls ``name``; None where it has no such thing.

    Providers name parameters in their own spelling (``presencePenalty``), and members of a group without it
    (``stopSequences``).
    """
    first, *others = name.split(".")
    key = _spelled(first, body)
    if key is None:
        if others:
            return None
        found = ((group, _spelled(first, body[group])) for group in sorted(GROUPS & body.keys()))
        return next(((group, member) for group, member in found if member is not None), None)
    if key in GROUPS and others:
        member = _spelled(others[0], body[key])
        return None if member is None else (key, member)
    return (key,)


def rule(
    told: Rejected, body: Mapping[str, Any], protocol: str, own: Collection[str] = ()
) -> Rule | str | None:
    """What to do where ``body``, a request of an API of models, was refused for what is ``told``: a rule for it and for
    later ones, or why there is none. None where that is no parameter of the request: nothing is called so, or it is
    what the question says that was refused.

    ``own`` are the members that the version's configuration says itself.
    """
    path = located(told.name, body)
    if path is None:
        return None
    beside = located(told.beside, body) if told.beside else ()
    if beside is None:
        return None
    name = path[0]
    if name in QUESTION and told.value:
        return None
    if name in own:
        return f"the version's overrides have {name}: take it out of them"
    if name in QUESTION:
        return f"without {name} it would be asked something else"
    if name == "store" and protocol == Protocol.OPENAI_RESPONSES:
        return "without store the provider would keep the answer"
    value = _value(body, path)
    if path[-1] in LIMITS or (isinstance(value, Mapping) and LIMITS & value.keys()):
        if told.value:
            return f"say a {path[-1]} that it takes in the version's overrides"
        other = OTHER_NAMES.get(protocol, {}).get(name, "")
        if beside or not other:
            return f"without {path[-1]} nothing would limit what the answer costs"
        return Rule(path, instead=other)
    return Rule(path, _json(value) if told.value else None, beside)


def without(
    body: Mapping[str, Any], rules: Iterable[Rule]
) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """The request as the rules have it, the names of what it had and was left out, and of what goes by another name.
    What was null is left out without a name: it said nothing. ``body`` stays as it is."""
    body = dict(body)
    out: dict[str, None] = {}
    renamed: dict[str, None] = {}
    for each in rules:
        if not each.concerns(body):
            continue
        group, name = each.path[:-1], each.path[-1]
        holder: dict[str, Any] = body
        if group:
            holder = body[group[0]] = dict(body[group[0]])
        value = holder.pop(name)
        if group and not holder:
            del body[group[0]]
        if value is None:
            continue
        if each.instead and body.get(each.instead) is None:
            body[each.instead] = value
            renamed[each.name] = None
        else:
            out[each.name] = None
    return body, tuple(out), tuple(renamed)


def _holder(body: Mapping[str, Any], path: Path) -> Mapping[str, Any] | None:
    holder = body if len(path) == 1 else body.get(path[0])
    return holder if isinstance(holder, Mapping) else None


def _value(body: Mapping[str, Any], path: Path) -> Any:
    holder = _holder(body, path)
    return None if holder is None else holder.get(path[-1])


def _spelled(name: str, members: Any) -> str | None:
    """The member that is called so, in its own spelling."""
    if not isinstance(members, Mapping):
        return None
    if name in members:
        return name
    plain = _folded(name)
    return next((each for each in members if _folded(each) == plain), None)


def _folded(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
