"""The recorded judge as a scorer: an answer's quality is how likely the judge preferred it to the baseline's.

Nothing is judged here. The recordings hold ``win`` of each model's answer to each prompt: the probability, 0 to 1, that
the judge prefers it to the answer of BASELINE. The file stands alone: `shadowlane up` loads a copy of it.
"""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shadowlane.evaluators.scorers import Response, side_scorer

BASELINE = "gpt4_1106_preview"
"""Against its own answer a model is even: where its rows say no ``win``, it is 0.5."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a model answered to one prompt; ``win`` is None where that was not judged."""

    output: str
    win: float | None


def prompts_of(file: Path) -> list[dict[str, str]]:
    """The prompts, ``id``, ``slice`` and ``prompt`` of each. Raises OSError, ValueError."""
    return list(_rows(file))


def recording_of(model: str, folders: Sequence[Path]) -> dict[str, Recorded]:
    """A model's answers by prompt id. Of several folders that have the model the last holds, as in the server.

    Empty where no folder has it. Raises OSError, ValueError.
    """
    files = [file for folder in folders if (file := folder / f"{model}.jsonl.gz").exists()]
    if not files:
        return {}
    even = 0.5 if model == BASELINE else None
    rows = ((row, row.get("win")) for row in _rows(files[-1]))
    return {row["id"]: Recorded(row["output"], even if win is None else win) for row, win in rows}


@side_scorer
class RecordedWin:
    """``win`` of the answer that was given. It abstains where that is not the recorded one, or was not judged.

    An answer that a fault made empty was never judged, and no judge would prefer it: 0.

    Args:
        prompts: the file of the prompts.
        models: the folders of the models' answers.
    """

    def __init__(self, prompts: str, models: list[str]) -> None:
        self._prompts = Path(prompts)
        self._folders = [Path(folder) for folder in models]
        self._ids: dict[str, str] = {}
        self._recordings: dict[str, dict[str, Recorded]] = {}

    def __call__(self, request: Any, answer: Response) -> float | None:
        recorded = self._recording(answer.model).get(self._id(asked(request)))
        if recorded is None:
            return None
        if answer.output == recorded.output:
            return recorded.win
        return None if answer.output.strip() else 0.0

    def _recording(self, model: str) -> dict[str, Recorded]:
        # Read when it is first needed: each command that checks the configuration makes the scorers too.
        if model not in self._recordings:
            self._recordings[model] = recording_of(model, self._folders)
        return self._recordings[model]

    def _id(self, prompt: str) -> str:
        if not self._ids:
            self._ids = {row["prompt"]: row["id"] for row in prompts_of(self._prompts)}
        return self._ids.get(prompt, "")


def asked(request: Any) -> str:
    """The last thing that the user said in a chat completion's body; ``""`` where there is none."""
    messages = request.get("messages") if isinstance(request, Mapping) else None
    said = [m.get("content") for m in messages or [] if isinstance(m, Mapping) and m.get("role") == "user"]
    return said[-1] if said and isinstance(said[-1], str) else ""


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
