"""The audit: where each record that Kafka holds is, by the records, the committed offsets and the store."""

from shadowlane.processors.audit.places import Scope
from shadowlane.processors.audit.result import Audit, Example, Gap, Note
from shadowlane.processors.audit.service import audit

__all__ = ["Audit", "Example", "Gap", "Note", "Scope", "audit"]
