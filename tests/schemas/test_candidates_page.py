"""Each example of docs/candidates.md is a configuration."""

import re
from pathlib import Path

import pytest

from shadowlane.schemas.config import load

PAGE = Path(__file__).parents[2] / "docs" / "candidates.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
KINDS = {"openai", "openai-responses", "anthropic", "bedrock", "http", "python"}


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_is_read(number: int, tmp_path: Path) -> None:
    file = tmp_path / "shadowlane.yaml"
    file.write_text(EXAMPLES[number], encoding="utf-8")
    assert load(file).rollouts


def test_every_kind_that_has_keys_of_its_own_has_an_example() -> None:
    shown = {kind for example in EXAMPLES for kind in re.findall(r"kind: (\S+)", example)}
    assert shown <= KINDS
    assert {"openai", "bedrock", "http", "python"} <= shown
