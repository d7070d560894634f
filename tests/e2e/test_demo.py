"""The README's first command, as a new user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
DEMO = Path(__file__).parents[2] / "examples" / "support_desk" / "demo.py"


def test_the_demo_ends_by_itself_with_both_verdicts_and_ledgers_that_add_up(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(DEMO)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "PROMOTE" in done.stdout
    assert "ROLL BACK" in done.stdout
    assert done.stdout.count("the ledger adds up") == 2
