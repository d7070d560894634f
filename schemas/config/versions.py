"""The versions of a rollout: which model, and where and how it is asked."""

import hashlib
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
import pydantic
from pydantic import Field

from shadowlane.errors import ConfigError
from shadowlane.schemas.config.section import Positive, Section
from shadowlane.schemas.events import Protocol

SideEffect = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]

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
    allow: list[SideEffect] = Field(
        default_factory=list,
        description="side effects that are not refused, by name: a tool that the provider runs (web_search, mcp, …), "
        "what the provider keeps (previous_response_id, prompt, container), production_host",
    )

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
        return digest(content)


class Stable(Version):
    """The version in charge. ``base_url`` is needed only where it is asked: in stages above 0%, and with noise."""

    model: str = Field(
        default="", description="the model in charge; requests for another one are left out. '' is any"
    )
    base_url: Annotated[str, Field(pattern=r"^(https?://[^\s]+)?$")] = ""


class Candidate(Version):
    model: str = Field(default="", description="'' keeps the model that the service asked for")
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]


def digest(content: Any) -> str:
    """Twelve hex digits of what JSON can say."""
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
