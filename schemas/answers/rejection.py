"""Which parameters of a request a provider says that it does not take, from the body of its refusal. Pure.

There is no standard: OpenAI has ``param`` and ``code``, services on FastAPI a list with the place of each, and the
others a sentence. Gateways pass these on as text, as JSON within text, or within a sentence of their own. What is read
here is what people have reported of OpenAI, Azure, Anthropic, Bedrock, Gemini, xAI, Groq, Cerebras, Fireworks, Mistral,
vLLM and LiteLLM; of anything else nothing is found, and the refusal is a failure like any other.

The names are the provider's: whether the request has such a parameter, and can do without, is for
:mod:`shadowlane.schemas.requests.parameters` to say.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

STATUSES = frozenset({400, 422})
"""With which a provider refuses a request for what is in it."""

MAX_BODY = 2**18  # of a longer one the beginning is read as text
MAX_TEXT = 2000  # of one text; a server may repeat the whole request in each of a thousand errors
MAX_FOUND = 32
MAX_DEPTH = 8


class Rejected(NamedTuple):
    """A parameter that a provider does not take: its name, with dots where it is a member of another."""

    name: str
    value: bool = False  # it takes the parameter, and not with this value
    beside: str = ""  # it takes it, and not together with this one


# Where the errors are, and not what the request said, which some repeat.
_WITHIN = (
    *("error", "errors", "message", "detail", "details", "msg", "description", "fieldViolations"),
    *("metadata", "raw", "upstream_error", "innererror", "param"),
)
_CODES = {
    "unsupported_parameter": False,
    "unknown_parameter": False,
    "unsupported_value": True,
    "invalid_value": True,
}
_EXTRA = frozenset({"extra_forbidden", "value_error.extra"})

# Of a bounded length, and begun where no name goes on: what a server sends must not take long to look through.
_NAME = r"(?<![\w.\[\]-])([A-Za-z_][\w.\[\]/-]{0,119})"
_QUOTED = rf"[`'\"]?{_NAME}[`'\"]?"


def _texts(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern) for pattern in patterns)


_ONE = _texts(
    rf"(?:Unsupported|Unknown|unsupported|unknown) parameter: {_QUOTED}",  # OpenAI
    rf"Invalid parameter: {_QUOTED} of type \S+ is not supported",
    rf"(?<!of type )['`\"]{_NAME}['`\"] is not supported (?:with|by|for|on|in) (?:this|the) ",
    rf"[Aa]rgument not supported on this model: {_QUOTED}",  # xAI
    rf"does(?: not|n't) support (?:the )?parameter:? {_QUOTED}",
    rf"does(?: not|n't) support the {_QUOTED} (?:parameter|field)",  # Anthropic, Bedrock
    rf"The {_QUOTED} parameter is unsupported",  # xAI
    rf"{_QUOTED} is deprecated (?:for|in|on) this model",
    rf"Extra inputs are not permitted, field: {_QUOTED}",  # Fireworks
    rf"[Uu]nknown field {_QUOTED}",  # serde, Go
)
_VALUE = _texts(
    rf"Unsupported value: {_QUOTED} does not support",
    rf"{_NAME} '[^']{{0,80}}' is not supported when",  # Anthropic's output_config.effort
    rf"{_NAME}: (?:Input should be |range: |\d{{1,9}} > \d{{1,9}}, which is the maximum)",
    rf"{_QUOTED} is too large: \d",  # OpenAI
    rf"parameter {_QUOTED} specified in the request (?:is|are) not valid",  # Volcengine
    rf"at {_QUOTED} failed to satisfy constraint",  # Bedrock
    r"#/([\w/]{1,120}): expected type",
    r"\('([\w.]{1,120})' : value is not one of the allowed values",  # Groq
    r"This (response_format) type is unavailable",  # DeepSeek
)
_WITHOUT_A_NAME = (  # in the words of the texts, and the parameter that is meant
    ("does not support response format", "response_format"),
    ("maximum tokens you requested exceeds the model limit", "maxTokens"),
)
_PLACED = _texts(  # the second group, if there is one, says within what
    rf"{_NAME}: Extra inputs are not permitted",
    rf"Unknown name {_QUOTED}(?: at ['\"]([^'\"]{{1,200}})['\"])?: Cannot find field",  # Gemini
    rf"property {_QUOTED} is unsupported",
    r"extraneous key \[([^\]]{1,120})\] is not permitted",
)
_MANY = _texts(
    r"Unrecognized request arguments? supplied: ([\w., -]+)",  # Azure, OpenAI
    r"does not support parameters: [\[{]([^\]}]*)[\]}]",  # LiteLLM
)
_BOTH = re.compile(rf"{_QUOTED} and {_QUOTED} cannot both be specified")
_THINKING = re.compile(rf"{_QUOTED} may only be set to \S{{1,9}} when [`'\"]?thinking[`'\"]? is enabled")
_GROQ = re.compile(r"\('([^']{1,120})' : (property '[^']{1,120}' is unsupported)")
_MALFORMED = re.compile(r"#/([\w/]{1,120}): extraneous key \[[^\]]{1,120}\] is not permitted")
_LOCATED = re.compile(r"['\"]([\w.]{1,60})['\"],\s?['\"]loc['\"]:\s?[(\[]([^)\]]{0,300})[)\]]")
_ITEM = re.compile(r"'([^']*)'|\"([^\"]*)\"|(\d+)")
_LISTED = re.compile(r"\s*['\"]?([A-Za-z_][\w.-]*)")
_DEFAULT_ALONE = "Only the default"


def rejected(body: bytes) -> tuple[Rejected, ...]:
    """The parameters that a refusal (a status of :data:`STATUSES`) names, each once, in its order; none where it
    refuses something else, or does not say what."""
    document: Any = body[:MAX_TEXT].decode("utf-8", "replace")
    if len(body) <= MAX_BODY:
        with contextlib.suppress(orjson.JSONDecodeError):
            document = orjson.loads(body)
    found: dict[Rejected, None] = {}
    for each in _read(document, 0):
        found[each] = None
        if len(found) == MAX_FOUND:
            break
    return tuple(found)


def _read(document: Any, depth: int) -> Iterator[Rejected]:
    if depth > MAX_DEPTH:
        return
    if isinstance(document, str):
        yield from _said(document, depth)
    elif isinstance(document, list):
        for each in document[: 4 * MAX_FOUND]:
            yield from _read(each, depth + 1)
    elif isinstance(document, dict):
        if (coded := _coded(document)) is not None:
            yield coded
            return
        kind, place = document.get("type"), document.get("loc")
        if isinstance(kind, str) and isinstance(place, list):
            yield Rejected(_dotted(place), kind not in _EXTRA)
            return
        for name in _WITHIN:
            if name in document:
                yield from _read(document[name], depth + 1)


def _coded(error: dict[str, Any]) -> Rejected | None:
    """OpenAI's own form."""
    code, name = error.get("code"), error.get("param")
    if not isinstance(code, str) or code not in _CODES or not isinstance(name, str) or not name:
        return None
    # Where the default alone is taken, to leave the parameter out says the same, whatever its value was.
    return Rejected(_plain(name), _CODES[code] and _DEFAULT_ALONE not in str(error.get("message")))


