"""The OpenAPI document: what the endpoint serves, what docs/ has, and what the endpoint does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shadowlane.processors.ingest.openapi import document
from tests.processors.ingest.support import TOKEN, on_a_fake

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def test_what_is_served_is_in_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    written = json.loads((ROOT / "docs" / "ingest.openapi.json").read_text(encoding="utf-8"))
    assert written == document(), "write /openapi.json into docs/ingest.openapi.json"
    with on_a_fake(monkeypatch) as (running, _):
        assert running.get("/openapi.json")[2] == written


def test_schemathesis_finds_nothing_that_is_not_as_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with on_a_fake(monkeypatch, token=TOKEN) as (running, fake):
        options = [
            "--max-examples",
            "25",
            "--generation-deterministic",
            "--no-color",
            "--continue-on-failure",
        ]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml"),
                *("run", running.url("/openapi.json"), *options, "-H", f"Authorization: Bearer {TOKEN}"),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,  # where it keeps what it found
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert fake.sent
