"""Attached to services: the mirror, its attachments, sampling, redaction."""

from shadowlane.producers.mirror import Mirror
from shadowlane.producers.publisher import Publisher

__all__ = ["Mirror", "Publisher"]
