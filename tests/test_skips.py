"""In CI a skipped test is a fault, unless the machine can't help it; also where tests run in several processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shadowlane.embedded.kafka.jars import UNREACHABLE

ROOT = Path(__file__).parents[1]


def ends_with(folder: Path, reason: str, *options: str, **environment: str) -> tuple[int, str]:
    """A run of pytest with this suite's rules on two tests, one of which is skipped."""
    file = folder / "test_of_its_own.py"
    file.write_text(
        f"import pytest\ndef test_runs(): pass\ndef test_is_skipped(): pytest.skip({reason!r})\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", os.devnull, *options, str(file)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "PYTEST_"))}
    done = subprocess.run(command, cwd=ROOT, env=clean | environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_skip_without_need(tmp_path: Path, processes: str) -> None:
    code, said = ends_with(tmp_path, "Apache Kafka: there is no Java", "-n", processes, CI="true")
    assert code == 1, said
    assert "in CI these must not be skipped: Apache Kafka: there is no Java" in said


def test_what_may_be_missing_is_told_and_no_fault(tmp_path: Path) -> None:
    code, said = ends_with(tmp_path, f"Apache Kafka: {UNREACHABLE}, so it is", "-n", "1", CI="true")
    assert code == 0, said
    assert f"skipped: Apache Kafka: {UNREACHABLE}" in said


def test_elsewhere_a_skip_is_told(tmp_path: Path) -> None:
    code, said = ends_with(tmp_path, "no reason at all")
    assert code == 0, said
    assert "skipped: no reason at all" in said
