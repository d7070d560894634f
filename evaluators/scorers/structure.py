"""Answers with a structure: JSON documents and tool calls."""

import re
from typing import Any

import orjson

from shadowlane.evaluators.scorers.contract import both_scorer, pair_scorer
from shadowlane.schemas.events import Response

_FENCE = re.compile(r"\s*```(?:json|JSON)?[ \t]*\n(.*)\n[ \t]*```\s*\Z", re.DOTALL)
_NONE = object()


@both_scorer
def json_valid(request: Any, stable: Response, candidate: Response) -> tuple[float | None, float | None]:
    """1 for an answer that is a JSON object or array, 0 for another one.

    Abstains unless JSON is due: the request asks for it by ``response_format``, or the stable answer is
    JSON. A document within a ```` ```json ```` fence is valid only where the stable answer has a fence too:
    what reads the answers copes with what the stable version writes, and with nothing else for sure. A side
    that calls tools instead abstains.
    """
    bare, fenced = _document(stable.output), _fenced_document(stable.output)
    if bare is _NONE and fenced is _NONE and not asks_for_json(request):
        return None, None
    read = _any_document if fenced is not _NONE else _document

    def grade(answer: Response) -> float | None:
        if answer.tool_calls and not answer.output.strip():
            return None
        return float(read(answer.output) is not _NONE)

    return grade(stable), grade(candidate)


@pair_scorer
class JsonFields:
    """The share of leaves, by path, that are in both JSON documents and have the same value.

    ``ignore`` names fields that may differ, such as a free text: ``reply``, or ``answer.text`` for one within
    an object. Elements of arrays go by their position; two empty objects or arrays agree; 1 and 1.0 are the
    same, 1 and true are not. With or without a ```` ```json ```` fence: ``json_valid`` minds that. Abstains
    where the stable answer is no JSON object or array; 0 where the candidate's is none.
    """

    def __init__(self, ignore: list[str] | None = None) -> None:
        self._ignored = [path.split(".") for path in ignore or []]

    def __call__(self, request: Any, stable: Response, candidate: Response) -> float | None:
        ours = _any_document(stable.output)
        if ours is _NONE:
            return None
        theirs = _any_document(candidate.output)
        if theirs is _NONE:
            return 0.0
        for path in self._ignored:
            _take_out(ours, path)
            _take_out(theirs, path)
        return _agreement(ours, theirs)


@pair_scorer
def tool_calls(request: Any, stable: Response, candidate: Response) -> float | None:
    """The share of the tool calls' names and arguments on which both sides agree.

    Each call counts one for its name, and one for each leaf of its arguments, which say nothing under
    another name. The order of the calls does not matter. Abstains where neither side calls a tool.
    """
    ours, theirs = _calls(stable.tool_calls), _calls(candidate.tool_calls)
    return _agreement(ours, theirs) if ours or theirs else None


def asks_for_json(request: Any) -> bool:
    """Whether a chat request has ``response_format: {type: json_object | json_schema}``."""
    wanted = request.get("response_format") if isinstance(request, dict) else None
    return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")


def _document(text: str) -> Any:
    """The object or array that the text is; ``_NONE`` where it is neither."""
    if not text.lstrip().startswith(("{", "[")):
        return _NONE
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _NONE


def _fenced_document(text: str) -> Any:
    inner = _FENCE.match(text)
    return _document(inner.group(1)) if inner else _NONE


def _any_document(text: str) -> Any:
    bare = _document(text)
    return _fenced_document(text) if bare is _NONE else bare


def _take_out(document: Any, path: list[str]) -> None:
    """Removes one field from a document, where it is there."""
    for name in path[:-1]:
        document = document.get(name) if isinstance(document, dict) else None
    if isinstance(document, dict):
        document.pop(path[-1], None)


def _agreement(one: Any, other: Any) -> float:
    """The share of the leaves of either document that are in both, at the same path, with the same value.

    Without recursion, since orjson reads deeper documents than Python recurses, and without writing a path
    down, since a small text can hold many long ones.
    """
    agreed = total = 0
    waiting = [(one, other)]
    while waiting:
        ours, theirs = waiting.pop()
        if not (_branches(ours) or _branches(theirs)):
            total += 1
            agreed += bool(ours == theirs) and isinstance(ours, bool) == isinstance(theirs, bool)
        elif isinstance(ours, dict) and isinstance(theirs, dict):
            waiting.extend((value, theirs[key]) for key, value in ours.items() if key in theirs)
            total += sum(_leaves(value) for key, value in ours.items() if key not in theirs)
            total += sum(_leaves(value) for key, value in theirs.items() if key not in ours)
        elif isinstance(ours, list) and isinstance(theirs, list):
            waiting.extend(zip(ours, theirs, strict=False))
            longer = max(ours, theirs, key=len)
            total += sum(_leaves(value) for value in longer[min(len(ours), len(theirs)) :])
        else:  # what is a branch here is none there, or of another kind: no path in common
            total += _leaves(ours) + _leaves(theirs)
    return agreed / total


def _branches(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _leaves(document: Any) -> int:
    count, waiting = 0, [document]
    while waiting:
        value = waiting.pop()
        if _branches(value):
            waiting.extend(value.values() if isinstance(value, dict) else value)
        else:
            count += 1
    return count


def _calls(calls: Any) -> dict[str, list[list[Any]]]:
    """The calls as a document: by name, each of them ``[True, arguments]``, in an order of their own."""
    by_name: dict[str, list[list[Any]]] = {}
    for call in calls if isinstance(calls, list) else []:
        if isinstance(call, dict):
            arguments = call.get("arguments")
            document = _document(arguments) if isinstance(arguments, str) else arguments
            value = arguments if document is _NONE else document
            found = [True] if value in ({}, None, "") else [True, value]
            by_name.setdefault(str(call.get("name")), []).append(found)
    for named in by_name.values():
        named.sort(key=_canonical)
    return by_name


def _canonical(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError):  # a lone surrogate
        return repr(value).encode("utf-8", "surrogatepass")
