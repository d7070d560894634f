"""What each process is told: where its servers are, how much it may hold, how long it may wait."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field, SecretStr

from shadowlane.schemas.config.section import Name, Port, Positive, Section
from shadowlane.schemas.topics import Topics


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
    max_bytes: Annotated[int, Field(ge=32 * 2**20)] = Field(
        default=256 * 2**20,
        description="of requests and answers in memory, copies included; where it is scarce fewer calls are made "
        "at once",
    )
    timeout_s: Positive = Field(default=60.0, description="of one attempt, from sending to the last byte")
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    retry_base_s: Positive = Field(
        default=0.5, description="first wait; doubled, with jitter, for each attempt more"
    )
    retry_max_s: Positive = Field(
        default=30.0, description="longest wait, also where retry-after asks for more"
    )
    stop_file: str = Field(
        default="", description="while this file is there, no call is made; its first line says why"
    )
    drain_s: Annotated[float, Field(ge=0)] = Field(
        default=10.0, description="how long a clean stop waits for calls"
    )
    production_hosts: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="hosts of production, such as shop.example.com or *.shop.example.com: no version of kind http may "
        "be asked there",
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


class Envelope(Section):
    max_bytes: Annotated[int, Field(ge=1024, le=900_000)] = 256 * 1024
    linger_ms: Annotated[float, Field(ge=0)] = 50.0


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
