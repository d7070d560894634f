"""Who is told."""

from typing import Annotated, Literal

from pydantic import Field

from shadowlane.schemas.config.section import Name, Positive, Section

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
