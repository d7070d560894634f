"""The example of docs/scorers.md, installed as pip would, without pip's seconds."""

import sys
import tomllib
from pathlib import Path

import pytest

from shadowlane.evaluators.scorers import ScorerSet
from shadowlane.evaluators.scorers.registry import BUILTINS, GROUP
from shadowlane.schemas.config import Rollout
from tests.evaluators.scorers.answers import answer

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "own_scorer"
PAGE = (ROOT / "docs" / "scorers.md").read_text(encoding="utf-8")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    info = tmp_path / "own_scorer-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['project']['name']}\nVersion: 0.1.0\n"
    )
    entries = project["project"]["entry-points"][GROUP]
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for module in project["tool"]["setuptools"]["py-modules"]:
        (tmp_path / f"{module}.py").write_text((EXAMPLE / f"{module}.py").read_text())
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("installed")
def test_the_example_scores() -> None:
    rollout = Rollout.model_validate(
        {
            "name": "r",
            "candidate": {"base_url": "http://127.0.0.1:1"},
            "scorers": [{"name": "names_source", "quality_weight": 1, "options": {"marker": "See "}}],
        }
    )
    scored = ScorerSet.from_rollout(rollout, {}).score({}, answer("Paris. See Wikipedia."), answer("Paris."))
    assert (scored.stable, scored.candidate) == ({"names_source": 1}, {"names_source": 0})
    assert scored.quality_difference == -1


def test_it_is_ten_lines_and_the_ones_of_the_page() -> None:
    code = (EXAMPLE / "own_scorer.py").read_text()
    assert len(code.splitlines()) <= 10
    assert code in PAGE
    assert (EXAMPLE / "pyproject.toml").read_text() in PAGE


def test_the_page_names_every_built_in_scorer() -> None:
    assert [name for name in BUILTINS if f"| `{name}` |" not in PAGE] == []
