"""What a rollout's shadow calls may cost."""

from typing import Annotated

from pydantic import Field

from shadowlane.schemas.config.section import Section


class Spend(Section):
    """The most of one window; null is no limit."""

    dollars: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="by the configuration's prices; USD"
    )
    tokens: Annotated[int, Field(ge=0)] | None = Field(default=None, description="asked and answered")
    calls: Annotated[int, Field(ge=0)] | None = None
    bytes: Annotated[int, Field(ge=0)] | None = Field(default=None, description="sent and received")


class Budget(Section):
    """All workers together keep to it. What is over it is not asked, and counted."""

    hour: Spend | None = Field(default=None, description="each hour, UTC")
    day: Spend | None = Field(default=None, description="each day, UTC")
    rollout: Spend | None = Field(default=None, description="from the rollout's beginning, an epoch")
    max_output_tokens: Annotated[int, Field(ge=1)] = Field(
        default=4096,
        description="what is reserved for an answer whose request sets no limit of its own",
    )
    image_tokens: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="what is reserved for each image or file that a request gives by its address or id; null: 5,000 of "
        "Anthropic's and Bedrock's API, 50,000 of others",
    )

    @property
    def in_dollars(self) -> bool:
        """Whether any window has a limit in dollars, which takes prices."""
        windows = (self.hour, self.day, self.rollout)
        return any(window is not None and window.dollars is not None for window in windows)
