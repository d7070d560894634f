"""What is wrong in a configuration, said so that it can be mended: file, line, key, what to write."""

import difflib
import os
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import yaml

from shadowlane.errors import ConfigError

Location = tuple[str | int, ...]
_QUOTED = re.compile(r"'([^']*)'")


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[Location, int]]:
    """A YAML file's content, and the line (from 1) of each key in it.

    Raises:
        ConfigError: it can't be read, or is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except OSError as exc:
        raise ConfigError(f"{path}: can't be read ({exc.strerror}): name a file that is there") from exc
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not YAML: {getattr(exc, 'problem', None) or exc}") from exc
    if content is None:
        return {}, {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(
            f"{path}: a configuration is made of sections (kafka:, rollouts:, …), not {content!r:.40}"
        )
    lines: dict[Location, int] = {}
    twice = []
    for location, line in _lines(node, ()):
        if location in lines:  # YAML's reader would keep the last one, and say nothing
            first = lines[location]
            twice.append(
                f"{path}:{line}: {dotted(location)}: is there twice (first in line {first}): take one out"
            )
        lines.setdefault(location, line)
    if twice:
        raise ConfigError("\n".join(twice))
    return content, lines


def _lines(node: yaml.Node | None, at: Location) -> Iterator[tuple[Location, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*at, key.value)
            yield here, key.start_mark.line + 1
            yield from _lines(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            here = (*at, number)
            yield here, value.start_mark.line + 1
            yield from _lines(value, here)


def explain(
    error: pydantic.ValidationError, lines: dict[Location, int], source: str, model: type[pydantic.BaseModel]
) -> list[str]:
    """One line for each thing that is wrong: ``file:line: key: what; remedy``."""
    return [_explain_one(dict(e), lines, source, model) for e in error.errors()]


def _explain_one(
    error: dict[str, Any], lines: dict[Location, int], source: str, model: type[pydantic.BaseModel]
) -> str:
    location: Location = error["loc"]
    if error["type"] == "value_error" and isinstance(error["input"], dict):
        location += _meant(str(error["msg"]), error["input"])
    variable = "SHADOWLANE_" + "__".join(str(part).upper() for part in location)
    where = place(location, lines, source) if location else source
    if variable in os.environ:
        where = f"environment: {variable}"
    return f"{where}: {_what(error, location, model)}"


def _what(error: dict[str, Any], location: Location, model: type[pydantic.BaseModel]) -> str:
    kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
    context = error.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys(model, location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known) or 'nothing'}"
        return f"unknown key; {hint}"
    if kind == "missing":
        return "is missing: add it"
    if kind == "string_pattern_mismatch":
        return f"{error['input']!r} does not fit; write something of the form {context.get('pattern')}"
    if kind == "literal_error":
        return f"{error['input']!r} is none of {context.get('expected')}"
    value = "" if kind == "value_error" else f" (it is {error['input']!r:.80})"
    return f"{message[:1].lower()}{message[1:]}{value}"


def _meant(message: str, section: dict[str, Any]) -> Location:
    """The place in a section of which a fault of the whole section speaks: of a key or value that it quotes.

    A word's place is where it is declared, the least deep; of two that are called the same the last. Of several
    words the one whose place is deepest says most.
    """
    meant: Location = ()
    for word in _QUOTED.findall(message):
        places = [at for at, name in _words(section, ()) if name == word]
        declared = min(reversed(places), key=len, default=())
        meant = max(meant, declared, key=len)
    return meant


def _words(node: Any, at: Location) -> Iterator[tuple[Location, str]]:
    """Every key and text in a part of the configuration, in the order of the file."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield (*at, name), str(name)
            yield from _words(value, (*at, name))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _words(value, (*at, number))
    elif isinstance(node, str):
        yield at, node


def place(location: Location, lines: dict[Location, int], source: str) -> str:
    """``file:line: key`` of a place in a file; the line of what it stands in, where it is not there itself."""
    within = (location[:n] for n in range(len(location), 0, -1))
    line = next((lines[outer] for outer in within if outer in lines), None)
    return f"{source}: {dotted(location)}" if line is None else f"{source}:{line}: {dotted(location)}"


def dotted(location: Location) -> str:
    """``("rollouts", 0, "margin")`` as ``rollouts[0].margin``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _keys(model: type[pydantic.BaseModel], location: Location) -> list[str]:
    """The keys that are known at a place of the configuration."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            current = _inner(current)
            continue
        fields = getattr(current, "model_fields", {})
        current = fields[part].annotation if part in fields else _inner(current)
    fields = getattr(current, "model_fields", None)
    return sorted(fields) if fields else []


def _inner(annotation: Any) -> Any:
    arguments = [a for a in typing.get_args(annotation) if a is not type(None)]
    return arguments[-1] if arguments else None
