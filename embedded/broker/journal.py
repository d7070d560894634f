"""Small documents that change all the time, as one file of JSON lines: the last line of a name is what it is."""

import os
from collections.abc import Iterable
from pathlib import Path

import orjson

COMPACT_BYTES = 32 * 2**20


class Journal:
    """One file. A line that a kill cut off is dropped when it is read again; it was not acknowledged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()

    def read(self) -> dict[str, bytes]:
        """What each name is."""
        found: dict[str, bytes] = {}
        whole = 0
        with self._path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                name, text = orjson.loads(line)
                if text is None:
                    found.pop(name, None)
                else:
                    found[name] = text.encode()
        self._cut(whole)
        return found

    def write(self, name: str, body: bytes | None) -> None:
        """Sets the document ``body``, which is text, or None to delete it.

        Raises:
            OSError: the disk is full, or fails; the document is what it was.
        """
        line = orjson.dumps([name, None if body is None else body.decode()]) + b"\n"
        written = self._file.write(line)
        if written != len(line):
            self._cut(self._size)
            raise OSError(28, os.strerror(28))  # ENOSPC: a file takes a part of a line only where room ends
        self._size += len(line)

    def compact(self, documents: Iterable[tuple[str, bytes]]) -> None:
        """Writes the file anew where it has grown: ``documents`` is all that it holds.

        Raises:
            OSError: there is no room for it.
        """
        if self._size < COMPACT_BYTES:
            return
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as file:
            for name, body in documents:
                file.write(orjson.dumps([name, body.decode()]) + b"\n")
        temporary.replace(self._path)
        self._file.close()
        self._file = self._path.open("ab", buffering=0)
        self._size = self._file.tell()

    def _cut(self, size: int) -> None:
        os.truncate(self._path, size)
        self._size = size
