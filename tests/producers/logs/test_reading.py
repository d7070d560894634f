"""The calls of several files: in their order, in the order of their times, and what was refused where."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from shadowlane.errors import ConfigError
from shadowlane.producers.logs.files import find_sources
from shadowlane.producers.logs.reading import Call, Reading
from tests.producers.logs.samples import CHAT_BODY, COMPLETION, LANGFUSE, LITELLM


def put(path: Path, *lines: Any) -> None:
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))


def at(ts: int | None) -> dict[str, Any]:
    return {"request": CHAT_BODY, "response": "ho", "ts": ts}


def times(reading: Reading) -> list[int | None]:
    return [item.entry.ts for item in reading if isinstance(item, Call)]


def test_each_file_may_be_of_another_format(tmp_path: Path) -> None:
    put(
        tmp_path / "a", LITELLM, LITELLM | {"call_type": "embedding", "id": "e"}, LITELLM | {"messages": None}
    )
    put(tmp_path / "b", LANGFUSE, LANGFUSE | {"type": "SPAN"})
    reading = Reading(find_sources([tmp_path]), "", None, by_time=False)
    told = [(i.source, i.number, "" if isinstance(i, Call) else i.reason[:20]) for i in reading]
    assert told == [("a", 1, ""), ("a", 3, "messages: are not in"), ("b", 1, "")]
    assert reading.skipped == {"litellm": 1, "langfuse": 1}


def test_files_are_merged_by_time(tmp_path: Path) -> None:
    put(tmp_path / "a", at(100), at(400), at(None), at(700))
    put(tmp_path / "b", at(500))
    put(tmp_path / "c", at(200), at(300), at(800))
    sources = find_sources([tmp_path])
    assert times(Reading(sources, "", None, by_time=True)) == [100, 200, 300, 400, None, 500, 700, 800]
    assert times(Reading(sources, "", None, by_time=False))[:4] == [100, 400, None, 700]


def test_a_batch_is_joined_over_its_files_and_has_no_times(tmp_path: Path) -> None:
    asked = [{"custom_id": name, "url": "/v1/chat/completions", "body": CHAT_BODY} for name in "ab"]
    told = {"id": "r", "custom_id": "b", "response": {"status_code": 200, "body": COMPLETION}, "error": None}
    put(tmp_path / "in", *asked)
    put(tmp_path / "out", told)
    sources = find_sources([tmp_path])
    found = list(Reading(sources, "", None, by_time=False))
    assert [(i.source, i.number, isinstance(i, Call)) for i in found] == [
        ("out", 1, True),
        ("openai-batch", 0, False),
    ]
    with pytest.raises(ConfigError, match="leave out --speed"):
        list(Reading(sources, "", None, by_time=True))


def test_a_format_that_cant_be_told_is_an_error_that_names_the_choices(tmp_path: Path) -> None:
    wrapped = {
        "request": {"url": "/v1/chat/completions", "body": CHAT_BODY},
        "response": {"body": COMPLETION},
    }
    put(tmp_path / "a", wrapped)
    with pytest.raises(ConfigError, match=r"a, line 1: .*--format \(shadowlane, openai\)"):
        list(Reading(find_sources([tmp_path]), "", None, by_time=False))
    assert len(times(Reading(find_sources([tmp_path]), "openai", None, by_time=False))) == 1
