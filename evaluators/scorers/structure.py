"""Answers with a structure: JSON documents and tool calls."""

import re
from typing import Any

import orjson

from shadowlane.evaluators.scorers.contract import both_scorer, pair_scorer
from shadowlane.schemas.events import Response

_FENCE = re.compile(r"\s*```(?:json|JSON)?[ \t]*\n(.*)\n[ \t]*```\s*\Z", re.DOTALL)
_NONE = object()


@both_scorer
def json_valid(
    request: Any, stable: Response, candidate: Response
) -> tuple[float | None, float | None] | tuple[None, None]:
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
def json_fields(request: Any, stable: Response, candidate: Response) -> float | None:
    """The share of leaves, by path, that are in both JSON documents and have the same value.

    Elements of arrays go by their position; an empty object or array is a leaf; 1 and 1.0 are the same, 1
    and true are not. With or without a ```` ```json ```` fence: ``json_valid`` minds that. Abstains where the
    stable answer is no JSON object or array; 0 where the candidate's is none.
    """
    ours = _any_document(stable.output)
    if ours is _NONE:
        return None
    theirs = _any_document(candidate.output)
    return 0.0 if theirs is _NONE else _agreement(_leaves(ours), _leaves(theirs))


@pair_scorer
def tool_calls(request: Any, stable: Response, candidate: Response) -> float | None:
    """The share of the tool calls' names and arguments on which both sides agree.

    Each call counts one for its name, and one for each leaf of its arguments, which say nothing under
    another name. The order of the calls does not matter. Abstains where neither side calls a tool.
    """
    if not (stable.tool_calls or candidate.tool_calls):
        return None
    return _agreement(_call_leaves(stable.tool_calls), _call_leaves(candidate.tool_calls))


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


Leaves = dict[tuple[Any, ...], Any]


def _leaves(document: Any) -> Leaves:
    """Path -> leaf. Keys are strings and positions integers, so that no two paths are the same."""
    found: Leaves = {}
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), document)]
    while waiting:  # a stack of its own: orjson reads deeper documents than Python recurses
        path, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting.extend(((*path, key), inner) for key, inner in value.items())
        elif isinstance(value, list) and value:
            waiting.extend(((*path, position), inner) for position, inner in enumerate(value))
        else:
            found[path] = value
    return found


def _agreement(ours: Leaves, theirs: Leaves) -> float:
    agreed = sum(path in theirs and _same(value, theirs[path]) for path, value in ours.items())
    return agreed / (len(ours) + sum(path not in ours for path in theirs))


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _call_leaves(calls: Any) -> Leaves:
    """The leaves of the calls, under their name and their rank among the calls of that name."""
    by_name: dict[str, list[tuple[str, Any]]] = {}
    for call in calls if isinstance(calls, list) else []:
        if isinstance(call, dict):
            arguments = call.get("arguments")
            document = _document(arguments) if isinstance(arguments, str) else arguments
            value = arguments if document is _NONE else document
            by_name.setdefault(str(call.get("name")), []).append((_canonical(value), value))
    found: Leaves = {}
    for name, named in by_name.items():
        for rank, (_, value) in enumerate(sorted(named, key=lambda item: item[0])):
            found[name, rank] = True
            if value not in ({}, None, ""):
                found.update({(name, rank, *path): leaf for path, leaf in _leaves(value).items()})
    return found


def _canonical(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except (TypeError, ValueError):  # a lone surrogate
        return repr(value)
