"""A configuration that is wrong says where, what, and what to write instead."""

from pathlib import Path
from typing import Any

import pydantic
import pytest

from shadowlane.errors import ConfigError
from shadowlane.schemas.config import Settings, load

GOOD = """\
kafka:
  bootstrap_servers: kafka:9092
rollouts:
  - name: to-b
    match: {service: desk}
    stable: {model: a}
    candidate: {model: b, base_url: "http://models/v1"}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "shadowlane.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(write(tmp_path, text))
    return str(refused.value)


def test_a_file_gives_settings_and_defaults_fill_in(tmp_path: Path) -> None:
    settings = load(write(tmp_path, GOOD))
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.kafka.partitions == 4
    assert settings.rollout(None).success_criteria == {"error_rate": "<0.5%", "quality_score": ">0.90"}


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHADOWLANE_CONFIG", raising=False)
    assert load() == Settings()


def test_the_environment_is_above_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS", "other:9092")
    monkeypatch.setenv("SHADOWLANE_CONFIG", str(write(tmp_path, GOOD)))
    settings = load()
    assert settings.kafka.bootstrap_servers == "other:9092"
    assert settings.rollouts[0].name == "to-b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "kafka: {bootstrap_server: x}",
            ":1: kafka.bootstrap_server: unknown key; did you mean 'bootstrap_servers'?",
        ),
        (
            "kafka:\n  partitions: 0\n",
            ":2: kafka.partitions: input should be greater than or equal to 1 (it is 0)",
        ),
        (GOOD.replace("base_url", "url"), ":7: rollouts[0].candidate.base_url: is missing: add it"),
        (
            GOOD.replace("http://models", "models"),
            ":7: rollouts[0].candidate.base_url: 'models/v1' does not fit",
        ),
        (
            GOOD + GOOD[GOOD.index("  - name") :],
            ":8: rollouts[1].name: two rollouts are called 'to-b': give each its own name",
        ),
        ("kafka: [", "not YAML"),
        ("- a\n- b\n", "made of sections"),
        ("kafka: {client: {a: [1]}}", ":1: kafka.client.a"),
    ],
)
def test_each_fault_names_line_key_and_remedy(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text)


STAGES = (
    GOOD
    + """\
    stages:
      - name: canary
        traffic_pct: 5
      - name: partial
        traffic_pct: 25
    alerts: [pager]
alerts:
  - {name: pager, kind: slack}
