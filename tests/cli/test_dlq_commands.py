"""`shadowlane dlq` on letters that mean harm: what is printed, what is written, what is asked first."""

import base64
import dataclasses
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from typer.testing import CliRunner, Result

from shadowlane.cli.app import app
from shadowlane.errors import ConfigError, RefusedError
from shadowlane.processors.store import connect, insert_lines
from shadowlane.schemas.codec import dead_letter, encode
from shadowlane.schemas.config import ClickHouse
from shadowlane.schemas.events import DeadLetter
from tests.databases import migrated
from tests.services import ClickHouseAddress

DAY_MS = 86_400_000
START = 1_770_000_000_000
HOSTILE = {
    "ansi": b"\x1b[2J\x1b[31mred\x1b[0m",
    "markup": b"[bold red]look[/bold red] [link=http://x]y[/link] :smile:",
    "link": b"\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "title": b"\x1b]0;owned\x07",
    "lines": b"a\rb\x0bc\x85d\xe2\x80\xa8e",
    "nul": b'{"request_id": "nul\x00", "a": "\x00"}',
    "not-utf8": b"\xff\xfe{\x00\x9b31m",
    "bidi": "{\u202e\u2066gnp.exe}".encode(),
    "quotes": b"'; DROP TABLE dead_letter_log; --\\N\t\"",
}