def _said(text: str, depth: int) -> Iterator[Rejected]:
    text = text[:MAX_TEXT]
    if text.lstrip()[:1] in ("{", "["):
        try:
            within = orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
        else:
            yield from _read(within, depth + 1)
            return
    text = text.replace("\\", "")  # of JSON within a text: its quotes
    located = _LOCATED.findall(text)
    for kind, place in located:
        within = [one or two or three for one, two, three in _ITEM.findall(place)]
        yield Rejected(_dotted(within), kind not in _EXTRA)
    if located:
        return
    text = _GROQ.sub(lambda m: m[2].replace("'", f"'{m[1]}.", 1), text)
    text = _MALFORMED.sub(lambda m: f"extraneous key [{m[1]}] is not permitted", text)
    for pattern in _ONE:
        for name in pattern.findall(text):
            yield Rejected(_plain(name))
    for pattern in _VALUE:
        for name in pattern.findall(text):
            yield Rejected(_plain(name), _DEFAULT_ALONE not in text)
    for pattern in _PLACED:
        for match in pattern.finditer(text):
            within = match[2] if pattern.groups > 1 else None
            yield Rejected(_plain(match[1] if within in (None, match[1]) else f"{within}.{match[1]}"))
    for pattern in _MANY:
        for names in pattern.findall(text):
            for each in names.split(","):
                if listed := _LISTED.match(each):
                    yield Rejected(_plain(listed[1]))
    for words, name in _WITHOUT_A_NAME:
        if words in text:
            yield Rejected(name, value=True)
    for one, other in _BOTH.findall(text):
        yield Rejected(_plain(other), beside=_plain(one))
    for name in _THINKING.findall(text):
        yield Rejected(_plain(name), value=True, beside="thinking")


def _dotted(place: list[Any]) -> str:
    return _plain(".".join(str(each) for each in place))


def _plain(name: str) -> str:
    """``body.input[3].status`` as ``input.3.status``."""
    name = name.replace("[", ".").replace("]", "").replace("/", ".").strip(".")
    return name.removeprefix("body.")
