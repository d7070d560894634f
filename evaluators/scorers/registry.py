"""Finding scorers by name, and making them with their options.

The built-in ones are in a table here rather than entry points of shadowlane itself, so that they are there
in a source tree too, and cost no look at the installed packages. A user's scorer is an entry point of the
group ``shadowlane.scorers``, whose name is the one that the configuration uses.
"""

import difflib
import functools
import importlib.metadata
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import pydantic

from shadowlane.errors import ConfigError
from shadowlane.evaluators.scorers import answer, structure, text, usage
from shadowlane.evaluators.scorers.contract import Mark, mark_of
from shadowlane.schemas.config import Price

GROUP = "shadowlane.scorers"
BUILTINS: dict[str, Callable[..., Any]] = {
    "answered": answer.answered,
    "refusal": answer.refusal,
    "truncation": answer.truncation,
    "error": answer.error,
    "exact": text.exact,
    "normalised": text.normalised,
    "fuzzy": text.fuzzy,
    "length_ratio": text.length_ratio,
    "json_valid": structure.json_valid,
    "json_fields": structure.JsonFields,
    "tool_calls": structure.tool_calls,
    "latency": usage.latency,
    "input_tokens": usage.input_tokens,
    "output_tokens": usage.output_tokens,
    "cost": usage.Cost,
}
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def find(name: str, where: str) -> tuple[Callable[..., Any], Mark]:
    """The scorer of a name, as it was written, and its mark. ``where`` is its place in the configuration.

    Raises:
        ConfigError: no scorer, or more than one, has that name; or it can't be loaded, or is no scorer.
    """
    installed: dict[str, dict[str, importlib.metadata.EntryPoint]] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        installed.setdefault(entry.name, {})[entry.value] = entry  # a package that is seen twice is one
    entries = list(installed.get(name, {}).values())
    if name in BUILTINS and entries:
        raise ConfigError(
            f"{where}: {name!r} is a scorer of shadowlane's own, and {_origin(entries[0])} has another one of "
            f"that name: rename its entry point in the group {GROUP}"
        )
    if name in BUILTINS:
        target, origin = BUILTINS[name], "shadowlane"
    elif len(entries) == 1:
        target, origin = _load(entries[0], where), _origin(entries[0])
    elif entries:
        raise ConfigError(
            f"{where}: {name!r} names several scorers, of {' and of '.join(map(_origin, entries))}: rename one"
        )
    else:
        known = sorted({*BUILTINS, *installed})
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(
            f"{where}: no scorer is called {name!r}; {hint}Known here: {', '.join(known)}. "
            f"Your own one is an entry point in the group {GROUP}, of a package installed here"
        )
    mark = mark_of(target)
    if mark is None:
        raise ConfigError(
            f"{where}: {name!r} ({origin}) is no scorer: mark it with @side_scorer, @pair_scorer or @both_scorer"
        )
    return target, mark


def make(
    target: Callable[..., Any],
    mark: Mark,
    options: Mapping[str, Any],
    prices: Mapping[str, Price],
    where: str,
) -> Callable[..., Any]:
    """The scorer with its options, to be called with the arguments of its kind.

    Options are checked against the parameters' annotations and converted as pydantic does.

    Raises:
        ConfigError: an option that the scorer does not have, that it needs and is missing, or of the wrong
            type; a class that refuses its options; or a scorer that can't be called with its arguments.
    """
    is_class = inspect.isclass(target)
    function: Any = inspect.getattr_static(target, "__call__") if is_class else target
    taken = len(mark.kind.arguments)
    signature = list(inspect.signature(function).parameters.values())[1 if is_class else 0 :]
    positional = [p for p in signature if p.kind in _POSITIONAL]
    takes_rest = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in signature)
    if inspect.iscoroutinefunction(function) or (len(positional) < taken and not takes_rest):
        expected = f"({', '.join(mark.kind.arguments)})"
        raise ConfigError(
            f"{where}: a scorer of kind {mark.kind} is called as a plain function of {expected}; "
            f"this is {'async ' if inspect.iscoroutinefunction(function) else ''}"
            f"({', '.join(p.name for p in signature)})"
        )
    if is_class:
        parameters = list(inspect.signature(target).parameters.values())
    else:
        parameters = [p for p in signature if p not in positional[:taken]]
    accepted = {p.name: p for p in parameters if p.kind in _NAMED}
    given = _checked(target, accepted, options, where)
    if "prices" in accepted:
        given["prices"] = prices
    if not is_class:
        return functools.partial(target, **given) if given else target
    try:
        made: Any = target(**given)
    except Exception as exc:
        raise ConfigError(f"{where}.options: {type(exc).__name__}: {exc}") from exc
    if not callable(made):
        raise ConfigError(
            f"{where}: the class {target.__name__} needs a __call__({', '.join(mark.kind.arguments)})"
        )
    return typing.cast("Callable[..., Any]", made)


def find_and_make(
    name: str, options: Mapping[str, Any], prices: Mapping[str, Price], where: str
) -> Callable[..., Any]:
    """:func:`find`, then :func:`make`: what another process needs to have the same scorer. Raises ConfigError."""
    return make(*find(name, where), options, prices, where)


def _checked(
    target: Callable[..., Any],
    accepted: Mapping[str, inspect.Parameter],
    options: Mapping[str, Any],
    where: str,
) -> dict[str, Any]:
    known = sorted(accepted.keys() - {"prices"})
    types = _annotations(target)
    for name, parameter in accepted.items():
        if parameter.default is inspect.Parameter.empty and name not in options and name != "prices":
            raise ConfigError(f"{where}.options.{name}: is missing: add it")
    given = {}
    for name, value in options.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known) or 'none'}"
            raise ConfigError(f"{where}.options.{name}: unknown option; {hint}")
        try:
            given[name] = pydantic.TypeAdapter(types.get(name, Any)).validate_python(value)
        except pydantic.ValidationError as exc:
            raise ConfigError(
                f"{where}.options.{name}: {exc.errors()[0]['msg']} (it is {value!r:.80})"
            ) from exc
        except pydantic.PydanticUserError:  # an annotation of a class that pydantic knows nothing of
            given[name] = value
    return given


def _annotations(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):  # names that exist for type checkers alone: then nothing is checked
        return {}


def _load(entry: importlib.metadata.EntryPoint, where: str) -> Callable[..., Any]:
    try:
        loaded: Callable[..., Any] = entry.load()
    except Exception as exc:
        raise ConfigError(
            f"{where}: the scorer {entry.name!r} of {_origin(entry)} can't be loaded: {type(exc).__name__}: {exc}"
        ) from exc
    return loaded


def _origin(entry: importlib.metadata.EntryPoint) -> str:
    return f"{entry.dist.name} ({entry.value})" if entry.dist else entry.value
