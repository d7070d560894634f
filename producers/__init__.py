"""Attached to services: the mirror, its attachments, sampling, redaction."""

from shadowlane.producers.mirror import Mirror

__all__ = ["Mirror"]
