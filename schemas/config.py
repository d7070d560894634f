"""The configuration: one YAML file, then the environment, read once and typed.

``SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=…`` overrides ``kafka: {bootstrap_servers: …}``, and so on: the key in
capitals, two underscores for each step down. Lists (rollouts, scorers) are set in the file alone. The file is
the one given by ``--config``, else ``SHADOWLANE_CONFIG``, else ``shadowlane.yaml`` in the working directory.
"""

import hashlib
import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import orjson
import pydantic
import pydantic_settings
from pydantic import Field, SecretStr

from shadowlane.errors import ConfigError
from shadowlane.schemas.config_errors import explain, read_yaml
from shadowlane.schemas.events import MirroredRequest
from shadowlane.schemas.topics import Topics

DEFAULT_FILE = "shadowlane.yaml"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
Positive = Annotated[float, Field(gt=0)]


class Section(pydantic.BaseModel):
    """A part of the configuration: unknown keys are refused, values are frozen."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Kafka(Section):
    bootstrap_servers: str = "127.0.0.1:9092"
    topic_prefix: Name = "shadowlane"
    partitions: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=4, description="of each topic that shadowlane creates; topics that exist keep what they have"
    )
    replication_factor: Annotated[int, Field(ge=1)] = 1
    session_timeout_s: Positive = 6.0
    client: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="more options of librdkafka, for every producer and consumer"
    )

    @property
    def topics(self) -> Topics:
        return Topics(self.topic_prefix)


class ClickHouse(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8123
    username: str = "default"
    password: SecretStr = SecretStr("")
    database: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "shadowlane"
    secure: bool = False


class Worker(Section):
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=64, description="candidate calls in flight"
    )
    timeout_s: Positive = Field(default=60.0, description="of one attempt, from sending to the last byte")
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    retry_base_s: Positive = Field(
        default=0.5, description="first wait; doubled, with jitter, for each attempt more"
    )
    retry_max_s: Positive = Field(
        default=30.0, description="longest wait, also where retry-after asks for more"
    )
    drain_s: Annotated[float, Field(ge=0)] = Field(
        default=10.0, description="how long a clean stop waits for calls"
    )


class Pairing(Section):
    wait_s: Positive = Field(default=600.0, description="how long one half waits for the other")
    max_waiting_bytes: Annotated[int, Field(ge=2**20)] = Field(
        default=256 * 2**20, description="halves that wait, per worker and side; then reading pauses"
    )


class Sink(Section):
    max_rows: Annotated[int, Field(ge=1)] = 50_000
    max_bytes: Annotated[int, Field(ge=1024)] = 64 * 2**20
    max_wait_s: Positive = Field(default=1.0, description="how long a row waits for a larger insert")


class Envelope(Section):
    max_bytes: Annotated[int, Field(ge=1024, le=900_000)] = 256 * 1024
    linger_ms: Annotated[float, Field(ge=0)] = 50.0


class Price(Section):
    input: Annotated[float, Field(ge=0)] = Field(description="USD for a million input tokens")
    output: Annotated[float, Field(ge=0)] = Field(description="USD for a million output tokens")


class Scorer(Section):
    name: Name = Field(description="as the entry point in the group shadowlane.scorers is called")
    quality_weight: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="its weight in quality_score"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="handed to the scorer as arguments")


class Match(Section):
    service: str | None = None
    route: str | None = None

    def takes(self, service: str, route: str) -> bool:
        return self.service in (None, service) and self.route in (None, route)


class Stable(Section):
    model: str = Field(
        default="", description="the model in charge; requests for another one are left out. '' is any"
    )


class Candidate(Section):
    kind: Literal["openai", "http"] = Field(
        default="openai", description="http posts the body as it is to base_url"
    )
    model: str = Field(default="", description="'' keeps the model that the service asked for")
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
    api_key_env: str = Field(
        default="", description="the environment variable that holds the shadow side's own key"
    )
    headers: dict[str, str] = Field(default_factory=dict)
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="parameters that replace the request's own; null takes one out"
    )
    timeout_s: Positive | None = Field(default=None, description="instead of worker.timeout_s")

    def api_key(self) -> str:
        """The key from the environment, ``""`` where none is named.

        Raises:
            ConfigError: the variable is named and not set.
        """
        if not self.api_key_env:
            return ""
        key = os.environ.get(self.api_key_env, "")
        if not key:
            raise ConfigError(f"candidate.api_key_env names {self.api_key_env}, which is not set: export it")
        return key


class AutoRollback(Section):
    enabled: bool = True
    trigger: str = "error_rate > 2% OR quality_score < 0.80"
    target: Literal["previous_stable_version"] = "previous_stable_version"


class Stage(Section):
    name: Name = "shadow"
    duration_hours: Positive | None = Field(
        default=168.0, description="at its end without a verdict: inconclusive. null never ends"
    )
    min_hours: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="shortest stay before promoting"
    )
    min_pairs: Annotated[int, Field(ge=1)] = 500
    traffic_cycle_hours: Annotated[float, Field(ge=0)] = Field(
        default=24.0, description="the pairs must span it before promoting: a night says nothing of the day"
    )


class Rollout(Section):
    """One candidate beside one stable version."""

    name: Name
    match: Match = Match()
    stable: Stable = Stable()
    candidate: Candidate
    scorers: list[Scorer] = Field(
        default_factory=lambda: [Scorer.model_validate(s) for s in DEFAULT_SCORERS],
        description="which scorers run; those with a quality_weight make quality_score",
    )
    success_criteria: dict[str, str] = Field(
        default_factory=lambda: {"error_rate": "<0.5%", "quality_score": ">0.90"}
    )
    auto_rollback: AutoRollback = AutoRollback()
    margin: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.02, description="of the relative quality tests"
    )
    stage: Stage = Stage()

    # What, when it changes, makes the pairs so far say nothing of what comes: a new epoch.
    EPOCH_FIELDS: ClassVar = {"stable", "candidate", "scorers", "success_criteria", "auto_rollback", "margin"}

    @property
    def epoch(self) -> str:
        """Twelve hex digits of all that a verdict rests on."""
        content = self.model_dump(mode="json", include=self.EPOCH_FIELDS)
        del content["candidate"]["timeout_s"], content["candidate"]["headers"]
        canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(canonical).hexdigest()[:12]

    def asks_for(self, request: MirroredRequest) -> bool:
        """Whether the request is one of the stable version's."""
        return self.stable.model in ("", request.model)


