"""What services in other languages send over HTTP, onto Kafka as the mirror would have. docs/ingest.md.

::

    POST /v1/exchanges ──▶ exchanges (read) ──▶ ready (redact, encode) ──▶ Outbox ──▶ Kafka, and the ledger
"""

from shadowlane.processors.ingest.service import run

__all__ = ["run"]
