"""What a component says on stderr: a line an event, as text or as JSON. No text makes a line of its own.

A log line that concerns one request says which: by ``extra={"request_id": …, "rollout": …}``, or, for all lines of an
asyncio task, by :func:`about`.
"""

import json
import logging
import sys
import unicodedata
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

FIELDS = ("request_id", "rollout")
_about: ContextVar[tuple[str, str]] = ContextVar("shadowlane_log_about", default=("", ""))


def about(request_id: str, rollout: str = "") -> None:
    """From here on the lines of this task are about one request."""
    _about.set((request_id, rollout))


def escaped(text: str) -> str:
    """One line, on which a terminal acts in no way: control and format characters are written as Python would."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode()
        for c in text
    )


def configure(component: str, form: Literal["text", "json"]) -> None:
    """Of the whole process. Libraries speak up from a warning on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json(component) if form == "json" else Text())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("shadowlane").setLevel(logging.INFO)


class Text(logging.Formatter):
    """``2026-11-23 09:00:46,120 WARNING shadowlane.worker: text [request_id=… rollout=…]``.

    The lines of a traceback begin with ``| ``: what does not is a line of its own.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: ")

    def format(self, record: logging.LogRecord) -> str:
        record.asctime = self.formatTime(record)
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        head = escaped(self.formatMessage(record) + record.getMessage() + (f" [{fields}]" if fields else ""))
        return "\n".join([head, *(f"| {escaped(line)}" for line in _trace(self, record).splitlines())])


class Json(logging.Formatter):
    """``{"ts", "level", "logger", "component", "message", "request_id"?, "rollout"?, "exc"?}``, in ASCII."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "component": self._component,
            "message": record.getMessage(),
            **_fields(record),
        }
        if trace := _trace(self, record):
            line["exc"] = trace
        return json.dumps(line).replace(
            "\x7f", "\\u007f"
        )  # the one control character that JSON and ASCII leave


def _fields(record: logging.LogRecord) -> dict[str, str]:
    known = zip(FIELDS, _about.get(), strict=True)
    said = {name: str(getattr(record, name, "") or value) for name, value in known}
    return {name: value for name, value in said.items() if value}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
