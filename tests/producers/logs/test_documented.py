"""Every line that docs/replay.md shows is read as the format that it is shown for."""

import re
from pathlib import Path

import orjson
import pytest
import yaml

from shadowlane.producers.logs import FORMATS, Entry, Mapping, recognised

TEXT = (Path(__file__).parents[3] / "docs" / "replay.md").read_text("utf-8")
SECTIONS = dict(
    re.findall(r"^\*\*(`.+?`(?:, `.+?`)*)\*\*\n(.*?)(?=^\*\*|^## )", TEXT, re.DOTALL | re.MULTILINE)
)
BLOCKS = [
    (title, block)
    for title, text in SECTIONS.items()
    for block in re.findall(r"^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
]


def test_all_formats_are_shown() -> None:
    assert {name for title in SECTIONS for name in re.findall(r"`(.+?)`", title)} == {*FORMATS, "mapping"}


@pytest.mark.parametrize(("title", "block"), BLOCKS)
def test_a_shown_line_is_read(title: str, block: str) -> None:
    values = [orjson.loads(line) for line in block.splitlines()]
    form = recognised(values[0])
    assert f"`{form}`" in title
    reader = FORMATS[form].reader()
    found = [entry for value in values if (entry := reader.read(value))]
    assert [entry.reply.output for entry in found] == ["Because."]
    assert isinstance(found[0], Entry)
    assert (found[0].body.get("messages") or found[0].body["input"])[0]["content"] == "why?"


def test_the_shown_mapping_reads_the_shown_line() -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", SECTIONS["`mapping`"], re.DOTALL | re.MULTILINE)
    line = orjson.loads(block.splitlines()[0].removeprefix("# ").replace("[…]", "[]"))
    found = Mapping(yaml.safe_load(block)).read(line)
    assert (found.source_id, found.model, found.service) == ("u-1", "m-1", "desk")
    assert (found.ts, found.reply.latency_ms, found.attributes) == (1772323200250, 1250.0, {"tenant": "acme"})
