"""What services in other languages send, onto Kafka as the mirror would have. docs/ingest.md.

::

    POST /v1/exchanges ──▶ exchanges (read) ─────────┐
    POST /mirror, /v1/served ──▶ gateway ──▶ join ──▶ ready (redact, encode) ──▶ Outbox ──▶ Kafka, and the ledger
    a collector's topic ──▶ otlp ──▶ genai ──────────┘
"""

from shadowlane.processors.ingest.service import run

__all__ = ["run"]
