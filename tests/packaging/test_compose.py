"""docker-compose.yml: what it starts exists, what it sets is read, and Compose itself takes it."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from shadowlane.cli.app import app
from shadowlane.embedded.kafka import VERSION
from shadowlane.embedded.kafka.settings import broker_settings
from shadowlane.schemas.config import Settings
from tests.services import image_environment

ROOT = Path(__file__).parents[2]
OURS = ("migrate", "worker", "pairing", "sink", "controller", "flags", "ingest", "report")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


@pytest.mark.parametrize("service", OURS)
def test_every_component_runs_a_command_that_exists(compose: dict[str, Any], service: str) -> None:
    command = compose["services"][service]["command"]
    assert CliRunner().invoke(app, [*command, "--help"]).exit_code == 0
    check = compose["services"][service].get("healthcheck", {}).get("test")
    if check and check[1] != "python":
        assert check[:2] == ["CMD", "shadowlane"]
        assert CliRunner().invoke(app, [*check[2:], "--help"]).exit_code == 0


@pytest.mark.parametrize("service", OURS)
def test_every_variable_is_one_that_the_configuration_reads(
    compose: dict[str, Any], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("SHADOWLANE_")]:
        monkeypatch.delenv(name)
    environment = compose["services"][service]["environment"]
    for name, value in environment.items():
        if name.startswith("SHADOWLANE_") and name != "SHADOWLANE_CONFIG":
            section, _, key = name.removeprefix("SHADOWLANE_").lower().partition("__")
            monkeypatch.setenv(name, value)
            read = getattr(getattr(Settings(), section), key)
            shown = read.get_secret_value() if hasattr(read, "get_secret_value") else str(read)
            assert shown == value, name


def test_everything_that_stays_up_has_a_health_check(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if service.get("restart") != "no":
            assert "healthcheck" in service, name


def test_nothing_listens_beyond_this_machine(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_kafka_is_the_one_that_the_tests_run_on(compose: dict[str, Any]) -> None:
    kafka = compose["services"]["kafka"]
    assert kafka["image"] == f"apache/kafka:{VERSION}"
    assert image_environment(broker_settings(1)).items() <= kafka["environment"].items()


def test_compose_takes_the_file() -> None:
    try:
        found = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
    except FileNotFoundError:
        found = False
    if not found:
        pytest.skip(
            "docker compose is not installed: the file was checked by hand with `docker compose config`"
        )
    command = ["docker", "compose", "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet"]
    environment = os.environ | {"CLICKHOUSE_PASSWORD": "x"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    without = {name: value for name, value in environment.items() if name != "CLICKHOUSE_PASSWORD"}
    refused = subprocess.run(command, capture_output=True, text=True, env=without)
    assert "set CLICKHOUSE_PASSWORD" in refused.stderr
