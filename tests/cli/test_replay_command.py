"""`shadowlane replay`: what a user sees before anything is sent."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shadowlane.cli.replay import interrupts


def replay(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shadowlane.cli", "replay", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_file_that_is_not_there_is_told_before_kafka_is_asked(tmp_path: Path) -> None:
    done = replay(str(tmp_path / "nothing.jsonl"))
    assert done.returncode == 2
    assert "nothing.jsonl: can't be read" in done.stderr
    assert "broker" not in done.stderr


def test_standard_input_can_not_be_repeated() -> None:
    done = replay("-", "--repeat", "2")
    assert done.returncode == 2
    assert "--repeat needs a file" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--format", "otel"], "--format: 'otel' is none of shadowlane, openai, anthropic"),
        (["--format", "mapping"], "--format mapping needs --mapping FILE"),
        (["--rate", "5", "--speed", "1"], "--rate and --speed both say when"),
        (["--mapping", "nowhere.yaml"], "nowhere.yaml: can't be read"),
    ],
)
def test_options_that_make_no_sense_are_told(tmp_path: Path, arguments: list[str], reason: str) -> None:
    (tmp_path / "log.jsonl").write_text("{}")
    done = replay(str(tmp_path / "log.jsonl"), *arguments)
    assert done.returncode == 2
    assert reason in done.stderr


def test_an_empty_directory_is_told(tmp_path: Path) -> None:
    assert "holds no file" in replay(str(tmp_path)).stderr


class _Dropped:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_could_only_print_is_not_forgotten() -> None:
    # What a shell starts in the background ignores it, these tests too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _press_twice()
    finally:
        signal.signal(signal.SIGINT, before)


def _press_twice() -> None:
    with interrupts() as interrupted:
        assert not interrupted()
        _Dropped()
        assert interrupted()
    with interrupts(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
