"""The benchmark's scorer: the recorded judge's word on the answer that was really given, and on no other."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.judged.recorded_win import BASELINE, RecordedWin, prompts_of, recording_of
from benchmarks.judged.staged import scorer_installed
from shadowlane.schemas.events import Response

PROMPTS = [{"id": "p1", "slice": "koala", "prompt": "Why?"}, {"id": "p2", "slice": "oasst", "prompt": "How?"}]


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(exist_ok=True)
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    return file


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two folders; the second has a newer recording of ``good``."""
    rows: list[dict[str, Any]] = [
        {"id": "p1", "output": "Because.", "win": 0.7},
        {"id": "p2", "output": "Like so."},
    ]
    write(tmp_path / "one" / "good.jsonl.gz", [{"id": "p1", "output": "Old.", "win": 0.1}])
    write(tmp_path / "one" / f"{BASELINE}.jsonl.gz", [{"id": "p1", "output": "Because.", "win": None}])
    write(tmp_path / "two" / "good.jsonl.gz", rows)
    return [tmp_path / "one", tmp_path / "two"]


@pytest.fixture
def win(tmp_path: Path, folders: list[Path]) -> RecordedWin:
    return RecordedWin(str(write(tmp_path / "prompts.jsonl.gz", PROMPTS)), [str(f) for f in folders])


def answer(model: str, output: str) -> Response:
    return Response(
        request_id="r", ts=0, completed_at=0, service="s", route="", role="shadow", model=model, output=output
    )


def question(text: Any) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]}


def test_win_of_the_answer_that_the_model_gave_to_that_prompt(win: RecordedWin) -> None:
    assert win(question("Why?"), answer("good", "Because.")) == 0.7


def test_the_last_folder_that_has_the_model_holds_as_in_the_server(win: RecordedWin) -> None:
    assert win(question("Why?"), answer("good", "Old.")) is None


def test_the_baseline_is_even_with_itself_where_its_rows_do_not_say(win: RecordedWin) -> None:
    assert win(question("Why?"), answer(BASELINE, "Because.")) == 0.5


@pytest.mark.parametrize(
    ("request_body", "model", "output"),
    [
        (question("How?"), "good", "Like so."),  # recorded, not judged
        (question("Who?"), "good", "Because."),  # not a recorded prompt
        (question("Why?"), "nobody", "Because."),
        (question("Why?"), "good", "Because!"),  # not the answer that was judged
        (question([{"type": "text", "text": "Why?"}]), "good", "Because."),
        ({}, "good", "Because."),
        (None, "good", "Because."),
    ],
)
def test_it_abstains_where_the_judge_said_nothing(
    win: RecordedWin, request_body: Any, model: str, output: str
) -> None:
    assert win(request_body, answer(model, output)) is None


def test_an_answer_that_a_fault_made_empty_is_preferred_by_nobody(win: RecordedWin) -> None:
    assert win(question("Why?"), answer("good", "")) == 0.0


def test_a_model_that_nobody_recorded_is_no_recording(folders: list[Path], tmp_path: Path) -> None:
    assert recording_of("nobody", folders) == {}
    assert prompts_of(write(tmp_path / "prompts.jsonl.gz", PROMPTS)) == PROMPTS


def test_every_process_started_meanwhile_finds_the_scorer_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    look = "from shadowlane.evaluators.scorers.registry import find; print(find('recorded_win', '')[0].__module__)"

    def found() -> str:
        return subprocess.run([sys.executable, "-c", look], capture_output=True, text=True).stdout.strip()

    with scorer_installed(tmp_path / "scorer"):
        assert found() == "recorded_win"
    assert found() == ""
