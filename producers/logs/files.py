"""Log files as JSON, one value after the other: JSON lines, an array, or one document; gzip, zstd, standard input."""

import gzip
import io
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from shadowlane.errors import CodecError, ConfigError

LISTS = ("data", "requests")
"""Where a document of an API has its list: a page of Langfuse's, the body of a batch of Anthropic's."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or standard input. ``name`` is in messages and in ids: below the directory that was given."""

    path: Path
    name: str

    @property
    def is_stdin(self) -> bool:
        return str(self.path) == "-"


@dataclass(frozen=True, slots=True)
class Value:
    """``number`` is of the line, or in a list of the element, from 1. ``raw`` is its text, to tell it from others."""

    number: int
    raw: bytes
    json: Any


def find_sources(paths: list[Path]) -> list[Source]:
    """The files, and those below the directories, by name; those whose names begin with a dot are left out.

    Raises:
        ConfigError: one is not there, or two have one name.
    """
    found: list[Source] = []
    for path in paths:
        if path.is_dir():
            below = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
            found += [Source(p, str(p.relative_to(path))) for p in below]
        else:
            found.append(Source(path, path.name))
    names = Counter(source.name for source in found)
    for source in found:
        if names[source.name] > 1:
            raise ConfigError(
                f"{source.path}: two files are called {source.name}; name the directory that has both, so that their "
                "lines are told apart"
            )
        if not source.is_stdin:
            try:
                source.path.open("rb").close()
            except OSError as exc:
                raise ConfigError(f"{source.path}: can't be read ({exc.strerror})") from exc
    return found


def values(source: Source) -> Iterator[Value | tuple[int, CodecError]]:
    """The JSON values of a file in their order; for a line that is none (its number, why).

    Raises:
        ConfigError: it can't be read.
    """
    try:
        with ExitStack() as stack:
            yield from _values(_opened(source, stack))
    except (OSError, EOFError, zlib.error) as exc:
        raise ConfigError(f"{source.path}: can't be read to its end ({exc})") from exc


def _values(lines: BinaryIO) -> Iterator[Value | tuple[int, CodecError]]:
    number = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            # No line of JSON: a document over several lines, and so it has to be held whole; or a line that is broken.
            yield from _document(line + lines.read(), number)
            return
        listed = _listed(found)
        if listed is None:
            yield Value(number, line.strip(), found)
            break
        yield from listed
        return
    yield from _each_line(lines, number + 1)


def _document(text: bytes, number: int) -> Iterator[Value | tuple[int, CodecError]]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _each_line(text.splitlines(), number)
    listed = _listed(found)
    return iter([Value(number, text.strip(), found)]) if listed is None else listed


def _each_line(lines: Iterable[bytes], first: int) -> Iterator[Value | tuple[int, CodecError]]:
    for number, line in enumerate(lines, start=first):
        if line.strip():
            try:
                yield Value(number, line.strip(), orjson.loads(line))
            except orjson.JSONDecodeError as exc:
                yield number, CodecError(f"not JSON: {exc}")


def _listed(found: Any) -> Iterator[Value] | None:
    """The elements of a document that is a list, or holds one as an API's page does."""
    elements = found if isinstance(found, list) else None
    if isinstance(found, dict):
        elements = next((found[name] for name in LISTS if isinstance(found.get(name), list)), None)
    if elements is None:
        return None
    return (Value(number, orjson.dumps(each), each) for number, each in enumerate(elements, start=1))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _opened(source: Source, stack: ExitStack) -> BinaryIO:
    raw: Any = sys.stdin.buffer if source.is_stdin else stack.enter_context(source.path.open("rb"))
    buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)
    magic = buffered.peek(4)[:4]
    if magic.startswith(b"\x1f\x8b"):
        return io.BufferedReader(stack.enter_context(gzip.GzipFile(fileobj=buffered)))
    if magic == b"\x28\xb5\x2f\xfd":
        return stack.enter_context(_zstd(source, buffered))
    return buffered


def _zstd(source: Source, compressed: BinaryIO) -> BinaryIO:
    try:
        import zstandard
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"{source.path}: is compressed with zstd, which needs: pip install zstandard"
        ) from exc
    reader = zstandard.ZstdDecompressor().stream_reader(compressed, read_across_frames=True)
    return io.BufferedReader(reader)
