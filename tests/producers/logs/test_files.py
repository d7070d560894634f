"""Log files as JSON: lines, lists, documents; compressed; what is none."""

import gzip
import io
import sys
from pathlib import Path

import orjson
import pytest
import zstandard

from shadowlane.errors import ConfigError
from shadowlane.producers.logs.files import Source, Value, find_sources, values


def read(path: Path) -> list[tuple[int, object]]:
    found = values(Source(path, path.name))
    return [(one.number, one.json) if isinstance(one, Value) else (one[0], str(one[1])[:8]) for one in found]


LINES = b'\n{"a": 1}\n\n{"a": 2}\n'


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, zstandard.compress, lambda b: gzip.compress(b[:5]) + gzip.compress(b[5:])]
)
def test_lines_are_read_however_they_are_packed(tmp_path: Path, pack: "object") -> None:
    path = tmp_path / "log"
    assert callable(pack)
    path.write_bytes(pack(LINES))
    assert read(path) == [(2, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: {"data": v, "meta": {}}, lambda v: {"requests": v}])
@pytest.mark.parametrize("option", [None, orjson.OPT_INDENT_2])
def test_a_list_is_read_by_its_elements(tmp_path: Path, wrap: "object", option: int | None) -> None:
    path = tmp_path / "log.json"
    assert callable(wrap)
    path.write_bytes(orjson.dumps(wrap([{"a": 1}, {"a": 2}]), option=option))
    assert read(path) == [(1, {"a": 1}), (2, {"a": 2})]


def test_one_document_over_several_lines_is_one_value(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_bytes(orjson.dumps({"a": {"b": 1}}, option=orjson.OPT_INDENT_2))
    assert read(path) == [(1, {"a": {"b": 1}})]


def test_a_broken_line_is_told_by_its_number_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"a": \n{"a": 2}\n{\n')
    assert read(path) == [(1, "not JSON"), (2, {"a": 2}), (3, "not JSON")]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(LINES))))
    assert read(Path("-")) == [(2, {"a": 1}), (4, {"a": 2})]


def test_a_file_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(LINES * 1000)[:-20])
    with pytest.raises(ConfigError, match=r"log.gz: can't be read to its end"):
        read(path)


def test_directories_are_read_by_name_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b/2.jsonl", "b/1.jsonl", "a.jsonl", ".state.json", "b/.hidden/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(LINES)
    assert [source.name for source in find_sources([tmp_path])] == ["a.jsonl", "b/1.jsonl", "b/2.jsonl"]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.jsonl").write_bytes(LINES)
    with pytest.raises(ConfigError, match=r"two files are called log\.jsonl"):
        find_sources([tmp_path / "a" / "log.jsonl", tmp_path / "b" / "log.jsonl"])
