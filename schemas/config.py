"""The configuration: one YAML file, then the environment, read once and typed.

``SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=…`` overrides ``kafka: {bootstrap_servers: …}``, and so on: the key in
capitals, two underscores for each step down. Lists (rollouts, scorers) are set in the file alone. The file is
the one given by ``--config``, else ``SHADOWLANE_CONFIG``, else ``shadowlane.yaml`` in the working directory.
"""

import hashlib
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import orjson
import pydantic
import pydantic_settings
from pydantic import Field, SecretStr

from shadowlane.errors import ConfigError
from shadowlane.schemas.config_errors import explain, read_yaml
from shadowlane.schemas.events import Protocol
from shadowlane.schemas.topics import Topics

DEFAULT_FILE = "shadowlane.yaml"
NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
Positive = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]


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


class Embedded(Section):
    broker_max_bytes: Annotated[int, Field(ge=64 * 2**20)] = Field(
        default=4 * 2**30,
        description="what may wait in the embedded broker to be read, on disk; above it mirrors are refused",
    )


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
    max_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=64 * 2**20, description="of one insert, and of all that wait for theirs"
    )
    max_wait_s: Positive = Field(default=0.5, description="how long a row waits for a larger insert")


class DeadLetters(Section):
    """When a component stops rather than bury what it can't read."""

    limit: Annotated[int, Field(ge=0)] = Field(
        default=1000,
        description="so many dead letters of one window, per process; at the next one the component stops, "
        "with exit code 7. 0: no limit",
    )
    window_s: Positive = Field(default=60.0, description="by when their records came to Kafka")
    hold: bool = Field(
        default=False,
        description="true: the stopped component stays, and does nothing, until it is told to end; for "
        "orchestrators that start again whatever ends",
    )


class Controller(Section):
    """Who looks at the evidence, decides, and tells."""

    poll_s: Positive = 10.0
    bucket_s: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=60, description="evidence is folded by buckets of so many seconds"
    )
    close_after_s: Annotated[float, Field(ge=0)] = Field(
        default=5.0, description="how long after its end a bucket is closed: longer than any insert takes"
    )
    lease_s: Positive = Field(
        default=30.0, description="how long a leader may be silent before another leads"
    )
    blind_after_s: Annotated[float, Field(ge=0)] = Field(
        default=900.0,
        description="how long no pair may come while the candidate serves users, before on-call is told; 0 is never",
    )
    link: str = Field(
        default="", description="where a page tells on-call to look; {rollout} stands for the rollout's name"
    )


class Flags(Section):
    """The OFREP endpoint, which tells services in any language who serves a key."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8016
    token_env: str = Field(
        default="", description="the environment variable with the bearer token; needed beyond loopback"
    )


class Ingest(Section):
    """Where services in any language send what they asked and answered, over HTTP."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8017
    token_env: str = Field(
        default="", description="the environment variable with the token; needed beyond loopback"
    )
    service: str = Field(default="ingest", min_length=1, description="of what names none")
    route: str = Field(default="chat.completions", min_length=1, description="of what names none")
    redact: bool = Field(default=True, description="false: everything goes out as it came")
    sample: Annotated[float, Field(ge=0, le=1)] = Field(default=1.0, description="of the requests, by key")
    max_body_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=16 * 2**20, description="of one POST, unpacked; above it: 413"
    )
    max_held_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=64 * 2**20,
        description="of bodies that wait for Kafka's acknowledgement; above it: 429. At least max_body_bytes",
    )
    delivery_timeout_s: Positive = Field(
        default=30.0, description="how long Kafka may take to acknowledge; after it: 503"
    )
    remembered: Annotated[int, Field(ge=0)] = Field(
        default=100_000, description="request ids that are known again, so that a repeated POST counts once"
    )
    join_wait_s: Positive = Field(
        default=60.0, description="how long a request that a gateway copied waits for what was served to it"
    )
    join_max_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=64 * 2**20, description="of all that wait so; above it the oldest gives way"
    )
    key_header: str = Field(
        default="", description="of copied requests: the header with the key that sampling sticks to"
    )
    otel_topic: str = Field(
        default="", description="where an OpenTelemetry collector writes GenAI spans; '' reads none"
    )
    otel_encoding: Literal["otlp_proto", "otlp_json"] = Field(
        default="otlp_proto", description="as the collector's Kafka exporter has it"
    )

    @pydantic.model_validator(mode="after")
    def _one_body_fits(self) -> "Ingest":
        if self.max_held_bytes < self.max_body_bytes:
            raise ValueError(
                f"max_held_bytes is {self.max_held_bytes}, less than one body may have: raise it to max_body_bytes "
                f"({self.max_body_bytes}) at least"
            )
        return self


