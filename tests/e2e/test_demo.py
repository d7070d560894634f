"""The README's first command, as a new user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import needs_apache_kafka

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
DEMO = Path(__file__).parents[2] / "examples" / "support_desk" / "demo.py"


@pytest.mark.parametrize("broker", ["embedded", "apache"])
def test_the_demo_walks_one_rollout_to_the_end_and_takes_the_other_out(tmp_path: Path, broker: str) -> None:
    if broker == "apache":
        needs_apache_kafka()
    options = {"embedded": [], "apache": ["--broker", "kafka"]}[broker]
    done = subprocess.run([sys.executable, str(DEMO), *options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
    for stage in ("→ canary", "→ partial", "→ full", "completed", "rolled back", "on-call is paged"):
        assert done.stdout.count(f"{stage}") >= 1, done.stdout
    assert "ROLL BACK" in done.stdout
    assert done.stdout.count("the ledger adds up") == 2
    assert "desk-2-mini: no customer ever had an answer of it" in done.stdout