# Agreement with the stable answer, and an answer at all: what can be said of any traffic, without a judge.
DEFAULT_SCORERS: list[dict[str, Any]] = [
    {"name": "answered", "quality_weight": 1.0},
    {"name": "fuzzy", "quality_weight": 1.0},
    {"name": "tool_calls", "quality_weight": 1.0},  # abstains where no tool is called
    {"name": "exact"},
    {"name": "normalised"},
    {"name": "json_valid"},
    {"name": "json_fields"},
    {"name": "length_ratio"},
    {"name": "refusal"},
    {"name": "truncation"},
    {"name": "error"},
    {"name": "latency"},
    {"name": "input_tokens"},
    {"name": "output_tokens"},
    {"name": "cost"},
]


class Settings(pydantic_settings.BaseSettings):
    """All of it. Every component reads the same file."""

    model_config = pydantic_settings.SettingsConfigDict(
        env_prefix="SHADOWLANE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    kafka: Kafka = Kafka()
    clickhouse: ClickHouse = ClickHouse()
    worker: Worker = Worker()
    pairing: Pairing = Pairing()
    sink: Sink = Sink()
    envelope: Envelope = Envelope()
    prices: dict[str, Price] = Field(default_factory=dict, description="by model; without one: no cost score")
    rollouts: list[Rollout] = Field(
        default_factory=list, description="a request belongs to the first one that takes it"
    )

    @pydantic.model_validator(mode="after")
    def _rollout_names_differ(self) -> "Settings":
        names = [rollout.name for rollout in self.rollouts]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rollouts are called {twice[0]!r}: give each its own name")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[pydantic_settings.BaseSettings],
        init_settings: pydantic_settings.PydanticBaseSettingsSource,
        env_settings: pydantic_settings.PydanticBaseSettingsSource,
        dotenv_settings: pydantic_settings.PydanticBaseSettingsSource,
        file_secret_settings: pydantic_settings.PydanticBaseSettingsSource,
    ) -> tuple[pydantic_settings.PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)  # the file comes in as arguments; the environment is above it

    def rollout_for(self, service: str, route: str) -> Rollout | None:
        """The rollout that a request belongs to: the first that takes it."""
        return next((r for r in self.rollouts if r.match.takes(service, route)), None)

    def rollout(self, name: str | None) -> Rollout:
        """The rollout of that name; the only one, where no name is given.

        Raises:
            ConfigError: none of that name, none at all, or several and no name given.
        """
        names = ", ".join(r.name for r in self.rollouts) or "none"
        if name is None and len(self.rollouts) == 1:
            return self.rollouts[0]
        for rollout in self.rollouts:
            if rollout.name == name:
                return rollout
        if name is None and self.rollouts:
            raise ConfigError(f"which rollout? Name one of: {names}")
        raise ConfigError(f"no rollout {name or ''!r} in the configuration (there: {names})")


def load(path: Path | None = None) -> Settings:
    """The settings of a file and the environment.

    Without a path: the file that ``SHADOWLANE_CONFIG`` names, else ``shadowlane.yaml``, else no file.

    Raises:
        ConfigError: the file can't be read, is no YAML, or something in it or the environment is wrong:
            one line for each, with file, line, key, and remedy.
    """
    if path is None:
        named = os.environ.get("SHADOWLANE_CONFIG")
        path = Path(named) if named else Path(DEFAULT_FILE)
        if not named and not path.exists():
            return _build({}, {}, "the environment")
    content, lines = read_yaml(path)
    return _build(content, lines, str(path))


def _build(content: dict[str, Any], lines: dict[tuple[str | int, ...], int], source: str) -> Settings:
    try:
        return Settings(**content)
    except pydantic.ValidationError as exc:
        raise ConfigError("\n".join(explain(exc, lines, source, Settings))) from exc
    except pydantic_settings.SettingsError as exc:
        raise ConfigError(f"the environment: {exc}; lists and objects are written as JSON there") from exc
