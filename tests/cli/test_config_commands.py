"""`shadowlane config`: what a user sees of a file that is right, and of one that is not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOOD = (ROOT / "examples" / "shadowlane.yaml").read_text(encoding="utf-8")


def shadowlane(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shadowlane.cli", *arguments], capture_output=True, text=True
    )


def check(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return shadowlane("config", "check", str(path))


def test_the_example_is_right() -> None:
    done = shadowlane("config", "check", str(ROOT / "examples" / "shadowlane.yaml"))
    assert done.returncode == 0, done.stderr
    assert "gpt-4-0613 -> gpt-4o-2024-08-06" in done.stdout
    assert "error_rate > 2% OR quality_score < 0.80" in done.stdout


def test_every_stage_is_shown_and_every_variable_named(tmp_path: Path) -> None:
    shown = check(tmp_path, GOOD).stdout
    assert "canary: 5% of the traffic, 4 to 52 h; promote on error_rate <0.5%, quality_score >0.90" in shown
    assert "full: 100% of the traffic, at once for good: the candidate is the stable version" in shown
    assert shown.count("SHADOW_API_KEY is not set here; the shadow worker needs it") == 1
    for variable in ("PAGERDUTY_ROUTING_KEY", "SLACK_WEBHOOK_URL", "CONFIRM_SECRET"):
        assert f"{variable} is not set here; the controller needs it" in shown


def test_a_warning_is_told_beside_a_file_that_is_right(tmp_path: Path) -> None:
    done = check(tmp_path, GOOD.replace("      - {name: shadow, duration_hours: 4}\n", ""))
    assert done.returncode == 0
    assert "file.yaml: right" in done.stdout
    line = GOOD[: GOOD.index("      - {name: shadow")].count("\n") + 1
    assert (
        f"warning: {tmp_path}/file.yaml:{line}: rollouts[0].stages[0].traffic_pct: 'canary' gives"
        in done.stderr
    )
    assert check(tmp_path, GOOD).stderr == ""


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("<0.5%", "less", ["rollouts[0]", "error_rate"]),
        ("error_rate > 2% OR", "error_rate > 2% XOR", ["rollouts[0]", "^"]),
        ('quality_score: ">0.90"', 'quality_scor: ">0.90"', ["quality_score"]),
        ("{name: fuzzy}", "{name: fuzy}", ["fuzzy"]),
        ("stages:", "stges:", ["unknown key; did you mean 'stages'?"]),
    ],
)
def test_a_fault_is_told_with_its_place_and_remedy(
    tmp_path: Path, before: str, after: str, said: list[str]
) -> None:
    assert before in GOOD
    done = check(tmp_path, GOOD.replace(before, after))
    assert done.returncode == 2
    assert done.stdout == ""
    for part in said:
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_the_schema_is_json_schema_and_takes_the_example() -> None:
    schema = json.loads(shadowlane("config", "schema").stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"kafka", "clickhouse", "rollouts"} <= set(schema["properties"])


def test_every_key_is_in_the_documentation() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    schema = json.loads(shadowlane("config", "schema").stdout)

    def keys(node: dict[str, object], at: str) -> list[str]:
        found: list[str] = []
        reference = str(node.get("$ref", ""))
        if reference:
            node = schema["$defs"][reference.rsplit("/", 1)[1]]
        if node.get("type") == "array":
            return keys(node["items"], f"{at}[]")  # type: ignore[arg-type]
        properties = node.get("properties")
        if not properties:
            return [at]
        for name, child in properties.items():  # type: ignore[attr-defined]
            found += keys(child, f"{at}.{name}" if at else name)
        return found

    missing = [key for key in keys(schema, "") if f"`{key}" not in page]
    assert not missing


def test_an_address_where_nothing_answers_is_one_sentence_and_a_code(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(GOOD.replace("host: 127.0.0.1", "host: 127.0.0.1\n  port: 9"), encoding="utf-8")
    done = shadowlane("report", "--config", str(path))
    assert done.returncode == 4
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    unknown = shadowlane("report", "nothing", "--config", str(path))
    assert unknown.returncode == 2
    assert "to-gpt-4o" in unknown.stderr


def test_a_component_without_a_broker_says_so() -> None:
    done = shadowlane("status", "--json")
    assert done.returncode == 1
    assert not json.loads(done.stdout)["up"]


def test_every_fault_of_criteria_and_scorers_is_told_with_its_line(tmp_path: Path) -> None:
    done = check(
        tmp_path,
        """
rollouts:
  - name: a
    candidate: {base_url: "http://127.0.0.1:9/v1"}
    success_criteria:
      error_rate: "<5"
      quality_score: "much"
    auto_rollback: {trigger: "error_rate > 2% OR"}
    scorers:
      - {name: fuzy}
      - {name: exact, quality_weight: 1}
      - {name: latency, quality_weight: 1}
""",
    )
    assert done.returncode == 2
    for line, key in (
        (6, "success_criteria.error_rate"),
        (7, "success_criteria.quality_score"),
        (8, "auto_rollback.trigger"),
        (10, "scorers[0].name"),
        (12, "scorers[2].quality_weight"),
    ):
        assert f"file.yaml:{line}: rollouts[0].{key}: " in done.stderr


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    done = check(tmp_path, "kafka: {partitions: 4}\nworker: {concurrency: 2}\nkafka: {partitions: 8}\n")
    assert done.returncode == 2
    assert "file.yaml:3: kafka: is there twice (first in line 1)" in done.stderr
