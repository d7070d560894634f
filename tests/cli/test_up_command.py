"""`shadowlane up`: what it refuses to start with, in a sentence and with a code."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from shadowlane.cli.up import Child, _forgive, _start_again
from shadowlane.errors import ConfigError
from tests.services import free_port


def up(tmp_path: Path, configuration: str, data: Path) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "file.yaml"
    path.write_text(configuration, encoding="utf-8")
    command = [sys.executable, "-m", "shadowlane.cli", "up", "--config", str(path), "--data", str(data)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ("kafka: {bootstrap_servers: '127.0.0.1:99999'}", "127.0.0.1:PORT"),
        ("kafka: {bootstrap_servers: 'kafka:9092'}", "--no-servers"),
        ("kafka: {bootstrap_servers: '127.0.0.1:8123'}", "both name port 8123"),
    ],
)
def test_an_address_that_can_not_be_served(tmp_path: Path, configuration: str, said: str) -> None:
    done = up(tmp_path, configuration, tmp_path / "data")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_that_can_not_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = up(tmp_path, "{}", tmp_path / "file")
    assert done.returncode == 2
    assert "--data" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_component_that_the_configuration_stops_is_not_started_again(tmp_path: Path) -> None:
    kafka, store = free_port(), free_port()
    done = up(
        tmp_path,
        f"""
kafka: {{bootstrap_servers: '127.0.0.1:{kafka}'}}
clickhouse: {{port: {store}}}
rollouts:
  - name: keyless
    candidate: {{base_url: 'http://127.0.0.1:9/v1', api_key_env: A_KEY_THAT_NOBODY_HAS_SET}}
""",
        tmp_path / "data",
    )
    assert done.returncode == 2, done.stderr
    assert "A_KEY_THAT_NOBODY_HAS_SET" in done.stderr
    assert done.stderr.count("A_KEY_THAT_NOBODY_HAS_SET") == 1


def test_last_words_are_those_of_the_last_start(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text("an earlier run\n", encoding="utf-8")
    child = Child("worker", [sys.executable, "-c", "print('unset key'); raise SystemExit(2)"], log)
    child.start(0.0)
    assert child.process is not None
    child.process.wait(30)
    assert child.last_words() == "unset key"
    with pytest.raises(ConfigError, match="unset key"):
        _start_again(child, 1.0, Console(quiet=True))
    assert child.started_at == [0.0]


def test_a_component_that_met_too_many_dead_letters_stays_down_until_a_person_says_so(tmp_path: Path) -> None:
    said = io.StringIO()
    console = Console(file=said, width=300)
    ends = "print('worker stops: [bold]20 records'); raise SystemExit(7)"
    child = Child("worker", [sys.executable, "-c", ends], tmp_path / "worker.log")
    child.start(0.0)
    assert child.process is not None
    child.process.wait(30)
    _start_again(child, 1.0, console)
    assert child.poisoned is True
    assert child.started_at == [0.0]
    assert "worker stops: [bold]20 records" in said.getvalue()
    assert f"kill -HUP {os.getpid()}" in said.getvalue()
    _forgive([child], 2.0, console)
    assert child.started_at == [0.0, 2.0]
    child.stop(30)


def test_a_component_is_told_how_often_its_watchdog_ended_it(tmp_path: Path) -> None:
    says = "import os; print(os.environ['SHADOWLANE_STALLED_STARTS']); raise SystemExit({})"
    child = Child("worker", [sys.executable, "-c", says.format(8)], tmp_path / "worker.log")
    for start, code in enumerate((8, 1, 8)):
        child.argv[-1] = says.format(code)
        if start:
            _start_again(child, float(start), Console(quiet=True))
        else:
            child.start(0.0)
        assert child.process is not None
        child.process.wait(30)
    assert child.log.read_text().split() == ["0", "1", "1"]
