"""What goes out of ingest and replay. The mirror has the same settings, as arguments and from the same variables."""

from typing import Annotated, Literal

from pydantic import Field

from shadowlane.schemas.config.section import Positive, Section

Content = Literal["full", "redacted", "hashed", "metadata"]
Share = Annotated[float, Field(ge=0, le=1)]
Texts = tuple[Annotated[str, Field(min_length=1)], ...]


class CaptureRoute(Section):
    """What is different for some routes."""

    sample: Share | None = None
    per_second: Positive | None = None
    content: Content | None = None


class Capture(Section):
    """What of requests and answers goes onto Kafka, from ingest and replay."""

    sample: Share = Field(default=1.0, description="of the requests, by key")
    per_second: Positive | None = Field(
        default=None, description="at most so many of those, in each process; not in a replay"
    )
    salt: str = Field(default="shadowlane.mirror", min_length=1, description="draws another sample")
    content: Content = Field(default="redacted", description="how what was asked and answered goes out")
    redact: str = Field(
        default="", description="a function bytes -> bytes, as package.module:name; the rules come after it"
    )
    redact_timeout: Annotated[float, Field(gt=0, le=60)] = Field(
        default=2.0, description="of a call of it, in seconds; above it: without content"
    )
    allow: Texts = Field(
        default=(), description="values that stay, as shell patterns; [ip] and so on: all of a kind"
    )
    deny: Texts = Field(default=(), description="words and phrases that go wherever they stand")
    allow_keys: Texts = Field(default=(), description="names of JSON members that say nothing of their value")
    deny_keys: Texts = Field(default=(), description="names of JSON members whose value goes whole")
    routes: dict[str, CaptureRoute] = Field(
        default_factory=dict,
        description="what is different, by pattern; the first that takes the route holds",
    )
