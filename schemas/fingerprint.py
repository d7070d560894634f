"""What an arm was asked with: fingerprints of model and parameters, prompt, and tools, and not of the question."""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from shadowlane.schemas.events import Protocol

_APIS = (
    Protocol.OPENAI_CHAT.value,
    Protocol.OPENAI_RESPONSES.value,
    Protocol.ANTHROPIC_MESSAGES.value,
    Protocol.BEDROCK_CONVERSE.value,
)

# The question itself, how the answer is delivered, and what says who asks.
_NOT_PARAMETERS = frozenset(
    {
        "messages",
        "input",
        "instructions",
        "system",
        "prediction",
        "stream",
        "stream_options",
        "user",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
        "store",
        "requestMetadata",
    }
)
_TOOLS = ("tools", "functions")
_SAID = ("messages", "input", "system", "instructions", *_TOOLS)
_DIGITS = 12
_KNOWN = 256  # a service asks in few ways
_NOT_ITS_OWN = _NOT_PARAMETERS.union(_TOOLS)
_SYSTEM = ("system", "developer")
_EMPTY: Mapping[str, Any] = {"type": "object", "properties": {}}
_EXACT = 2**53  # from here on not every integer has a float of its own
_WHOLE_FLOAT = re.compile(rb"\.0(?:[,\]}]|$)")


def fingerprint(body: Any, protocol: str = _APIS[0]) -> str:
    """``model and parameters-prompt-tools`` of the body of a model's request, each twelve hex digits; ``""`` of
    anything else.

    What it has none of is empty, and the hyphens at the end are left out. Two requests have the same one if and only
    if an arm would be asked both in the same way: the order of the keys is nothing, a parameter that is null is one
    that is absent, and 1.0 is 1. The prompt is the system's, at the beginning; its text, and what each function of the
    service's is called, says of itself and takes, have the same digits in every API.
    """
    if not isinstance(
        body, (dict, Mapping)
    ):  # a dict first: to ask an abstract class takes longer than the rest
        return ""
    if protocol not in _APIS:
        return ""
    prints = _of_parameters(body, protocol)
    if protocol == _APIS[3]:
        tools = _of_converse(body)
    else:
        tools = [body[name] for name in _TOOLS if body.get(name) is not None]
    prompt = _prompt(body, protocol)
    if not (prompt or tools):
        return prints
    told = _digest("\n".join(prompt).encode("utf-8", "surrogatepass")) if prompt else ""
    offered = _digest(_json([_offered(each) for each in tools])) if tools else ""
    return f"{prints}-{told}-{offered}".rstrip("-")


def fingerprint_beside(
    body: Any, protocol: str, other: Any, of_other: str, known: dict[str, str] | None = None
) -> str:
    """`fingerprint` of a body that was made of ``other``, a request of the same API whose own is ``of_other``: of
    OpenAI's or Anthropic's, which have their tools in the same place.

    Where both have the very same prompt and tools, these are not read again; nor are the parameters, where ``known``
    has those that were made of the same ones. It is the caller's, one for each way in which bodies are made, and is
    kept small here.
    """
    if not of_other or not isinstance(body, dict) or not isinstance(other, dict):
        return fingerprint(body, protocol)
    for name in _SAID:
        if body.get(name) is not other.get(name):
            return fingerprint(body, protocol)
    known, made_of = {} if known is None else known, of_other[:_DIGITS]
    prints = known.get(made_of)
    if prints is None:
        if len(known) >= _KNOWN:
            known.clear()
        known[made_of] = prints = _of_parameters(body, protocol)
    return prints + of_other[_DIGITS:]


def differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Parameter -> (its value in ``one``, in ``two``), None where it is absent. Empty if the fingerprints agree."""
    ours, theirs = _parameters(one), _parameters(two)
    return {
        name: (ours.get(name), theirs.get(name))
        for name in sorted(ours.keys() | theirs.keys())
        if _json(ours.get(name)) != _json(theirs.get(name))
    }


def _prompt(body: Mapping[str, Any], protocol: str) -> list[str]:
    """The texts with which the system instructs the model before anybody speaks."""
    found: list[str] = []
    first = body.get("instructions") if protocol == _APIS[1] else None
    if protocol in _APIS[2:]:
        first = body.get("system")
    if first:
        found += _texts(first)
    spoken = body.get("input" if protocol == _APIS[1] else "messages") if protocol not in _APIS[2:] else None
    if isinstance(spoken, list):
        for message in spoken:
            if not isinstance(message, dict) or message.get("role") not in _SYSTEM:
                break
            found += _texts(message.get("content"))
    return found


def _texts(content: Any) -> list[str]:
    """The texts of a message; of a part that is none, its JSON."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return [] if content is None else [_json(content).decode()]
    return [
        part["text"] if isinstance(part, dict) and isinstance(part.get("text"), str) else _json(part).decode()
        for part in content
        if not _cached(part)
    ]


def _of_converse(body: Mapping[str, Any]) -> list[Any]:
    """The tools of a request of Bedrock's Converse, which has them beside the choice among them."""
    config = body.get("toolConfig")
    tools = config.get("tools") if isinstance(config, dict) else None
    if not isinstance(tools, list):
        return [] if tools is None else [tools]
    return [tools] if (tools := [tool for tool in tools if not _cached(tool)]) else []


def _cached(part: Any) -> bool:
    """Whether it says only that Bedrock keeps what stands before it: Anthropic has that within the part."""
    return isinstance(part, dict) and part.keys() == {"cachePoint"}


def _offered(tools: Any) -> Any:
    """Tools in one form for every API, where they are functions of the service's."""
    return [_function(tool) for tool in tools] if isinstance(tools, list) else tools


def _function(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    about, kind = tool.get("function"), tool.get("type")
    if isinstance(spec := tool.get("toolSpec"), dict):  # Bedrock's
        schema = spec.get("inputSchema")
        about = {**spec, "parameters": schema.get("json") if isinstance(schema, dict) else schema}
    if not isinstance(about, dict):
        if kind not in (None, "function", "custom") or not isinstance(tool.get("name"), str):
            return tool
        about = tool
    schema = about.get("parameters") or about.get("input_schema") or None
    return [about.get("name"), about.get("description") or None, None if schema == _EMPTY else schema]


def _of_parameters(body: Mapping[str, Any], protocol: str) -> str:
    parameters = {key: value for key, value in body.items() if key not in _NOT_ITS_OWN and value is not None}
    if protocol != _APIS[0]:
        parameters[""] = protocol  # no parameter is called that
        if isinstance(config := parameters.get("toolConfig"), dict):  # without the tools that are in it
            rest = {name: value for name, value in config.items() if name != "tools" and value is not None}
            del parameters["toolConfig"]
            parameters |= {"toolConfig": rest} if rest else {}
    return _digest_of(orjson.dumps(parameters))


@lru_cache(_KNOWN)  # it writes each in the same order
def _digest_of(written: bytes) -> str:
    return _digest(_json(orjson.loads(written)))


@lru_cache(_KNOWN)
def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_DIGITS]


def _parameters(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in _NOT_PARAMETERS and value is not None}


def _json(value: Any) -> bytes:
    """JSON in one form: keys in order, and one kind of number, as a service writes 1.0 where a file says 1."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    if _WHOLE_FLOAT.search(
        text
    ):  # or a text that looks like one; seldom, and going through all of it takes time
        text = orjson.dumps(_whole(value), option=orjson.OPT_SORT_KEYS)
    return text


def _whole(value: Any) -> Any:
    if type(value) is float and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items()}
    return value
