"""Log lines: what stands in them, and that no text makes a line, a field or a colour of its own."""

import asyncio
import json
import logging
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.processors.watch import logs
from shadowlane.processors.watch.logs import Json, Text

HOSTILE = (
    'x\n2026-11-23 09:00:46,120 CRITICAL shadowlane.worker: forged\r\x1b[2J\x9b31m\u202e\u2028","level":"'
)


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("shadowlane.worker", logging.WARNING, "f.py", 1, message, arguments, None)
    made.created, made.msecs = 1795430000.5, 500.0
    made.__dict__.update(extra)
    return made


def raised(text: str) -> logging.LogRecord:
    made = record("it failed")
    try:
        raise ValueError(text)
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def test_a_line_of_text() -> None:
    line = Text().format(record("%d of %s", 3, "r", request_id="id-1", rollout="r"))
    assert line.endswith(",500 WARNING shadowlane.worker: 3 of r [request_id=id-1 rollout=r]")


def test_a_line_of_json() -> None:
    line = Json("worker").format(record("%d of %s", 3, "r", request_id="id-1"))
    assert json.loads(line) == {
        "ts": "2026-11-23T10:33:20.500+00:00",
        "level": "warning",
        "logger": "shadowlane.worker",
        "component": "worker",
        "message": "3 of r",
        "request_id": "id-1",
    }


@pytest.mark.parametrize("made", [record("%s", HOSTILE), record("x", request_id=HOSTILE)])
def test_hostile_text_makes_no_line_of_its_own(made: logging.LogRecord) -> None:
    for form in (Text(), Json("worker")):
        line = form.format(made)
        assert len(line.splitlines()) == 1
        assert "\x1b" not in line
        assert "\x9b" not in line
        assert "\u202e" not in line
    found = json.loads(Json("worker").format(made))
    assert found["level"] == "warning"
    assert HOSTILE in (found["message"], found.get("request_id"))  # nothing is lost of it


def test_a_traceback_is_set_apart() -> None:
    lines = Text().format(raised(HOSTILE)).splitlines()
    assert lines[0].endswith("it failed")
    assert all(line.startswith("| ") for line in lines[1:])
    assert any("forged" in line for line in lines)
    exc = json.loads(Json("worker").format(raised(HOSTILE)))["exc"]
    assert exc.startswith("Traceback")
    assert HOSTILE in exc


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_whatever_the_text_it_is_one_line(text: str) -> None:
    line = Text().format(record("%s", text))
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in line)
    document = Json("worker").format(record("%s", text))
    assert document.isascii()
    assert document.isprintable()
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # two halves make one
    assert json.loads(document)["message"] == whole


def test_a_task_says_what_it_is_about() -> None:
    async def handle(request_id: str) -> str:
        logs.about(request_id, "r")
        await asyncio.sleep(0)
        return Text().format(record("hello"))

    async def both() -> tuple[str, str]:
        return await asyncio.gather(handle("a"), handle("b"))

    first, second = asyncio.run(both())
    assert first.endswith("hello [request_id=a rollout=r]")
    assert second.endswith("hello [request_id=b rollout=r]")
    assert Text().format(record("hello")).endswith("hello")
