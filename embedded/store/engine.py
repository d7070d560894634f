"""chDB behind one door: it owns the data directory, and runs one query per connection.

A connection costs 0.1 ms, and settings, parameters and the current database are its own; so each
query gets a new one, and nothing of a query can reach the next. Connections run in parallel.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import chdb

from shadowlane.embedded.store.problem import from_engine, refused
from shadowlane.embedded.store.request import Query
from shadowlane.embedded.store.statement import from_file, output_format
from shadowlane.errors import StoreError

# Where the embedded engine's defaults are not what the HTTP interface needs: an insert is answered
# when its rows are stored, and `SELEC 1` is a syntax error rather than an expression.
_DEFAULTS = {"async_insert": "0", "implicit_select": "0"}


@dataclass(slots=True)
class Running:
    """A query under way. ``can_be_killed`` turns true once it is known to change nothing."""

    comment: str
    can_be_killed: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a query gave: ``body`` in ``format``, which is None for a statement without a result."""

    body: bytes
    format: str | None
    summary: dict[str, str]


class Engine:
    """The engine over one directory. ``execute`` and ``kill`` may be called from any thread."""

    def __init__(self, data: Path) -> None:
        """Open ``data``, made if it is not there. Raises StoreError if it can't be, or if it is in use."""
        self._lock = _lock(data)
        self._path = str(data / "engine")
        try:
            # Held open for as long as the engine is to live: merges run in it.
            self._keeper = chdb.connect(self._path)
            self.version, self.timezone, self.host = (
                self._keeper.query("SELECT version(), timezone(), hostName()", "TabSeparated")
                .bytes()
                .decode()
                .strip()
                .split("\t")
            )
        except Exception as exc:
            os.close(self._lock)
            raise StoreError(f"chDB can't open the data in {data}: {exc}") from exc

    def close(self) -> None:
        """Close the engine, and let go of the directory. No query may be running."""
        self._keeper.close()
        os.close(self._lock)

    def execute(self, query: Query, running: Running) -> Result:
        """Run one query to its end. Raises Problem with ClickHouse's code if it fails."""
        with self._connection() as connection:
            _prepare(connection, query)
            if query.insert_format is not None:
                return _insert(connection, query, query.insert_format)
            # The public connection has no such question. It parses, and runs nothing.
            kind = connection._conn.classify_query(query.sql.decode(errors="replace"))
            if kind["statement_count"] > 1:
                raise refused(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
            reads = kind["query_class"].name == "READ_ONLY"
            running.can_be_killed = reads
            result = connection.query(query.sql, query.default_format)
            # A copy: chDB's view of a result does not keep its memory.
            body: bytes = result.bytes()
            written = reads or len(body) > 0
            return Result(
                body=body,
                format=output_format(query.sql, query.default_format) if written else None,
                summary=_summary(
                    result.rows_written(),
                    result.bytes_written(),
                    result.elapsed(),
                    read_rows=result.storage_rows_read(),
                    read_bytes=result.storage_bytes_read(),
                    result_rows=result.rows_read(),
                    result_bytes=len(body),
                ),
            )

    def kill(self, comment: str | None = None) -> None:
        """Tell the query with this comment to stop, or all of them. It stops soon, not at once."""
        which = f"Settings['log_comment'] = {_quote(comment)}" if comment else "1"
        with self._connection() as connection:
            connection.query(f"KILL QUERY WHERE {which} ASYNC", "TabSeparated")

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        connection = chdb.connect(self._path)
        try:
            yield connection
        except (RuntimeError, chdb.ChdbError) as exc:
            raise from_engine(exc, self.version) from exc
        except UnicodeDecodeError as exc:  # the engine's error quotes the data, which need not be UTF-8
            error = RuntimeError(bytes(exc.object).decode(errors="replace"))
            raise from_engine(error, self.version) from exc
        finally:
            connection.close()


def _prepare(connection: Any, query: Query) -> None:
    if query.database:
        connection.query(f"USE {_quote(query.database, '`')}", "TabSeparated")
    names = _DEFAULTS | dict(query.settings) | {"log_comment": query.comment}
    names |= {f"param_{name}": value for name, value in query.parameters.items()}
    for name in names:
        if not name.isidentifier() or not name.isascii():
            raise refused(115, "UNKNOWN_SETTING", f"Unknown setting {_quote(name)}")
    assignments = ", ".join(f"{name} = {_quote(value)}" for name, value in names.items())
    connection.query(f"SET {assignments}", "TabSeparated")


def _insert(connection: Any, query: Query, format_name: str) -> Result:
    # From a file that is memory alone. The two other ways do not hold: chDB's send_insert drops an error that
    # comes after parsing (a constraint, a full disk) and says that all was written, and data within the
    # statement ends at an empty line.
    with _in_memory() as file:
        file.write(query.data)
        file.flush()
        file.seek(0)
        text = from_file(query.sql.decode(), f"/dev/fd/{file.fileno()}", format_name)
        result = connection.query(text, "Null")
    return Result(b"", None, _summary(result.rows_written(), result.bytes_written(), result.elapsed()))


def _in_memory() -> BinaryIO:
    if hasattr(os, "memfd_create"):  # Linux
        return os.fdopen(os.memfd_create("insert"), "w+b")
    return cast(BinaryIO, tempfile.TemporaryFile())


def _summary(written_rows: int, written_bytes: int, seconds: float, **read: int) -> dict[str, str]:
    """What ClickHouse puts into X-ClickHouse-Summary: counts, as texts."""
    counts = dict.fromkeys(
        ("read_rows", "read_bytes", "total_rows_to_read", "result_rows", "result_bytes"), 0
    )
    counts |= read
    counts |= {
        "written_rows": written_rows,
        "written_bytes": written_bytes,
        "elapsed_ns": round(seconds * 1e9),
    }
    return {name: str(count) for name, count in counts.items()}


def _quote(text: str, quote: str = "'") -> str:
    escaped = text.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    return f"{quote}{escaped}{quote}"


def _lock(data: Path) -> int:
    """Take the directory for this process alone; return the descriptor that holds the lock."""
    path = data / "lock"
    try:
        data.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StoreError(f"the store can't use the directory {data}: {exc.strerror}") from exc
    try:
        # The system lets go of it however this process ends, kill -9 included.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        holder = ""
        with suppress(OSError):
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        by = f" by process {holder}" if holder else ""
        raise StoreError(
            f"the data in {data} is in use{by}: stop that store, use it over HTTP, or choose another place"
        ) from exc
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
