"""The versions of a rollout: which model, and where and how it is asked."""

import hashlib
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import orjson
import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from shadowlane.errors import ConfigError
from shadowlane.schemas.config.kinds import Bedrock, Http, Prompt, Python
from shadowlane.schemas.config.section import Positive, Section
from shadowlane.schemas.events import Protocol

SideEffect = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]

KINDS: Mapping[str, str] = {
    "openai": Protocol.OPENAI_CHAT.value,
    "openai-responses": Protocol.OPENAI_RESPONSES.value,
    "anthropic": Protocol.ANTHROPIC_MESSAGES.value,
    "bedrock": Protocol.BEDROCK_CONVERSE.value,
}
"""Kinds of versions that speak a model's API, and which one."""

WITHOUT_ADDRESS = frozenset({"bedrock", "python"})
"""Kinds that can be asked without a ``base_url``."""

Address = Annotated[str, Field(pattern=r"^(https?://[^\s]+)?$")]


class Version(Section):
    """A model with all that makes its answers what they are, and where the shadow worker asks it."""

    kind: Literal["openai", "openai-responses", "anthropic", "bedrock", "http", "python"] = Field(
        default="openai",
        description="the API that it speaks: OpenAI's chat completions (or a server compatible with them), OpenAI's "
        "responses, Anthropic's messages, Bedrock's Converse; http is any other service that takes and gives JSON, "
        "python a callable",
    )
    model: str = ""
    base_url: Address = ""
    api_key_env: str = Field(
        default="", description="the environment variable that holds the shadow side's own key"
    )
    headers: dict[str, str] = Field(default_factory=dict)
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="parameters that replace the request's own; null takes one out"
    )
    prompt: Prompt | None = Field(
        default=None, description="the version's own system prompt, or a part of it"
    )
    rejected_parameters: Literal["fail", "leave_out"] = Field(
        default="fail",
        description="what becomes of a request with a parameter that the version does not take: it fails, or is asked "
        "again without it, and left_out of the pair names it",
    )
    timeout_s: Positive | None = Field(default=None, description="instead of worker.timeout_s")
    allow: list[SideEffect] = Field(
        default_factory=list,
        description="side effects that are not refused, by name: a tool that the provider runs (web_search, mcp, …), "
        "what the provider keeps (previous_response_id, prompt, container), production_host",
    )
    http: Http | None = Field(
        default=None, description="of kind http: null posts the body as it is to base_url"
    )
    python: Python | None = Field(default=None, description="of kind python, and needed there")
    bedrock: Bedrock | None = Field(default=None, description="of kind bedrock")

    @property
    def protocol(self) -> str:
        """The :class:`~shadowlane.schemas.events.Protocol` of what it is asked; ``""``: whatever the request is."""
        own = self.http or self.python
        return KINDS.get((own.api or "") if own is not None else self.kind, "")

    @property
    def asked_as_model(self) -> bool:
        """Whether what it is sent is the body of a request of a model's API."""
        plain = self.http is None or (self.http.body is None and self.http.method != "GET")
        return bool(self.protocol) and self.kind != "python" and plain

    def _why_not_as_model(self) -> str:
        """Of a version that is not :attr:`asked_as_model`: why, and what to do instead of leaving parameters out."""
        if self.kind == "python":
            return "leave the parameter out in the callable"
        if self.http is not None and self.http.method == "GET":
            return "it is asked by http.query, so leave the parameter out there"
        if self.http is not None and self.http.body is not None:
            return "http.body is its own form, so leave the parameter out there"
        return "name the API of its requests in http.api"

    @property
    def reachable(self) -> bool:
        """Whether it says where it is asked."""
        return bool(self.base_url) or self.kind in WITHOUT_ADDRESS

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

    @pydantic.model_validator(mode="after")
    def _goes_with_its_kind(self) -> Self:
        for name in ("http", "python", "bedrock"):
            if getattr(self, name) is not None and self.kind != name:
                raise ValueError(f"{name!r} is for kind {name}, and this is of kind {self.kind}: take it out")
        if self.kind == "python":
            unread = [name for name in ("base_url", "api_key_env", "headers") if getattr(self, name)]
            if self.python is None:
                raise ValueError("kind 'python' needs python: {callable: \"module:function\", …}")
            if unread:
                raise ValueError(f"{unread[0]!r} is not read of kind python: the callable asks whom it asks")
        if not self.protocol and (self.overrides or self.prompt is not None):
            name = "overrides" if self.overrides else "prompt"
            raise ValueError(
                f"{name!r} needs to know the API of the request: name it in {self.kind}.api, or change the request "
                f"{'in http.body' if self.kind == 'http' else 'in the callable'}"
            )
        if self.rejected_parameters == "leave_out" and not self.asked_as_model:
            raise ValueError(
                f"'rejected_parameters: leave_out' takes a parameter out of a request of a model's API, and this "
                f"version is sent none: {self._why_not_as_model()}"
            )
        return self

    def content(self) -> dict[str, Any]:
        """All that makes its answers, as JSON; what came to be later only where it is given, so that what was
        measured before goes on."""
        told = self.model_dump(mode="json", exclude={"timeout_s", "headers"})
        for name in ("prompt", "http", "python", "bedrock", "rejected_parameters"):
            if getattr(self, name) == type(self).model_fields[name].default:
                del told[name]
        if not self.allow:
            del told["allow"]
        return told

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of what makes its answers: kind, model, address, overrides, prompt, …"""
        told = self.content()
        del told["api_key_env"]
        return digest(told)


class Stable(Version):
    """The version in charge. ``base_url`` is needed only where it is asked: in stages above 0%, and with noise."""

    model: str = Field(
        default="", description="the model in charge; requests for another one are left out. '' is any"
    )


class Candidate(Version):
    model: str = Field(default="", description="'' keeps the model that the service asked for")
    base_url: Address = Field(default="", validate_default=True)

    @pydantic.field_validator("base_url")
    @classmethod
    def _has_an_address(cls, base_url: str, info: pydantic.ValidationInfo) -> str:
        if not base_url and info.data.get("kind") not in WITHOUT_ADDRESS:
            raise PydanticCustomError("missing", "is missing")
        return base_url


def digest(content: Any) -> str:
    """Twelve hex digits of what JSON can say."""
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