class Scene:
    """A store with some letters, and the commands on it."""

    def __init__(self, settings: ClickHouse, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = settings
        self.client: Client = connect(settings)
        self.file = folder / "shadowlane.yaml"
        told = self.settings.model_dump(mode="json", exclude={"password"})
        self.file.write_text(json.dumps({"clickhouse": told}))
        monkeypatch.setenv("SHADOWLANE_CLICKHOUSE__PASSWORD", settings.password.get_secret_value())
        monkeypatch.setenv("COLUMNS", "200")

    def bury(self, *letters: DeadLetter) -> None:
        insert_lines(
            self.client, self.settings, "dead_letter_log", b"\n".join(map(encode, letters)), uuid.uuid4().hex
        )

    def dlq(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["dlq", *arguments, "--config", str(self.file)])

    def said(self, *arguments: str) -> str:
        done = self.dlq(*arguments)
        assert done.exit_code == 0, done.exception
        return done.output

    def refused(self, *arguments: str) -> str:
        done = self.dlq(*arguments)
        assert isinstance(done.exception, RefusedError), done.output
        return str(done.exception)

    def column(self, query: str) -> list[object]:
        return [row[0] for row in self.client.query(query).result_rows]


@pytest.fixture
def scene(clickhouse: ClickHouseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with migrated(clickhouse) as settings:
        made = Scene(settings, tmp_path, monkeypatch)
        yield made
        made.client.close()


def letter(
    line: bytes, number: int = 0, reason: str = "not JSON: column 7", component: str = "worker"
) -> DeadLetter:
    topic = "shadowlane.requests" if component == "worker" else "shadowlane.pairs"
    return dead_letter(
        line,
        reason,
        component=component,
        topic=topic,
        partition=1,
        offset=number,
        number=0,
        ts=START + number * DAY_MS,
    )


def harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


def test_what_means_harm_is_shown_and_does_none(scene: Scene) -> None:
    letters = {
        name: letter(line, n, reason=f"not JSON: {line.decode('latin-1')}")
        for n, (name, line) in enumerate(HOSTILE.items())
    }
    scene.bury(*letters.values())
    listed = scene.said("list")
    assert harmless(listed)
    assert "[bold red]look[/bold red]" in listed
    for name, one in letters.items():
        assert one.dead_letter_id in listed
        shown = scene.said("show", one.dead_letter_id)
        assert harmless(shown), name
        raw = scene.dlq("show", one.dead_letter_id, "--raw")
        assert raw.stdout_bytes == HOSTILE[name], name
        document = json.loads(scene.said("show", one.dead_letter_id, "--json"))
        assert base64.b64decode(document["payload_base64"]) == HOSTILE[name]
        assert harmless(document["payload_text"])
    assert "\\x1b]8;;http://evil.example" in scene.said("show", letters["link"].dead_letter_id)
    assert ":smile:" in scene.said("show", letters["markup"].dead_letter_id)
    assert "\\xff\\xfe{\\x00\\x9b31m" in scene.said("show", letters["not-utf8"].dead_letter_id)
    assert "\\u202e" in scene.said("show", letters["bidi"].dead_letter_id)


def test_raw_goes_to_a_file_whole(scene: Scene, tmp_path: Path) -> None:
    long = b'{"request_id": "long", "x": "' + b"y" * 200_000
    scene.bury(letter(long), letter(HOSTILE["nul"], 1))
    out = tmp_path / "out"
    cut = scene.dlq("show", letter(long).dead_letter_id, "--raw", "--output", str(out))
    assert out.read_bytes() == long[: 128 * 1024]
    assert "cut: 131,072 of 200,029 bytes were kept" in cut.output
    scene.said("show", letter(HOSTILE["nul"], 1).dead_letter_id, "-o", str(out))
    assert out.read_bytes() == HOSTILE["nul"]
    assert isinstance(scene.dlq("show", letter(long).dead_letter_id, "-o", "/no/such").exception, ConfigError)
    assert "cut: the first 131,072 of 200,029 bytes" in scene.said("show", letter(long).dead_letter_id)
    assert "there is no dead letter \\x1b" in scene.refused("show", "\x1b")


def test_filters_and_groups(scene: Scene) -> None:
    scene.bury(
        *(letter(b'{"request_id": "q%d", ' % n, n, f"not JSON: column {n}") for n in range(5)),
        *(letter(b"[%d]" % n, n, "a record is an OBJECT", component="sink") for n in range(5, 8)),
    )
    everything = json.loads(scene.said("list", "--json"))
    assert everything["total"] == 8
    assert [(g["component"], g["pattern"], g["letters"], g["requests"]) for g in everything["groups"]] == [
        ("sink", "a record is an OBJECT", 3, 0),
        ("worker", "not JSON: column N", 5, 5),
    ]
    assert [one["source_offset"] for one in everything["letters"]] == [7, 6, 5, 4, 3, 2, 1, 0]

    def found(*arguments: str) -> list[int]:
        return [
            one["source_offset"] for one in json.loads(scene.said("list", "--json", *arguments))["letters"]
        ]

    assert found("--component", "sink") == [7, 6, 5]
    assert found("--topic", "shadowlane.requests", "--limit", "2") == [4, 3]
    assert found("--reason", "an object") == [7, 6, 5]
    assert found("--request", "q3") == [3]
    assert found("--since", "2026-02-05T00:00", "--until", "2026-02-07T00:00") == [4, 3]
    assert found("--reason", "' OR 1 --") == []
    assert "no dead letter is like that" in scene.said("list", "--component", "nobody")
    assert isinstance(scene.dlq("list", "--since", "soon").exception, ConfigError)


def test_nothing_is_done_without_a_selection_and_a_yes(scene: Scene) -> None:
    scene.bury(letter(b"x"))
    for command in ("replay", "purge"):
        assert "which ones?" in scene.refused(command)
        assert "there is no dead letter nothing" in scene.refused(command, "nothing", "--yes")
    assert "nobody is there to confirm" in scene.refused("purge", "--all")
    assert "would drop the payloads of 1 dead letters" in scene.said("purge", "--all", "--dry-run")
    assert "nothing to purge" in scene.said("purge", "--request", "q", "--yes")
    assert scene.column("SELECT payload FROM dead_letters") == ["x"]


def test_a_purge_drops_the_payload_and_the_ledger_stays(scene: Scene) -> None:
    letters = [letter(b'{"request_id": "q%d", "secret' % n, n) for n in range(3)]
    scene.bury(*letters)
    ledger = "SELECT sum(requests) FROM ledger WHERE row = 'dead_lettered'"
    assert scene.column(ledger) == [3]
    assert "2 purged" in scene.said("purge", "--until", "2026-02-04T00:00", "--yes", "--by", "ann")
    assert scene.column("SELECT payload != '' FROM dead_letter_log ORDER BY ts") == [0, 0, 1]
    assert scene.column("SELECT state FROM dead_letters ORDER BY ts") == ["purged", "purged", "open"]
    assert scene.column(ledger) == [3]
    shown = scene.said("show", letters[0].dead_letter_id)
    assert "by ann" in shown
    assert "the record was purged" in shown
    assert "purged at" in scene.refused("show", letters[0].dead_letter_id, "--raw")
    assert json.loads(scene.said("list", "--json"))["total"] == 1
    assert json.loads(scene.said("list", "--json", "--handled"))["total"] == 3

    # Kafka brings them again: the payload is not shown, and the next purge erases it.
    scene.bury(dataclasses.replace(letters[0], ts=letters[0].ts - 1))
    assert scene.column("SELECT payload FROM dead_letters ORDER BY ts")[0] == ""
    assert "1 purged" in scene.said("purge", letters[2].dead_letter_id, "--yes")
    assert set(scene.column("SELECT payload FROM dead_letter_log")) == {""}
    assert isinstance(scene.dlq("purge", "--until", "1d", "--older-than", "1d").exception, ConfigError)
