"""The names: well formed, documented, and those that the alert rules ask for."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shadowlane.metrics import ALL

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "examples" / "prometheus"
RULES: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "rules.yaml").read_text())["groups"][0]["rules"]
NAMES = {metric.name for metric in ALL}
SAMPLES = NAMES | {
    f"{metric.name}_{part}"
    for metric in ALL
    if metric.kind == "histogram"
    for part in ("bucket", "sum", "count")
}


def test_no_name_is_there_twice() -> None:
    assert len(NAMES) == len(ALL)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_a_name_says_what_it_is(metric: Any) -> None:
    assert re.fullmatch(r"shadowlane(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.kind != "histogram" or metric.name.endswith("_seconds")
    assert metric.help


def test_the_documentation_lists_them() -> None:
    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    rows = [f"| `{m.name}` | {m.kind} | {', '.join(m.labels)} | {m.help} |" for m in ALL]
    assert page.splitlines()[-len(rows) :] == rows


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_metrics_that_exist(rule: dict[str, Any]) -> None:
    asked = set(re.findall(r"shadowlane_\w+", rule["expr"]))
    assert asked <= SAMPLES
    assert asked or re.search(r"\bup\b|process_start_time_seconds", rule["expr"])
    labels = {label for metric in ALL if metric.name in asked for label in metric.labels} | {"instance"}
    said = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert said <= labels
    assert rule["annotations"]["look"]
    assert rule["labels"]["severity"] in ("warning", "critical")


def test_what_is_scraped_is_where_the_components_serve() -> None:
    from shadowlane.schemas.config import Monitoring

    (job,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    (targets,) = (static["targets"] for static in job["static_configs"])
    for target in targets:
        component, _, port = target.partition(":")
        assert Monitoring().port_of(component) == int(port)
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {target.partition(":")[0] for target in targets} <= set(compose)


def test_prometheus_takes_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    subprocess.run([promtool, "check", "rules", str(PROMETHEUS / "rules.yaml")], check=True)
