"""The configuration: one YAML file, then the environment, read once and typed.

``SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS=…`` overrides ``kafka: {bootstrap_servers: …}``, and so on: the key in
capitals, two underscores for each step down. Lists (rollouts, scorers) are set in the file alone. The file is
the one given by ``--config``, else ``SHADOWLANE_CONFIG``, else ``shadowlane.yaml`` in the working directory.
"""

from shadowlane.schemas.config.alerts import AlertChannel, Severity
from shadowlane.schemas.config.budgets import Budget, Spend
from shadowlane.schemas.config.capture import Capture, CaptureRoute
from shadowlane.schemas.config.components import (
    ClickHouse,
    Controller,
    DeadLetters,
    Embedded,
    Envelope,
    Flags,
    Ingest,
    Kafka,
    Logs,
    Monitoring,
    Pairing,
    Sink,
    Worker,
)
from shadowlane.schemas.config.rollouts import (
    DEFAULT_SCORERS,
    AutoRollback,
    Confirm,
    Match,
    Noise,
    Rollout,
    Sampling,
    Scorer,
    Sessions,
    SliceBy,
    Stage,
)
from shadowlane.schemas.config.section import Section
from shadowlane.schemas.config.settings import DEFAULT_FILE, Price, Settings, load
from shadowlane.schemas.config.versions import KINDS, Candidate, Stable, Version

__all__ = [
    "DEFAULT_FILE",
    "DEFAULT_SCORERS",
    "KINDS",
    "AlertChannel",
    "AutoRollback",
    "Budget",
    "Candidate",
    "Capture",
    "CaptureRoute",
    "ClickHouse",
    "Confirm",
    "Controller",
    "DeadLetters",
    "Embedded",
    "Envelope",
    "Flags",
    "Ingest",
    "Kafka",
    "Logs",
    "Match",
    "Monitoring",
    "Noise",
    "Pairing",
    "Price",
    "Rollout",
    "Sampling",
    "Scorer",
    "Section",
    "Sessions",
    "Settings",
    "Severity",
    "Sink",
    "SliceBy",
    "Spend",
    "Stable",
    "Stage",
    "Version",
    "Worker",
    "load",
]