class Monitoring(Section):
    """Where each component serves /metrics, /healthz and /readyz, and when one is stalled."""

    host: str = Field(default="127.0.0.1", description="of all of these; they hold no secret and no payload")
    worker_port: Port = Field(
        default=9461, description="0: none; where it is taken, the component only warns"
    )
    pairing_port: Port = 9462
    sink_port: Port = 9463
    controller_port: Port = 9464
    flags_port: Port = 9465
    ingest_port: Port = 9466
    lag_every_s: Positive = Field(
        default=10.0, description="how often Kafka is asked how far behind a group is"
    )
    stalled_after_s: Annotated[float, Field(ge=0)] = Field(
        default=120.0,
        description="how long a component may stand still with work to do, before it ends with exit code 8, to be "
        "started again; 0 is never",
    )

    def port_of(self, component: str) -> int:
        port: int = getattr(self, f"{component}_port")
        return port


class Logs(Section):
    """What the components write on stderr."""

    format: Literal["text", "json"] = Field(default="text", description="json: one object a line")


Severity = Literal["info", "warning", "critical"]


class AlertChannel(Section):
    """Somewhere to tell. ``shadowlane alerts test NAME`` sends a test."""

    name: Name
    kind: Literal["pagerduty", "alertmanager", "slack", "webhook"]
    url: Annotated[str, Field(pattern=r"^(https?://[^\s]+)?$")] = Field(
        default="", description="pagerduty has a default; of slack, url_env keeps it out of the file"
    )
    url_env: str = Field(default="", description="the environment variable that holds the url")
    key_env: str = Field(
        default="",
        description="the environment variable with PagerDuty's routing key, the webhook's signing secret "
        "(whsec_…), or a bearer token for Alertmanager",
    )
    min_severity: Severity = "info"
    timeout_s: Positive = 10.0


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
    """Which requests a rollout takes: those that have all of this."""

    service: str | None = None
    route: str | None = None
    attributes: dict[str, str] = Field(
        default_factory=dict, description="such as {tenant: acme}; a request must have each with that value"
    )

    def takes(self, service: str, route: str, attributes: Mapping[str, str] = NO_ATTRIBUTES) -> bool:
        return self.takes_place(service, route) and all(
            attributes.get(name) == value for name, value in self.attributes.items()
        )

    def takes_place(self, service: str, route: str) -> bool:
        """Whether it takes any request of this service and route."""
        return self.service in (None, service) and self.route in (None, route)


class Sampling(Section):
    rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="of the mirrored requests that match, by key; the others make no pair"
    )


KINDS: Mapping[str, str] = {
    "openai": Protocol.OPENAI_CHAT.value,
    "openai-responses": Protocol.OPENAI_RESPONSES.value,
    "anthropic": Protocol.ANTHROPIC_MESSAGES.value,
}
"""Kinds of versions that speak a model's API, and which one."""


