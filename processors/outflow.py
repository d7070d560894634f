"""What goes out, by the configuration: for ingest and replay, with the settings that the mirror has."""

import logging
import os

from shadowlane.producers.capture import HASHED, METADATA, Capture, checked, token_key
from shadowlane.producers.outflow import Outflow
from shadowlane.schemas.config import Settings

log = logging.getLogger("shadowlane.capture")


def outflow_of(settings: Settings) -> Outflow:
    """Of the section ``capture`` and the key in the environment.

    Raises:
        ConfigError: the redactor can't be imported, a rule by route is none, or the key is missing or too short.
    """
    said = settings.capture.model_dump(exclude_none=True)
    if not said["redact"]:
        del said["redact"]
    capture = Capture(**{name: checked(name, value, f"capture.{name}") for name, value in said.items()})
    key = token_key(os.environ, capture.modes())
    if settings.rollouts and (modes := sorted(capture.modes() & {HASHED, METADATA})):
        log.warning(
            "capture.content is %s%s: what goes out so can't be shadowed, and its pairs abstain (no_content)",
            " or ".join(modes),
            " on some routes" if capture.content not in modes or len(capture.modes()) > 1 else "",
        )
    return Outflow(capture, key)