"""
)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("name: partial", "name: canary", ":11: rollouts[0].stages[1].name: two stages are called 'canary'"),
        (
            "traffic_pct: 25",
            "traffic_pct: 2",
            ":11: rollouts[0].stages[1].name: stage 'partial' has 2% of the",
        ),
        (
            "traffic_pct: 5\n",
            "max_hours: 0.5\n",
            ":9: rollouts[0].stages[0].name: stage 'canary': max_hours is shorter than duration_hours",
        ),
        (
            'candidate: {model: b, base_url: "http://models/v1"}',
            'candidate: {model: b, base_url: "http://models/v1",\n      overrides: {temperature: 0}}',
            ":8: rollouts[0].candidate.overrides.temperature: candidate.overrides sets 'temperature', and in",
        ),
        (
            "{name: pager,",
            "{name: page,",
            ":13: rollouts[0].alerts[0]: rollout 'to-b' tells 'pager', and there is",
        ),
        (
            "kind: slack}",
            "kind: slack}\n  - {name: pager, kind: pagerduty}",
            ":16: alerts[1].name: two alert channels are called 'pager'",
        ),
        ("kind: slack", "kind: teams", ":15: alerts[0].kind: 'teams' is none of 'pagerduty'"),
        ("alerts: [pager]", "slices: [{atribute: a}]", ":13: rollouts[0].slices[0].atribute: unknown key"),
        ("alerts: [pager]", "slices: [a, {attribute: a}]", ":13: rollouts[0].slices: 'a' is there twice"),
        ("alerts: [pager]", "slices: [a=b]", ":13: rollouts[0].slices[0].attribute: 'a=b' does not fit"),
    ],
)
def test_a_fault_of_what_stands_together_is_shown_where_it_is(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    load(write(tmp_path, STAGES))
    assert before in STAGES
    assert said in refusal(tmp_path, STAGES.replace(before, after))


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    said = refusal(tmp_path, "kafka: {partitions: 0}\nsink: {max_rows: -1}\nworkr: {}\n")
    assert len(said.splitlines()) == 3


def test_a_fault_of_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHADOWLANE_WORKER__CONCURRENCY", "many")
    with pytest.raises(ConfigError, match="environment: SHADOWLANE_WORKER__CONCURRENCY"):
        load(write(tmp_path, GOOD))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        load(tmp_path / "none.yaml")


def test_the_password_is_not_shown() -> None:
    settings = Settings(clickhouse={"password": "hunter2"})
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()


def test_a_change_of_what_a_verdict_rests_on_is_a_new_epoch(tmp_path: Path) -> None:
    epoch = load(write(tmp_path, GOOD)).rollouts[0].epoch
    assert load(write(tmp_path, GOOD)).rollouts[0].epoch == epoch
    assert load(write(tmp_path, GOOD + "    margin: 0.03\n")).rollouts[0].epoch != epoch
    assert load(write(tmp_path, GOOD.replace("model: b", "model: c"))).rollouts[0].epoch != epoch
    assert (
        load(write(tmp_path, GOOD + "    stages: [{name: shadow, min_pairs: 9}]\n")).rollouts[0].epoch
        == epoch
    )


def test_the_first_rollout_that_takes_a_request_has_it(tmp_path: Path) -> None:
    second = GOOD[GOOD.index("  - name") :].replace("to-b", "to-c").replace("{service: desk}", "{}")
    settings = load(write(tmp_path, GOOD + second))
    assert settings.rollout_for("desk", "/x").name == "to-b"  # type: ignore[union-attr]
    assert settings.rollout_for("shop", "/x").name == "to-c"  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="Name one of: to-b, to-c"):
        settings.rollout(None)
    with pytest.raises(ConfigError, match="no rollout 'to-d'"):
        settings.rollout("to-d")


def test_the_candidates_key_is_read_from_the_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = GOOD.replace("model: b", "model: b, api_key_env: SHADOW_KEY")
    candidate = load(write(tmp_path, text)).rollouts[0].candidate
    with pytest.raises(ConfigError, match="SHADOW_KEY, which is not set"):
        candidate.api_key()
    monkeypatch.setenv("SHADOW_KEY", "k")
    assert candidate.api_key() == "k"


def test_noise_needs_to_know_where_the_stable_version_is(tmp_path: Path) -> None:
    stable = "    stable: {model: a}\n"
    with pytest.raises(ConfigError, match=r"stable\.base_url does not say where: give it"):
        load(write(tmp_path, GOOD + "    noise: {rate: 0.05}\n"))
    asked = GOOD.replace(stable, '    stable: {model: a, base_url: "http://models/v1"}\n')
    epochs = {load(write(tmp_path, f"{asked}    noise: {{rate: {n}}}\n")).rollouts[0].epoch for n in (0, 0.5)}
    assert len(epochs) == 1  # what is shown alone begins no new epoch
    elsewhere = GOOD.replace(stable, "    stable: {model: a, kind: bedrock}\n")  # whose address AWS knows
    assert load(write(tmp_path, elsewhere + "    noise: {rate: 0.05}\n")).rollouts[0].noise.rate == 0.05


@pytest.mark.parametrize(
    ("stable", "candidate", "said"),
    [
        ({}, {"base_url": "http://c"}, "names no model to price"),
        ({"model": "old"}, {"base_url": "http://c"}, "the prices have no 'old'"),
        ({"model": "old"}, {"base_url": "http://c", "model": "new"}, ""),  # nobody asks the stable version
        (
            {"model": "old", "base_url": "http://s"},
            {"base_url": "http://c", "model": "new"},
            "the prices have no 'old'",
        ),
        (
            {"model": "old", "kind": "bedrock"},
            {"base_url": "http://c", "model": "new"},
            "the prices have no 'old'",
        ),
    ],
)
def test_a_budget_in_dollars_needs_the_price_of_all_who_are_asked(
    stable: dict[str, Any], candidate: dict[str, Any], said: str
) -> None:
    rollout = {"name": "r", "stable": stable, "candidate": candidate, "budget": {"day": {"dollars": 1}}}
    document = {"prices": {"new": {"input": 1, "output": 1}}, "rollouts": [rollout]}
    if not said:
        assert Settings.model_validate(document).rollouts[0].budget.in_dollars
        return
    with pytest.raises(pydantic.ValidationError, match=said):
        Settings.model_validate(document)


@pytest.mark.parametrize(
    ("candidate", "instead"),
    [
        ({"kind": "python", "python": {"callable": "a:b", "allow_code_execution": True}}, "in the callable"),
        ({"kind": "http", "base_url": "http://c"}, "in http.api"),
        (
            {
                "kind": "http",
                "base_url": "http://c",
                "http": {"api": "openai", "body": {"q": {"$from": "/model"}}},
            },
            "http.body is its own form",
        ),
        (
            {"kind": "http", "base_url": "http://c", "http": {"api": "openai", "method": "GET"}},
            "by http.query",
        ),
    ],
)
def test_parameters_are_only_left_out_of_a_models_request(candidate: dict[str, Any], instead: str) -> None:
    rollout = {
        "name": "r",
        "stable": {"model": "a"},
        "candidate": candidate | {"rejected_parameters": "leave_out"},
    }
    with pytest.raises(pydantic.ValidationError, match=instead):
        Settings.model_validate({"rollouts": [rollout]})