class Version(Section):
    """A model with all that makes its answers what they are, and where the shadow worker asks it."""

    kind: Literal["openai", "openai-responses", "anthropic", "http"] = Field(
        default="openai",
        description="the API that it speaks: OpenAI's chat completions (or a server compatible with them), OpenAI's "
        "responses, Anthropic's messages; http posts the body as it is to base_url",
    )
    model: str = ""
    base_url: str
    api_key_env: str = Field(
        default="", description="the environment variable that holds the shadow side's own key"
    )
    headers: dict[str, str] = Field(default_factory=dict)
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="parameters that replace the request's own; null takes one out"
    )
    timeout_s: Positive | None = Field(default=None, description="instead of worker.timeout_s")

    @property
    def protocol(self) -> str:
        """The :class:`~shadowlane.schemas.events.Protocol` of what it is asked; ``""`` of kind http: any."""
        return KINDS.get(self.kind, "")

    def api_key(self) -> str:
        """The key from the environment, ``""`` where none is named.

        Raises:
            ConfigError: the variable is named and not set.
        """
        if not self.api_key_env:
            return ""
        key = os.environ.get(self.api_key_env, "")
        if not key:
            raise ConfigError(f"api_key_env names {self.api_key_env}, which is not set: export it")
        return key

    @pydantic.field_validator("overrides")
    @classmethod
    def _model_is_a_key_of_its_own(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        if "model" in overrides:
            raise ValueError("the model has a key of its own: put it into model, not into overrides")
        return overrides

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of what makes its answers: kind, model, address, overrides."""
        content = self.model_dump(mode="json", include={"kind", "model", "base_url", "overrides"})
        return _digest(content)


class Stable(Version):
    """The version in charge. ``base_url`` is needed only where it is shadowed: in stages above 0%."""

    model: str = Field(
        default="", description="the model in charge; requests for another one are left out. '' is any"
    )
    base_url: Annotated[str, Field(pattern=r"^(https?://[^\s]+)?$")] = ""


class Candidate(Version):
    model: str = Field(default="", description="'' keeps the model that the service asked for")
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]


class AutoRollback(Section):
    enabled: bool = Field(default=True, description="false: on-call is told, and nothing else is done")
    trigger: str = "error_rate > 2% OR quality_score < 0.80"
    target: Literal["previous_stable_version"] = "previous_stable_version"
    slices: Literal["whole", "alone"] = Field(
        default="whole",
        description="where one slice alone regressed: roll back the whole rollout, or that slice alone",
    )


class SliceBy(Section):
    """One attribute, ``route`` or ``service``, by whose values traffic is sliced. A name alone is short for it."""

    # A slice is called attribute=value, so the first = ends the attribute.
    attribute: Annotated[str, Field(min_length=1, pattern=r"^[^=]+$")]
    major_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.25, description="a slice with this share of the pairs must show all criteria by itself"
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"attribute": value} if isinstance(value, str) else value


class Sessions(Section):
    """Requests of one session are alike: with this, each session is one unit of the tests, by its mean."""

    by: Annotated[str, Field(min_length=1)] = Field(
        default="key", description="key: the mirror's key; else the name of an attribute"
    )
    minutes: Positive = Field(
        default=10.0, description="a session is what comes within so many minutes of its first pair"
    )


class Confirm(Section):
    """A webhook that must say yes before the stage begins: 200 with {"approved": true}."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
    secret_env: str = Field(
        default="", description="the environment variable with the secret that requests are signed with"
    )
    timeout_s: Positive = 10.0


class Stage(Section):
    """A share of the traffic, how long at least and at most, and what must be shown to go on."""

    name: Name
    traffic_pct: Annotated[float, Field(ge=0, le=100)] = 0.0
    duration_hours: Annotated[float, Field(ge=0)] = Field(default=1.0, description="the shortest stay")
    max_hours: Positive | None = Field(
        default=None,
        description="at its end without a verdict: inconclusive. By default a day and a traffic cycle after "
        "duration_hours",
    )
    min_pairs: Annotated[int, Field(ge=1)] = 500
    traffic_cycle_hours: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description="the pairs must span so much before promoting; by default duration_hours, at most the "
        "rollout's traffic_cycle_hours, and all of that before the step to 100%",
    )
    success_criteria: dict[str, str] | None = Field(default=None, description="instead of the rollout's")
    confirm: Confirm | None = None


