"""An example of examples/attachments, run in a process of its own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run_example(python: str, name: str, url: str = "") -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(what it printed, the mirrored request, its answer).

    Args:
        python: the interpreter that has what the example imports.
        url: of a model server, up to ``/v1``.
    """
    asked = {
        "OPENAI_BASE_URL": url,
        "ANTHROPIC_BASE_URL": url.removesuffix("/v1"),
        "MODEL_URL": url,
        "OPENAI_API_KEY": "k",
        "ANTHROPIC_API_KEY": "k",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS": "fake:9092",
        "PYTHONPATH": str(ROOT / "src"),
    }
    file = ROOT / "examples" / "attachments" / f"{name}.py"
    done = subprocess.run(
        [python, "-m", "tests.examples.attached", str(file)],
        cwd=ROOT,
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *printed, last = done.stdout.splitlines()
    request, served = json.loads(last)
    return "\n".join(printed), request, served
