"""All of the configuration, and how it is read."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic
import pydantic_settings
from pydantic import Field

from shadowlane.errors import ConfigError
from shadowlane.schemas.config.alerts import AlertChannel
from shadowlane.schemas.config.capture import Capture
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
from shadowlane.schemas.config.errors import explain, read_yaml
from shadowlane.schemas.config.rollouts import NO_ATTRIBUTES, Rollout
from shadowlane.schemas.config.section import Section

DEFAULT_FILE = "shadowlane.yaml"


class Price(Section):
    input: Annotated[float, Field(ge=0)] = Field(description="USD for a million input tokens")
    output: Annotated[float, Field(ge=0)] = Field(description="USD for a million output tokens")


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
    capture: Capture = Capture()
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
        self._budgets_have_prices()
        channels = [channel.name for channel in self.alerts]
        for rollout in self.rollouts:
            if unknown := [name for name in rollout.alerts or () if name not in channels]:
                raise ValueError(
                    f"rollout {rollout.name!r} tells {unknown[0]!r}, and there is no such alert channel "
                    f"(there: {', '.join(channels) or 'none'})"
                )
        return self

    def _budgets_have_prices(self) -> None:
        for rollout in self.rollouts:
            if not rollout.budget.in_dollars:
                continue
            asked = [rollout.candidate.model or rollout.stable.model]
            asked += [rollout.stable.model] if rollout.stable.reachable else []
            for model in asked:
                if model not in self.prices:
                    lacking = f"the prices have no {model!r}: add it" if model else "names no model to price"
                    raise ValueError(f"rollout {rollout.name!r} has a budget in dollars, and {lacking}")

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