class Rollout(Section):
    """One candidate beside one stable version."""

    name: Name
    generation: Annotated[int, Field(ge=1)] = Field(
        default=1, description="raise it to try the same again: it makes a new epoch"
    )
    match: Match = Match()
    sampling: Sampling = Sampling()
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
    slices: list[SliceBy] = Field(
        default_factory=list, description="attributes by whose values to look closer"
    )
    sessions: Sessions | None = Field(default=None, description="null: each request is a unit of its own")
    traffic_cycle_hours: Annotated[float, Field(ge=0)] = Field(
        default=24.0,
        description="a night says nothing of the day: how long until traffic has shown all of it",
    )
    stages: Annotated[list[Stage], Field(min_length=1)] = Field(
        default_factory=lambda: [Stage(name="shadow")], description="in order; their traffic_pct never falls"
    )
    keep_previous_hours: Annotated[float, Field(ge=0)] = Field(
        default=168.0,
        description="how long after promotion the previous stable version stays the rollback target, guarded",
    )
    alerts: list[Name] | None = Field(default=None, description="names of alert channels; null: all of them")

    # What, when it changes, makes the pairs so far say nothing of what comes: a new epoch.
    EPOCH_FIELDS: ClassVar = {
        "generation",
        "stable",
        "candidate",
        "scorers",
        "success_criteria",
        "auto_rollback",
        "margin",
        "slices",
        "sessions",
    }
    # Of each version, what says how it is reached and not how it answers.
    _REACHED_BY: ClassVar = ("timeout_s", "headers")

    @pydantic.field_validator("slices")
    @classmethod
    def _an_attribute_slices_once(cls, slices: list[SliceBy]) -> list[SliceBy]:
        names = [by.attribute for by in slices]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]!r} is there twice, and would count each pair twice: take one out")
        return slices

    @pydantic.model_validator(mode="after")
    def _stages_make_sense(self) -> "Rollout":
        names = [stage.name for stage in self.stages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two stages are called {twice[0]!r}: give each its own name")
        for before, after in pairwise(self.stages):
            if after.traffic_pct < before.traffic_pct:
                raise ValueError(
                    f"stage {after.name!r} has {after.traffic_pct:g}% of the traffic, less than {before.name!r} "
                    f"before it ({before.traffic_pct:g}%): put the stages in order"
                )
        for stage in self.stages:
            if stage.max_hours is not None and stage.max_hours < stage.duration_hours:
                raise ValueError(f"stage {stage.name!r}: max_hours is shorter than duration_hours")
        if unsaid := self.unsaid_parameters():
            one, other = (
                ("candidate", "stable") if unsaid[0] in self.candidate.overrides else ("stable", "candidate")
            )
            raise ValueError(
                f"{one}.overrides sets {unsaid[0]!r}, and in stages above 0% each version is asked what the other "
                f"was: say the other's own in {other}.overrides ({unsaid[0]}: null where it has none)"
            )
        return self

    def unsaid_parameters(self) -> list[str]:
        """Parameters of which one arm's value is known and the other's is not, where each arm shadows the other."""
        if not self.shifts_traffic:
            return []
        return sorted(set(self.candidate.overrides) ^ set(self.stable.overrides))

    @property
    def shifts_traffic(self) -> bool:
        """Whether the candidate ever serves a user."""
        return any(stage.traffic_pct > 0 for stage in self.stages)

    @property
    def epoch(self) -> str:
        """Twelve hex digits of all that a verdict rests on."""
        content = self.model_dump(mode="json", include=self.EPOCH_FIELDS)
        for arm in ("stable", "candidate"):
            for name in self._REACHED_BY:
                del content[arm][name]
        del content["auto_rollback"]["enabled"]
        content["stages"] = [
            {"name": s.name, "traffic_pct": s.traffic_pct, "success_criteria": s.success_criteria}
            for s in self.stages
        ]
        return _digest(content)

    def criteria_of(self, stage: Stage) -> dict[str, str]:
        return self.success_criteria if stage.success_criteria is None else stage.success_criteria


def _digest(content: Any) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


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
    embedded: Embedded = Embedded()
    worker: Worker = Worker()
    pairing: Pairing = Pairing()
    sink: Sink = Sink()
    dead_letters: DeadLetters = DeadLetters()
    envelope: Envelope = Envelope()
    controller: Controller = Controller()
    flags: Flags = Flags()
    ingest: Ingest = Ingest()
    monitoring: Monitoring = Monitoring()
    logs: Logs = Logs()
    alerts: list[AlertChannel] = Field(default_factory=list, description="who is told")
    prices: dict[str, Price] = Field(default_factory=dict, description="by model; without one: no cost score")
    rollouts: list[Rollout] = Field(
        default_factory=list, description="a request belongs to the first one that takes it"
    )

    @pydantic.model_validator(mode="after")
    def _names_differ(self) -> "Settings":
        for what, names in (
            ("rollouts", [rollout.name for rollout in self.rollouts]),
            ("alert channels", [channel.name for channel in self.alerts]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"two {what} are called {twice[0]!r}: give each its own name")
        channels = [channel.name for channel in self.alerts]
        for rollout in self.rollouts:
            if unknown := [name for name in rollout.alerts or () if name not in channels]:
                raise ValueError(
                    f"rollout {rollout.name!r} tells {unknown[0]!r}, and there is no such alert channel "
                    f"(there: {', '.join(channels) or 'none'})"
                )
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

    def rollout_for(
        self, service: str, route: str, attributes: Mapping[str, str] = NO_ATTRIBUTES
    ) -> Rollout | None:
        """The rollout that a request belongs to: the first that takes it."""
        for rollout in self.rollouts:
            if rollout.match.takes(service, route, attributes):
                return rollout
        return None

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
