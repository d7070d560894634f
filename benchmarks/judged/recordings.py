"""The recordings: where they are, serving them, and models made of others'."""

import contextlib
import gzip
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.judged.recorded_win import prompts_of, recording_of

RECORDINGS = Path(
    os.environ.get("RECORDED_MODELS", Path(__file__).resolve().parents[3] / "shared" / "recorded_models")
)
PROMPTS = RECORDINGS / "prompts.jsonl.gz"


@contextlib.contextmanager
def serving(log: Path, port: int, models: list[Path], faults: list[str]) -> Iterator[None]:
    """serve.py on a port, with these models and faults."""
    command = [sys.executable, str(RECORDINGS / "serve.py"), "--port", str(port)]
    command += [word for folder in models for word in ("--models", str(folder))]
    command += [word for fault in faults for word in ("--fault", fault)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def wait_for_models(*ports: int) -> None:
    for port in ports:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise SystemExit(f"the recorded models do not answer on port {port}")


def worse_on(folder: Path, model: str, part: str, other: str, models: Sequence[Path]) -> str:
    """Records, in ``folder``, a model that answers as ``model``, and as ``other`` on the slice ``part``. Its name."""
    usual, there = recording_of(model, models), recording_of(other, models)
    slices = {row["id"]: row["slice"] for row in prompts_of(PROMPTS)}
    if part not in slices.values():
        raise SystemExit(
            f"no prompt is of the slice {part!r}; there are: {', '.join(sorted({*slices.values()}))}"
        )
    name = f"{model}.{part}"
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as lines:
        for prompt, of in slices.items():
            recorded = (there if of == part else usual).get(prompt)
            if recorded is not None:
                row: dict[str, str | float] = {"id": prompt, "output": recorded.output}
                row |= {} if recorded.win is None else {"win": recorded.win}
                lines.write(json.dumps(row) + "\n")
    return name
